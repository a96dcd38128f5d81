"""Kills at random moments: of a flow, of `dvc repro` and of stages' own commands, by kill -9, SIGTERM and Ctrl-C.
The same command again then ends with everything there once, the same bytes, and nothing left over.

`KILL_SEEDS=30 pytest tests/flows/test_random_kills.py` tries thirty moments of each kind."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.designs.design import ROWS
from flows.designs.plan import align_name, plan_of
from tests.flows.conftest import Project, make_project
from tests.flows.execution.test_run import alive_in, wait_until_gone

SEEDS = int(os.environ.get("KILL_SEEDS", "1"))
TARGET = f"align/{align_name(ROWS[1])}"
RUNS = plan_of([ROWS[1]]).only([TARGET]).runs()
SLOTS = 2
STAGE_S = "0.2"  # a stage of the small project takes so long: time to be killed in


def command(kind: str, project: Project) -> list[str]:
    dvc = [sys.executable, "-m", "dvc"]
    by_hand = " && ".join(f"{sys.executable} -m fake.{run.replace('/', ' ', 1)}" for run in RUNS)
    return {
        "flow": project.command("retry", TARGET),
        "dvc": [*dvc, "repro", TARGET.replace("/", "@", 1)],
        "stage": ["sh", "-c", by_hand],
    }[kind]


def ready(root: Path, served: Project) -> Project:
    project = make_project(root)
    project.prefect = served.prefect
    (root / "mlflow.db").write_bytes((served.root / "mlflow.db").read_bytes())
    project.extra = {"STAGE_SECONDS": STAGE_S}
    project.want(1)
    return project


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, bytes]:
    """What the stage runs are without any kill."""
    project = make_project(tmp_path_factory.mktemp("whole") / "project")
    project.want(1)
    for run in RUNS:
        project.stage(run)
    return {run: (project.out(run) / "MANIFEST.json").read_bytes() for run in RUNS}


@pytest.fixture(scope="module")
def lasts() -> dict[str, float]:
    """Seconds that the command of a kind takes from start to end, once it was seen."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["kill-9", "sigterm", "ctrl-c"])
@pytest.mark.parametrize("kind", ["flow", "dvc", "stage"])
def test_a_kill_at_any_moment_costs_what_was_in_work(served, tmp_path, expected, lasts, kind, sent, seed):
    project = ready(tmp_path / "killed", served)
    if kind not in lasts:
        begun = time.monotonic()
        whole = ready(tmp_path / "timed", served)
        whole.run(*command(kind, whole))
        lasts[kind] = time.monotonic() - begun
    plan = (project.root / "plan.yaml").read_bytes()
    moment = random.Random(f"{kind} {sent} {seed}").uniform(0, lasts[kind])
    process = project.start(*command(kind, project), start_new_session=True)
    try:
        printed, _ = process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        (os.kill if sent == signal.SIGKILL else os.killpg)(process.pid, sent)
        printed, _ = process.communicate()
    assert wait_until_gone(project) == [], printed
    before = project.executed

    project.run(*command(kind, project))
    assert (project.root / "plan.yaml").read_bytes() == plan
    again = [run for run in project.executed[len(before) :] if run in before]
    assert len(again) <= (SLOTS if kind == "flow" else 1), f"killed after {moment:.2f} s: {again} computed again"
    assert sorted(set(project.executed)) == sorted(RUNS)
    executed = len(project.executed)
    for other in ("dvc", "flow"):  # both find all of it there, and what a flow finds DVC has
        project.run(*command(other, project))
    assert len(project.executed) == executed
    assert {run: (project.out(run) / "MANIFEST.json").read_bytes() for run in RUNS} == expected
    assert list((project.root / ".work").glob("*/*/*")) == [], "no scratch"
    assert list((project.root / "runs").glob("*/*/.*")) == [], "nothing beside the outputs"
    assert list((project.root / ".locks").glob("flow.*")) == []
    assert alive_in(project) == []
