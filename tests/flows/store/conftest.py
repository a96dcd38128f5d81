"""What the tests of the store share."""

import pytest

from flows.designs.plan import plan_of
from flows.execution.display import NoDisplay
from flows.execution.plan_file import add_to_plan
from flows.execution.result import COMPUTED, Result
from flows.execution.session import Session
from tests.flows.conftest import Project

RUNS = ["scenes/train", "scenes/test", "data/cc558k"]


@pytest.fixture
def session(project: Project, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A flow's work without Prefect; everything in RUNS is there."""
    monkeypatch.setenv("PYTHONPATH", project.environment["PYTHONPATH"])
    monkeypatch.chdir(project.root)  # where a flow is always started
    made = Session(project.root, add_to_plan(project.root, plan_of(project.want(1))), NoDisplay(), Result([]))
    made.look_up(RUNS)
    assert [made.perform(run) for run in RUNS] == [COMPUTED] * len(RUNS)
    project.forget()
    return made
