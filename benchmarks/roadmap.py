"""The main job as a newcomer meets it: `make roadmap` in a fresh clone, the same once more, the other rows of Table 2,
and `dvc repro` in a second clone that shares the DVC cache of the first. Minutes, stage runs computed, and the peak
memory of all processes together. `python -m benchmarks.roadmap [FOLDER]`: FOLDER keeps the clones."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bench import record

ROOT = Path(__file__).resolve().parents[1]
_MARK = "SPATIALLLM_MEASURED"  # in the environment of all that is measured, whoever its parent is by then


@dataclass(frozen=True)
class Measured:
    """A command's seconds, its processes' most memory at one time (bytes, shared pages counted once), its output."""

    seconds: float
    peak: int
    output: str


def measure(folder: Path, *command: str) -> Measured:
    """Run a command to its end; CalledProcessError, with its output shown, when it fails."""
    token = uuid.uuid4().hex
    environment = os.environ | {_MARK: token}
    environment.pop("PYTHONPATH", None)  # the clone's own code
    peak, over = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(2):  # looking takes time from what is measured
            peak = max(peak, sum(_memory(process, token) for process in psutil.process_iter()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=-1, stderr=subprocess.STDOUT, text=True)
    finally:
        seconds = time.monotonic() - started
        over.set()
        watcher.join()
    print(done.stdout, flush=True)
    done.check_returncode()
    return Measured(round(seconds, 1), peak, done.stdout)


def _memory(process: psutil.Process, token: str) -> int:
    try:
        return process.memory_full_info().pss if process.environ().get(_MARK) == token else 0
    except psutil.Error:
        return 0  # ended meanwhile, or another user's


def main(folder: Path) -> None:
    """Measure all of it; the record of the five rows is written before the others run."""
    first, second = folder / "first", folder / "second"
    _clone(ROOT, first)
    install = measure(first, "make", "install")
    five = measure(first, "make", "roadmap")
    counts = _stage_runs(first)
    again = measure(first, "make", "roadmap")

    _clone(first, second)  # the same commit, whatever has been committed since
    for name in ("plan.yaml", "dvc.lock"):  # as if the first one had committed and pushed
        (second / name).write_bytes((first / name).read_bytes())
    dvc = str(first / ".venv/bin/dvc")
    subprocess.run([dvc, "cache", "dir", "--local", str(first / ".dvc/cache")], cwd=second, check=True)
    os.environ["PATH"] = f"{first / '.venv/bin'}:{os.environ['PATH']}"
    shared = measure(second, dvc, "repro")
    _record(
        "roadmap",
        five.seconds,
        stage_runs=counts,
        peak_gib=round(five.peak / 2**30, 2),
        install_s=install.seconds,
        second_run_s=again.seconds,
        shared_cache={"dvc_repro_s": shared.seconds, "computed": shared.output.count("Running stage")},
    )

    others = measure(first, "make", "roadmap", "ROWS=all")
    _record(
        "roadmap-all",
        five.seconds + others.seconds,
        of_these_first_five_min=round(five.seconds / 60, 2),
        stage_runs_of_the_others=_stage_runs(first),
        peak_gib=round(max(five.peak, others.peak) / 2**30, 2),
    )


def _record(name: str, seconds: float, **details: Any) -> None:
    minutes = round(seconds / 60, 2)
    command = "make bench-roadmap"
    record(name, ours=minutes, peer=None, unit="min", command=command, higher_is_better=False, **details)


def _stage_runs(clone: Path) -> dict[str, int]:
    return json.loads((clone / "reports/roadmap/results.json").read_text())["stage_runs"]


def _clone(source: Path, folder: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", str(source), str(folder)], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).absolute())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
