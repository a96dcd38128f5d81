"""Looking at stage runs where plan.yaml and params.yaml do not fit, and at who holds what."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from data_registry.errors import InputError
from flows.cli.tables import status_table
from flows.designs.plan import read_plan
from flows.execution.status import claims, end_process, status_of
from tasks.identity.files import write_json
from tasks.stage import locks, process

HOLD = """
import sys
from pathlib import Path
from tasks.stage import locks

with locks.hold(Path(".locks/dvc.lock"), "test"):
    print("held", flush=True)
    open("go").read()
"""


def test_a_plan_of_another_scale_is_shown_and_says_why(project):
    """plan.yaml holds tiny's stage runs; params.yaml has none of them at small scale."""
    project.set_params({**project.params(), "scale": "small"})
    rows = status_of(project.root)
    assert [row["run"] for row in rows] == read_plan(project.root).runs()
    assert {row["state"] for row in rows} == {"undefined"}
    assert all("params.yaml" in row["why"] for row in rows)
    printed = Console(file=io.StringIO(), width=200)
    printed.print(status_table(rows))
    assert "undefined" in printed.file.getvalue()


def test_who_holds_a_lock_is_listed_and_can_be_ended(project):
    """As a flow that was stopped (SIGSTOP) during a commit: everybody waits for it."""
    os.mkfifo(project.root / "go")
    holder = project.start(sys.executable, "-c", HOLD)
    assert holder.stdout.readline() == "held\n"
    held = claims(project.root)
    assert [(each["run"], each["scale"], each["pid"]) for each in held] == [("dvc", "", holder.pid)]

    said = []

    def pause(seconds, doing):
        if said:
            end_process(project.root, "dvc")

    waiting = locks.SILENT_S
    locks.SILENT_S = 0.0
    try:
        with locks.hold(project.root / ".locks" / "dvc.lock", "commit scenes/train", said.append, pause):
            pass
    finally:
        locks.SILENT_S = waiting
    assert holder.wait() == -9
    assert said == [
        f"waiting to commit scenes/train: process {holder.pid} on {process.this_process()['host']} (-c) holds "
        f"{project.root / '.locks/dvc.lock'}; it goes on by itself when that one ends; should it hang, "
        f"`kill -9 {holder.pid}` ends it"
    ]
    assert claims(project.root) == []
    with pytest.raises(InputError, match="dvc: nobody holds it"):
        end_process(project.root, "dvc")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"host": "elsewhere"}, "runs on elsewhere"),
        ({"container": "pid:[1]"}, "in another container"),
        ({"started": "1"}, "is gone and left one behind"),
    ],
)
def test_a_process_is_known_by_more_than_its_number(tmp_path, changed, words):
    """A bystander has the number; it is neither taken for the holder nor ended."""
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        own = process.this_process()
        who = {**own, "pid": bystander.pid, "started": process.started(bystander.pid), **changed}
        lock = tmp_path / "a.lock"
        write_json(lock.with_suffix(".json"), who)
        assert process.is_alive(who) is (False if "started" in changed else None)
        with pytest.raises(InputError, match=words):
            process.end(locks.holder(lock), lock)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
