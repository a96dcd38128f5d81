"""A stage run in two processes, by real launchers: one claim, one outcome, nothing half-written after a kill -9."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.identity.identity import is_whole
from tasks.identity.paths import Paths
from tasks.stage.harness import EXIT_DAMAGED, EXIT_INPUT, execute
from tasks.stage.ranks import EXIT_PASSING, outcome
from tests.tasks.stage.test_stage import PARAMS, PLAN, write

REPO = Path(__file__).resolve().parents[3]
# Rank 0 writes half an output; then `mode` says what becomes of it.
SCRIPT = """
import os, signal
from pathlib import Path
from tasks.stage.harness import main

def compute(run):
    Path(f"pid-{run.rank}").write_text(str(os.getpid()))
    if run.rank == 0:
        (run.out / "half").write_text("half")
    mode, who = Path("mode").read_text().split()
    if mode == "fail":
        raise ValueError("the original error")
    if mode == "listen":
        listening(run.rank)
    elif mode != "whole":
        meet(run.rank)
        if mode == "kill" and run.rank == int(who):
            os.kill(os.getpid(), signal.SIGKILL)
        Path("halfway").open("w").close()
        signal.pause()
    return {"rows": 3}

def listening(rank):
    # A process group as training makes it, on sockets of its own; then every address that this process listens on.
    import psutil
    import torch.distributed as dist
    dist.init_process_group("gloo")
    dist.barrier()
    me = psutil.Process()
    for process in (me, *(me.parents()[:1] if rank == 0 else [])):
        for each in process.net_connections("inet"):
            if each.status == psutil.CONN_LISTEN:
                with Path(f"listens-{rank}").open("a") as file:
                    file.write(each.laddr.ip + chr(10))
    dist.barrier()
    dist.destroy_process_group()

def meet(rank):
    # Both ends of a named pipe open together: each goes on when the other has come so far.
    Path("meet").open("w" if rank else "r").close()

main("scenes", compute, shared=lambda parts: True)
"""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "stage.py").write_text(SCRIPT)
    (tmp_path / "mode").write_text("whole -")
    for pipe in ("meet", "halfway"):
        os.mkfifo(tmp_path / pipe)
    return tmp_path


def share(root: Path) -> None:
    """Let the command start two processes by itself, as for two GPUs."""
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("runtime: {", "runtime: {gpus: 2, gpus_per_run: 2, "))


def start(root: Path, *launcher: str, name: str = "train") -> subprocess.Popen:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPATIALLLM_", "DVC_"))}
    return subprocess.Popen(
        [*(launcher or [sys.executable]), "stage.py", name],
        cwd=root,
        env={**kept, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=240)
    finally:
        process.kill()  # what it started dies with it
    return process.returncode, said


def gone(pid: int) -> bool:
    """Waits for the end of a process that is no child of this one."""
    try:
        return bool(select.select([os.pidfd_open(pid)], [], [], 60)[0])
    except ProcessLookupError:
        return True


def test_two_processes_compute_one_stage_run_once(root):
    code, said = finish(start(root, *TORCHRUN, "--nproc-per-node=2"))
    assert code == 0, said
    assert said.count("computed in") == 1
    pids = {(root / f"pid-{rank}").read_text() for rank in range(2)}
    assert len(pids) == 2, "both took part"
    paths = Paths(root, "tiny", "scenes", "train")
    assert is_whole(paths.out)
    assert sorted(path.name for path in paths.out.iterdir()) == ["MANIFEST.json", "half", "metrics.json"]
    share(root)
    code, said = finish(start(root))
    assert code == 0, said
    assert said.count("already computed") == 1
    assert {(root / f"pid-{rank}").read_text() for rank in range(2)} == pids, "none of them computed again"


def test_one_failure_is_told_once_and_is_that_of_the_command(root):
    share(root)
    code, said = finish(start(root, name="trian"))
    assert code == EXIT_INPUT
    assert said.count("did you mean train?") == 1
    (root / "mode").write_text("fail -")
    code, said = finish(start(root))
    assert code == 1
    assert "the original error" in said
    paths = Paths(root, "tiny", "scenes", "train")
    assert not list(paths.out.parent.iterdir()), "nothing half-written"


def test_what_the_first_finds_ends_the_others_alike(root):
    execute("scenes", "train", write, root)
    execute("scenes", "test", write, root)
    (root / "runs/tiny/scenes/test/deep/file.txt").unlink()
    script = root / "stage.py"
    script.write_text(script.read_text().replace('main("scenes"', 'main("data"'))
    share(root)
    code, said = finish(start(root, name="cc558k"))
    assert code == EXIT_DAMAGED, said
    assert said.count("error: ") == said.count("is missing") + said.count("its own message says why")
    assert said.count("is missing") == 1
    assert not (root / "pid-1").exists(), "no process computed from a damaged input"


def test_on_one_machine_nobody_listens_to_others(root):
    """The store that the processes meet at, and the sockets of their process group."""
    share(root)
    (root / "mode").write_text("listen -")
    code, said = finish(start(root))
    assert code == 0, said
    addresses = [line for rank in range(2) for line in (root / f"listens-{rank}").read_text().split()]
    assert len(addresses) >= 3, "the store and both processes' own"
    assert set(addresses) == {"127.0.0.1"}


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_and_frees_the_claim(root, victim):
    share(root)
    (root / "mode").write_text(f"kill {victim}")
    process = start(root)
    (root / "halfway").read_text()  # the other one is waiting now
    code, said = finish(process)
    assert code == EXIT_PASSING, said
    assert all(gone(int((root / f"pid-{rank}").read_text())) for rank in range(2))
    paths = Paths(root, "tiny", "scenes", "train")
    assert not paths.out.exists()
    assert execute("scenes", "train", write, root), "the claim is free"
    assert is_whole(paths.out)
    assert not list(paths.out.parent.glob(".*.partial"))


def test_all_processes_die_with_the_command_that_started_them(root):
    share(root)
    (root / "mode").write_text("wait -")
    process = start(root)
    (root / "halfway").read_text()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(gone(int((root / f"pid-{rank}").read_text())) for rank in range(2))
    assert execute("scenes", "train", write, root), "the claim is free"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([1, -15], 1), ([1, 2], EXIT_INPUT), ([-15, -9], EXIT_PASSING), ([-15, 3], EXIT_DAMAGED), ([-15], EXIT_PASSING)],
)
def test_the_cause_is_told_and_not_what_it_made_of_the_others(codes, expected):
    assert outcome(codes) == expected
