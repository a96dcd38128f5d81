"""What a flow adds to each stage run: plans whose stage runs only sleep, one at a time, beside the bare commands typed
one after the other, and `dvc exp run --queue` with as many experiments that sleep as long.
`python -m benchmarks.overhead [SIZE ...]` (default: 40 100 300 stage runs; the peer runs at the first)."""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.bench import record
from flows.designs.plan import Plan, plan_of
from flows.designs.space import Space
from flows.store.dvc_store import Store
from tests.flows.conftest import Project, make_project

NAP_S = 0.5
SIZES = (40, 100, 300)
# `spatialllm run`, of a plan instead of one design.
_FLOW = """
import sys
from pathlib import Path
from flows.cli.common import deliver_pending
from flows.designs.design import choose
from flows.designs.plan import plan_of
from flows.execution.flow import run_plan
wanted = plan_of(choose(sys.argv[1:]))
result = run_plan(Path.cwd(), wanted, "overhead")
deliver_pending(wanted)
print(result.counts)
sys.exit(not result.ok)
"""


def plan_of_size(size: int) -> tuple[list[str], Plan]:
    """Names of designs that need so many stage runs together, or a few less, and their plan."""
    chosen: list = []
    for design in Space(settings={"lr": [1e-3, 2e-3]}).designs():
        if len(plan_of([*chosen, design]).runs()) <= size:
            chosen.append(design)
    return [design.name for design in chosen], plan_of(chosen)


def fresh(folder: Path, designs: list[str]) -> Project:
    """A small project of the tests that plans these designs, whose stage runs sleep and take the machine in turn."""
    project = make_project(folder)
    project.extra = {"STAGE_SECONDS": str(NAP_S)}
    params = project.params()
    params["runtime"]["slots"] = 1
    project.set_params(params)
    project.want(*designs)
    return project


def cpu_s() -> float:
    """CPU seconds of every process that has ended below this one: they say the same however busy the machine is."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bare(folder: Path, designs: list[str], plan: Plan) -> tuple[float, float]:
    """Seconds of all commands as dvc.yaml has them, inputs first, and CPU seconds."""
    project = fresh(folder, designs)
    with contextlib.chdir(project.root):  # where DVC looks for what dvc.yaml reads
        commands = Store(project.root).commands(plan.runs())
    started, used = time.monotonic(), cpu_s()
    for run in plan.runs():
        project.run("/bin/sh", "-c", f"exec {commands[run]}")
    return time.monotonic() - started, cpu_s() - used


def flow(folder: Path, designs: list[str], plan: Plan) -> tuple[float, float]:
    """The same of all as one flow, with its Prefect server, DVC and MLflow."""
    project = fresh(folder, designs)
    started, used = time.monotonic(), cpu_s()
    project.run(sys.executable, "-c", _FLOW, *designs)
    seconds, cpu = time.monotonic() - started, cpu_s() - used
    assert sorted(project.executed) == sorted(plan.runs())
    return seconds, cpu


def queue(folder: Path, size: int) -> tuple[float, float]:
    """Seconds of `size` experiments that sleep, by DVC's queue with one worker, and of their commands alone."""
    folder.mkdir()
    (folder / "nap.py").write_text(f"import time\nfrom pathlib import Path\ntime.sleep({NAP_S})\nPath('out').touch()\n")
    (folder / "params.yaml").write_text("key: -1\n")
    (folder / "dvc.yaml").write_text("stages:\n  nap:\n    cmd: python nap.py\n    params: [key]\n    outs: [out]\n")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(*words: str) -> None:
        subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)

    for words in (["init", "-q"], ["config", "user.name", "b"], ["config", "user.email", "b@b"]):
        run("git", *words)
    run("dvc", "init", "-q")
    run("git", "add", "-A")
    run("git", "commit", "-qm", "start")
    started = time.monotonic()
    run("dvc", "exp", "run", "--queue", "--set-param", f"key=range({size})")
    run("dvc", "exp", "run", "--run-all", "--jobs", "1")
    queued = time.monotonic() - started
    done = subprocess.run(["dvc", "exp", "list", "--name-only"], cwd=folder, env=environment, capture_output=True)
    assert len(done.stdout.split()) == size, done
    started = time.monotonic()
    for _ in range(size):
        run("python", "nap.py")
    return queued, time.monotonic() - started


def main(sizes: tuple[int, ...]) -> None:
    """Measure, and record after each size: the largest takes a quarter of an hour."""
    by_size: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        queued, naps = queue(root / "queue", sizes[0])
        for number, size in enumerate(sizes, 1):
            designs, plan = plan_of_size(size)
            count = len(plan.runs())
            alone, alone_cpu = bare(root / f"bare-{size}", designs, plan)
            whole, whole_cpu = flow(root / f"flow-{size}", designs, plan)
            by_size[count] = {
                "bare_s": round(alone, 1),
                "flow_s": round(whole, 1),
                "overhead_s": round((whole - alone) / count, 3),
                "overhead_cpu_s": round((whole_cpu - alone_cpu) / count, 3),
                "load": round(os.getloadavg()[1], 1),  # over the last five minutes: what else the machine had to do
            }
            print(count, by_size[count], flush=True)
            record(
                "overhead",
                ours=next(iter(by_size.values()))["overhead_s"],
                peer=round((queued - naps) / sizes[0], 3),
                unit="s per stage run over its bare command, all of the flow's start included",
                peer_name=f"dvc {version('dvc')} exp run --queue, one worker",
                command=" ".join(["python -m benchmarks.overhead", *map(str, sizes[:number])]),
                higher_is_better=False,
                nap_s=NAP_S,
                by_stage_runs=by_size,
                peer_details={"experiments": sizes[0], "queue_s": round(queued, 1), "bare_s": round(naps, 1)},
            )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
