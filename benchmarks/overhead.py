"""What the engine adds to a stage run: a plan whose stage runs only sleep, by a flow and by its bare commands.
Beside it `dvc exp run --queue` over as many sleeps. `python -m benchmarks.overhead 40 100 300` shows how it grows."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench import record
from flows.plan import STAGES, Plan, plan_of, write_plan
from flows.space import Space

REPO = Path(__file__).resolve().parents[1]
SLEEP_S, SLOTS = 1.0, 2
_STAGE = """
import time
from tasks.stage import main

def compute(run):
    time.sleep({sleep})
    (run.out / "slept").write_text(run.name)
    return {{}}

if __name__ == "__main__":
    main({stage!r}, compute)
"""
_PLAIN = """
import sys, time
time.sleep({sleep})
open("slept", "w").write(sys.argv[1])
"""


def plan_with(count: int) -> Plan:
    """The first `count` stage runs of the paper's grid."""
    designs = list(Space().designs())
    enough = next(n for n in range(1, len(designs) + 1) if len(plan_of(designs[:n]).runs()) >= count)
    whole = plan_of(designs[:enough])
    part = Plan()
    for run in whole.runs()[:count]:
        part.add(run, whole.entry(run))
    return part


def make_project(root: Path, plan: Plan) -> None:
    """The repository's pipeline with stages that sleep."""
    (root / "sleepers").mkdir(parents=True)
    (root / "sleepers" / "__init__.py").touch()
    for stage in STAGES:
        (root / "sleepers" / f"{stage}.py").write_text(_STAGE.format(sleep=SLEEP_S, stage=stage))
    (root / "dvc.yaml").write_text(
        (REPO / "dvc.yaml")
        .read_text()
        .replace("python -m tasks.", "python -m sleepers.")
        .replace("cache: false", "cache: true")
    )
    params = yaml.safe_load((REPO / "params.yaml").read_text())
    params["runtime"]["slots"] = SLOTS
    params["designs"] = []
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(REPO / name, root / name)
    write_plan(root, plan)
    git(root, "init", "-q")
    commit(root)


def git(root: Path, *words: str) -> None:
    """Run git."""
    subprocess.run(["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", *words], cwd=root, check=True)


def commit(root: Path) -> None:
    """Commit everything."""
    git(root, "add", "-A")
    git(root, "commit", "-qm", "start")


def environment(root: Path) -> dict[str, str]:
    """Of the commands: this Python, this repository, the project's own modules."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "DVC_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "PYTHONPATH": f"{REPO}{os.pathsep}{root}", "DVC_NO_ANALYTICS": "1"}


def seconds(root: Path, *words: str) -> float:
    """Wall seconds of a command, which must succeed."""
    started = time.monotonic()
    done = subprocess.run(words, cwd=root, env=environment(root), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
    return time.monotonic() - started


def by_flow(root: Path, plan: Plan) -> float:
    """Seconds of a flow over the plan, Prefect's server included."""
    make_project(root, plan)
    return seconds(root, sys.executable, "-m", "flows.cli", "retry", "--json")


def by_hand(root: Path, plan: Plan) -> float:
    """Seconds of the bare commands, stage after stage, as many at a time as the flow has slots."""
    make_project(root, plan)
    started = time.monotonic()
    with ThreadPoolExecutor(SLOTS) as pool:
        for stage in STAGES:
            commands = [(sys.executable, "-m", f"sleepers.{stage}", name) for name in plan.entries[stage]]
            list(pool.map(lambda words: seconds(root, *words), commands))
    return time.monotonic() - started


def by_dvc_queue(root: Path, count: int) -> float:
    """Seconds of as many experiments in DVC's own queue, with as many workers."""
    root.mkdir(parents=True)
    (root / "sleep.py").write_text(_PLAIN.format(sleep=SLEEP_S))
    (root / "params.yaml").write_text("i: 0\n")
    stage = {"cmd": "python sleep.py ${i}", "params": ["i"], "deps": ["sleep.py"], "outs": ["slept"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"sleep": stage}}))
    (root / ".gitignore").write_text("/slept\n")
    git(root, "init", "-q")
    seconds(root, sys.executable, "-m", "dvc", "init", "-q")
    commit(root)
    queue = seconds(root, sys.executable, "-m", "dvc", "exp", "run", "--queue", "-S", f"i=range(1,{count + 1})")
    work = seconds(root, sys.executable, "-m", "dvc", "exp", "run", "--run-all", "-j", str(SLOTS))
    return queue + work


def measure(folder: Path, count: int, with_peer: bool) -> dict[str, Any]:
    """Seconds per stage run beyond the bare command."""
    plan = plan_with(count)
    flow, bare = by_flow(folder / f"flow{count}", plan), by_hand(folder / f"bare{count}", plan)
    found = {"flow_s": round(flow, 1), "bare_s": round(bare, 1), "overhead_s": round((flow - bare) / count, 3)}
    if with_peer:
        # Its bare command is a plain Python that sleeps; it does not know our harness.
        peer = by_dvc_queue(folder / f"queue{count}", count)
        plain = [sys.executable, str(folder / f"queue{count}" / "sleep.py"), "0"]
        alone = min(seconds(folder, *plain) for _ in range(3)) * count / SLOTS
        found |= {"dvc_queue_s": round(peer, 1), "dvc_queue_overhead_s": round((peer - alone) / count, 3)}
    return found


if __name__ == "__main__":
    counts = [int(one) for one in sys.argv[1:]] or [40]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            found[count] = measure(Path(folder), count, with_peer=count == counts[0])
            print(count, found[count], flush=True)
    first = found[counts[0]]
    record(
        "overhead",
        ours=first["overhead_s"],
        peer=first["dvc_queue_overhead_s"],
        unit=f"s per stage run beyond the bare command ({counts[0]} sleeps of {SLEEP_S:g} s, {SLOTS} at a time)",
        peer_name=f"dvc {version('dvc')} exp run --queue",
        command="make bench-overhead",
        higher_is_better=False,
        by_stage_runs={str(count): one for count, one in found.items()},
        load_average=[round(one, 1) for one in os.getloadavg()],
    )
