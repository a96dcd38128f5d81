"""No disk space, on a disk that really is full: one clear message, nothing half-written, and then on from there.
Each scenario runs in a process of its own, with a small disk that only this process sees."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.execution.child import StageRunFailed
from tasks.stage import full_disk as full_disk_module
from tasks.stage.full_disk import full_disk
from tests.tasks.stage.test_stage import PARAMS, PLAN

REPO = Path(__file__).resolve().parents[3]

_SCENARIO = """
import contextlib, io, json, os, sys
from pathlib import Path
from tasks.stage import harness

def run(compute):
    '''Exit code and error message of `python -m tasks.scenes train`, and what it left in runs/.'''
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            harness.main("scenes", compute, ["train"])
        except SystemExit as ended:
            code = ended.code
        else:
            code = 0
    left = sorted(str(p) for p in Path("runs").rglob("*") if p.is_file())
    return {"code": code, "said": said.getvalue(), "left": left}

def fill():
    '''Take all the space there is.'''
    with open("ballast", "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
"""


def on_a_small_disk(folder: Path, megabytes: int, scenario: str) -> dict:
    """What a scenario prints as JSON, run in `folder`, which is a disk of so many megabytes meanwhile."""
    disk = folder / "disk"
    disk.mkdir()
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "plan.yaml").write_text(PLAN)
    (folder / "scenario.py").write_text(_SCENARIO + scenario)
    mount = f"mount -t tmpfs -o size={megabytes}m tmpfs disk"
    if shutil.which("unshare") is None:
        pytest.skip("no unshare(1) here, so no disk of its own can be given to a process")
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    if (tried := subprocess.run([*alone, mount], cwd=folder, capture_output=True, text=True)).returncode:
        pytest.skip(f"this system lets nobody mount a disk of their own: {tried.stderr.strip()}")
    command = f"{mount}; cp params.yaml plan.yaml disk; cd disk; exec {sys.executable} ../scenario.py"
    path = f"{REPO}:{REPO / 'tests/model'}"
    done = subprocess.run(
        [*alone, command], cwd=folder, capture_output=True, text=True,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "OMP_NUM_THREADS": "1", "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(refused: dict) -> None:
    assert refused["code"] == 2
    assert refused["left"] == [], "nothing half-written"
    assert refused["said"].startswith("error: scenes train: the disk of ")
    assert "disk is full" in refused["said"]
    assert "Free some space (`spatialllm gc`" in refused["said"]
    assert refused["said"].count("\n") == 1, "one message, no traceback"


WRITERS = {
    "bytes": "(run.out / 'a').write_bytes(bytes(3_000_000))",
    "array": "import numpy; numpy.save(run.out / 'a.npy', numpy.zeros(3_000_000))",
    "parquet": (
        "import numpy, pandas; pandas.DataFrame({'a': numpy.random.rand(1_000_000)}).to_parquet(run.out / 'a.parquet')"
    ),
    "weights": (
        "import torch; from safetensors.torch import save_file\n"
        "    save_file({'a': torch.zeros(2_000_000)}, run.out / 'a.safetensors')"
    ),
    "checkpoint": "import torch; torch.save({'a': torch.zeros(2_000_000)}, run.work / 'a.pt')",
    "manifest": "(run.out / 'a').write_text('a'); fill()",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_it_is_said_and_leaves_nothing_whatever_was_being_written(tmp_path, writer):
    scenario = f"\ndef compute(run):\n    {WRITERS[writer]}\n    return {{}}\n\nprint(json.dumps(run(compute)))\n"
    check(on_a_small_disk(tmp_path, 1, scenario))


_TRAINING = """
from tests.model.tiny_models import train_tiny
import torch

whole, result = train_tiny(Path("whole"))
results = []

def compute(run):
    def on_log(step, values):
        if step == 8 and not results:
            fill()
    try:
        model, result = train_tiny(run.work, on_log=on_log)
    finally:
        results.append(None)
    same = all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), model.state_dict().values()))
    (run.out / "weights").write_text(f"{same}")
    return {"resumed_from": result.resumed_from, "same": int(same)}

refused = run(compute)
os.unlink("ballast")
again = run(compute)
metrics = json.loads(Path("runs/tiny/scenes/train/metrics.json").read_text())
print(json.dumps({"refused": refused, "again": again["code"], **metrics}))
"""


@pytest.mark.slow
def test_training_goes_on_once_there_is_space_again(tmp_path):
    """The disk fills up between two checkpoints: an error, then the same weights as if nothing had happened."""
    outcome = on_a_small_disk(tmp_path, 64, _TRAINING)
    check(outcome["refused"])
    assert outcome["again"] == 0
    assert outcome["resumed_from"] == 6
    assert outcome["same"] == 1


def test_other_failures_are_not_taken_for_a_full_disk(tmp_path):
    for error in (
        OSError("disk on fire"),
        PermissionError(13, "Permission denied"),
        RuntimeError("unexpected pos 9 vs 3"),
    ):
        assert full_disk(error, "scenes train", tmp_path) is None


@pytest.fixture
def full_logs(tmp_path, monkeypatch):
    """A project whose logs/ is a disk of its own, which is full."""
    for folder in ("runs", "logs/tiny/scenes"):
        (tmp_path / folder).mkdir(parents=True)
    usage = shutil.disk_usage(tmp_path)

    def of(path):
        return usage._replace(free=0 if "logs" in Path(path).relative_to(tmp_path).parts else 1 << 40)

    monkeypatch.setattr(full_disk_module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(full_disk_module.shutil, "disk_usage", of)
    return tmp_path


@pytest.mark.parametrize("file", [None, "logs/tiny/scenes/train.json", "logs/later/train.json"])
def test_the_disk_that_is_full_is_the_one_that_is_named(full_logs, file):
    error = OSError(errno.ENOSPC, "No space left on device", str(full_logs / file) if file else None)
    said = full_disk(error, "scenes train", full_logs)
    assert f"the disk of {full_logs / 'logs'}" in said and "0.00 GiB free" in said
    other = OSError(errno.ENOSPC, "No space left on device", str(full_logs / "runs" / "x"))
    assert f"the disk of {full_logs / 'runs'} is full" in full_disk(other, "scenes train", full_logs)


def test_a_log_that_could_not_be_written_is_named_by_the_flow(full_logs):
    """The stage run's own message went into the log that has no room for it."""
    failed = StageRunFailed("scenes/train", 1, full_logs / "logs/tiny/scenes/train.log")
    assert f"the disk of {full_logs / 'logs/tiny/scenes'} is full" in str(failed)
