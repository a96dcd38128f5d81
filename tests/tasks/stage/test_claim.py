"""Claims: a frozen holder's claim lapses and it can never publish; one that works slowly keeps it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_registry.errors import InputError
from tasks.identity.files import write_json
from tasks.identity.paths import Paths
from tasks.stage.claim import Heartbeat, Silence, claim, end_holder, read_holder
from tasks.stage.harness import execute
from tests.tasks.stage.test_stage import PARAMS, PLAN

REPO = Path(__file__).resolve().parents[3]
_HOLDER = """
import os, sys
from pathlib import Path
from tasks.stage.harness import execute

def compute(run):
    (run.out / "half").write_text("half")
    (run.work / "checkpoint").write_text("3")
    with open("begun", "w") as begun:  # a named pipe: the test goes on when this has come so far
        begun.write("begun")
    with open("go") as go:
        go.read()
    return {}

execute("scenes", "train", compute, Path.cwd())
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS.replace("runtime: {", "runtime: {lease_s: 1.0, "))
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


@pytest.fixture
def held(root):
    """A process in the middle of computing scenes/train."""
    for pipe in ("begun", "go"):
        os.mkfifo(root / pipe)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SPATIALLLM_", "DVC_"))}
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER], cwd=root, env={**environment, "PYTHONPATH": str(REPO)}, start_new_session=True
    )
    (root / "begun").read_text()
    yield holder
    holder.kill()
    holder.wait()


def test_a_frozen_holder_lapses_and_cannot_publish(root, held):
    paths = Paths(root, "tiny", "scenes", "train")
    assert read_holder(paths)["pid"] == held.pid
    os.kill(held.pid, signal.SIGSTOP)
    seen = []

    def compute(run):
        seen.append((run.work / "checkpoint").read_text())
        (run.out / "whole").write_text("whole")
        return {}

    assert execute("scenes", "train", compute, root)
    assert held.wait(60) == -signal.SIGKILL, "it can never wake up"
    assert seen == ["3"], "its last checkpoint is what the work goes on from"
    assert sorted(path.name for path in paths.out.iterdir()) == ["MANIFEST.json", "metrics.json", "whole"]
    assert not list(paths.out.parent.glob(".*.partial")), "nothing half-written"
    assert not paths.holder.exists()


def woken(happened, seconds: float = 60.0) -> bool:
    """Whether something happens within a time that no loaded machine needs."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        os.sched_yield()
    return True


def test_only_silence_as_long_as_a_lease_ends_patience():
    silence = Silence(lease_s=10)
    assert not silence.too_long(sign=1, now=100)
    assert not silence.too_long(sign=1, now=109)
    assert not silence.too_long(sign=2, now=115), "a beat, however late"
    assert not silence.too_long(sign=2, now=125)
    assert silence.too_long(sign=2, now=126)


def test_a_holder_beats_while_its_work_says_nothing(tmp_path):
    reads = Paths(tmp_path, "tiny", "scenes", "train")
    with Heartbeat(reads.holder, beat_s=0.01) as note:
        note.say(done=1, total=4)
        first = read_holder(reads)["updated"]
        assert woken(lambda: read_holder(reads)["updated"] != first), "a beat without a word of the work"
        assert read_holder(reads)["done"] == 1
    assert not reads.holder.exists()


def test_nobody_but_the_holder_is_killed(tmp_path):
    """A note from another machine, and one whose process number belongs to somebody else by now."""
    paths = Paths(tmp_path, "tiny", "scenes", "train")
    with claim(paths):
        note = read_holder(paths)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        with pytest.raises(InputError, match="has not said who it is"):
            end_holder(paths)
        write_json(paths.holder, {**note, "pid": bystander.pid, "host": "elsewhere"})
        with pytest.raises(InputError, match=rf"runs on elsewhere; end process {bystander.pid} there"):
            end_holder(paths)
        write_json(paths.holder, {**note, "pid": bystander.pid})
        with pytest.raises(InputError, match="is gone and left one behind"):
            end_holder(paths)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
