"""A stage run that several processes train together."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tasks.identity import manifest
from tasks.stage.harness import EXIT_PASSING
from tests.tasks.training_project import DESIGN

REPO = Path(__file__).resolve().parents[3]
ALIGN = "clip+dinov2_vicuna-7b_cc558k"
# `python -m tasks.align NAME`, of which the second process dies in the last step.
DYING = """
import os, signal
from tasks import align
from tasks.stage.harness import main

def compute(run):
    def progress(done, total):
        if run.rank == 1 and done == total == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    run.report_progress = progress
    return align.compute(run)

main("align", compute, shared=lambda parts: True)
"""


# What a flow does with a stage run.
AS_A_FLOW = """
import sys
from pathlib import Path
from flows.execution.child import execute
from flows.store.dvc_store import Store

store = Store(Path.cwd())
execute(store, *sys.argv[1:])
print(store.paths(sys.argv[1]).log.read_text())
"""
HOSTFILE = "node-a slots=1\nnode-b slots=1\n"
# Of an ssh server and its client that touch nothing outside a folder of their own.
SERVER = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
StrictModes no
UsePAM no
PidFile none
"""
CLIENT = """
Host node-a node-b
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/client
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking accept-new
"""
DEEPSPEED = Path(sys.executable).parent / "deepspeed"
AS_AT_PAPER_SCALE = {"bf16": False, "optimizer": "adamw"}
OTHERS = ("SPATIALLLM_", "DVC_", "MLFLOW_")


def make(root: Path, folder: Path, gpus: int, align: dict, instruct: dict) -> Path:
    """The project with other parameters, with all that stages 1 and 2 start from."""
    from ruamel.yaml import YAML

    from tasks.identity import settings

    for stage in ("scenes", "data", "foundation"):
        shutil.copytree(root / "runs" / "tiny" / stage, folder / "runs" / "tiny" / stage)
    shutil.copy(root / "plan.yaml", folder)
    params = settings.read_yaml(root / "params.yaml")
    params["runtime"] |= {"gpus": gpus, "gpus_per_run": gpus or None}
    params["align"]["tiny"] |= AS_AT_PAPER_SCALE | align
    params["instruct"]["tiny"] |= AS_AT_PAPER_SCALE | instruct
    YAML(typ="safe").dump(params, folder / "params.yaml")
    return folder


def start(folder: Path, *command: str) -> subprocess.Popen:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OTHERS)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**kept, "PYTHONPATH": str(REPO), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes: subprocess.Popen) -> list[tuple[int, str]]:
    """Exit code and output of each."""
    try:
        with ThreadPoolExecutor(len(processes)) as pool:  # a full pipe of one would stop them all
            said = list(pool.map(lambda process: process.communicate(timeout=600)[0], processes))
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def run(folder: Path, *command: str) -> tuple[int, str]:
    (done,) = finish(start(folder, *command))
    return done


def weights(folder: Path, stage: str, name: str) -> torch.Tensor:
    found = load_file(folder / "runs/tiny" / stage / name / "model.safetensors")
    return torch.cat([found[key].flatten().float() for key in sorted(found)])


@pytest.mark.slow
def test_two_processes_train_a_stage_as_one_does_also_after_a_kill(root, tmp_path):
    """Stage 1 with ZeRO-2 under `dvc repro`, and stage 2 by LoRA with ZeRO-3 under a flow: one claim, one curve, and
    weights equal to rounding."""
    lora = {"zero_stage": 3, "lora": 2, "lora_alpha": 4, "lora_lr": 1e-3}
    folders = {name: tmp_path / name for name in ("one", "two", "killed")}
    one, two, killed = (make(root, f, 2 * (n != "one"), {"zero_stage": 2}, lora) for n, f in folders.items())
    (killed / "dying.py").write_text(DYING)
    for command in (("git", "init", "-q"), (sys.executable, "-m", "dvc", "init", "-q")):
        assert run(two, *command)[0] == 0
    shutil.copy(REPO / "dvc.yaml", two)
    commands = [
        (one, [sys.executable, "-m", "tasks.align", ALIGN]),
        (one, [sys.executable, "-m", "tasks.instruct", DESIGN]),
        (two, [sys.executable, "-m", "dvc", "repro", "--single-item", f"align@{ALIGN}"]),
        (two, [sys.executable, "-c", AS_A_FLOW, f"instruct/{DESIGN}", f"python -m tasks.instruct {DESIGN}"]),
    ]
    for folder, command in commands:
        code, said = run(folder, *command)
        assert code == 0, said[-4000:]
        assert said.count("computed in") == 1
    code, said = run(killed, sys.executable, "dying.py", ALIGN)
    assert code == EXIT_PASSING, said[-4000:]
    assert not (killed / "runs/tiny/align" / ALIGN).exists()
    assert (killed / ".work/tiny/align" / ALIGN / "checkpoint-2/COMPLETE.json").exists()
    code, said = run(killed, sys.executable, "-m", "tasks.align", ALIGN)
    assert code == 0, said[-4000:]

    for stage, name in (("align", ALIGN), ("instruct", DESIGN)):
        places = [folder / "runs/tiny" / stage / name for folder in (one, two)]
        assert len({manifest.canonical(manifest.read_manifest(place)["identity"]["params"]) for place in places}) == 1
        assert sorted(p.name for p in places[0].iterdir()) == sorted(p.name for p in places[1].iterdir())
        histories = [[json.loads(line) for line in (p / "history.jsonl").read_text().splitlines()] for p in places]
        steps = [[line["step"] for line in history] for history in histories]
        assert steps[0] == steps[1] == list(range(1, len(steps[0]) + 1)), "logged by one process"
        assert [h["loss"] for h in histories[1]] == pytest.approx([h["loss"] for h in histories[0]], rel=1e-4)
        assert (weights(one, stage, name) - weights(two, stage, name)).abs().max() < 1e-5, stage
    assert (weights(two, "align", ALIGN) - weights(killed, "align", ALIGN)).abs().max() < 1e-6


def torchrun(node: int, port: int, hosts: Path) -> list[str]:
    here = ["--nnodes=2", f"--node-rank={node}", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    return [sys.executable, "-m", "torch.distributed.run", *here, f"--master-port={port}", "-m"]


def by_hostfile(node: int, port: int, hosts: Path) -> list[str]:
    here = ["--hostfile", str(hosts), "--no_ssh", "--node_rank", str(node), "--master_addr", "127.0.0.1"]
    return [str(DEEPSPEED), *here, "--master_port", str(port), "--module"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def as_one_and_for_two(root: Path, tmp_path: Path, zero_stage: int) -> tuple[Path, Path]:
    """A project that one process has trained, and the same for two nodes."""
    one, two = (make(root, tmp_path / name, 0, {"zero_stage": zero_stage}, {}) for name in ("one", "two"))
    params = one / "params.yaml"
    # Micro-batches of the same samples, so that the sums differ in their order alone.
    params.write_text(params.read_text().replace("batch_per_device: 4", "batch_per_device: 2"))
    code, said = run(one, sys.executable, "-m", "tasks.align", ALIGN)
    assert code == 0, said[-4000:]
    return one, two


def assert_trained_alike(one: Path, two: Path) -> None:
    assert (weights(one, "align", ALIGN) - weights(two, "align", ALIGN)).abs().max() < 1e-6
    steps = [json.loads(line)["step"] for line in (two / "runs/tiny/align" / ALIGN / "history.jsonl").open()]
    assert steps == list(range(1, 4))


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "zero_stage"), [(torchrun, 0), (by_hostfile, 2)])
def test_two_nodes_train_a_stage_as_one_process_does(root, tmp_path, launcher, zero_stage):
    """Each "node" has a launcher of its own, and all share a folder, as several machines do."""
    one, two = as_one_and_for_two(root, tmp_path, zero_stage)
    hosts, port = tmp_path / "hostfile", free_port()
    hosts.write_text(HOSTFILE)
    nodes = [start(two, *launcher(node, port, hosts), "tasks.align", ALIGN) for node in range(2)]
    done = finish(*nodes)
    assert [code for code, _ in done] == [0, 0], "\n".join(said[-3000:] for _, said in done)
    assert sum(said.count("computed in") for _, said in done) == 1
    assert_trained_alike(one, two)


@pytest.fixture
def nodes(tmp_path, monkeypatch) -> Iterator[None]:
    """node-a and node-b, both this machine by ssh: a server and a client with keys and files of their own."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    found = {name: shutil.which(name, path=path) for name in ("sshd", "ssh", "ssh-keygen", "pdsh")}
    if missing := [name for name, where in found.items() if where is None]:
        pytest.skip(f"{', '.join(missing)} not found: apt-get install openssh-server openssh-client pdsh")
    folder, port = tmp_path / "ssh", free_port()
    (folder / "bin").mkdir(parents=True)
    for key in ("host", "client"):
        subprocess.run([found["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "sshd_config").write_text(SERVER.format(port=port, folder=folder))
    (folder / "ssh_config").write_text(CLIENT.format(port=port, folder=folder))
    # DeepSpeed and pdsh both call `ssh` by its name; this stands for what a user has in ~/.ssh/config.
    client = folder / "bin" / "ssh"
    client.write_text(f'#!/bin/sh\nexec {found["ssh"]} -F {folder}/ssh_config "$@"\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(client.parent), prepend=os.pathsep)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # root's sshd wants it; elsewhere the system's service makes it
    server = subprocess.Popen(
        [found["sshd"], "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert "listening" in server.stderr.readline()
        yield
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.slow
def test_one_command_trains_on_two_nodes_by_ssh_also_after_a_kill(root, tmp_path, nodes):
    one, two = as_one_and_for_two(root, tmp_path, 2)
    (two / "dying.py").write_text(DYING)
    hosts = tmp_path / "hostfile"
    hosts.write_text(HOSTFILE)
    command = [str(DEEPSPEED), "--hostfile", str(hosts), "--master_port", str(free_port())]
    code, said = run(two, *command, "dying.py", ALIGN)
    assert code != 0, said[-4000:]
    assert not (two / "runs/tiny/align" / ALIGN).exists()
    code, said = run(two, *command, "--module", "tasks.align", ALIGN)
    assert code == 0, said[-4000:]
    assert said.count("computed in") == said.count("node-a: align") == 1
    assert_trained_alike(one, two)
