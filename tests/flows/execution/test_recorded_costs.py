"""A record made with other parameters is nobody's cost: `dvc exp run -S ...` and a checkout leave such ones."""

import json

from flows.costs.cost import Costs
from flows.costs.prices import DesignCosts
from flows.designs.design import ROWS
from flows.designs.plan import plan_of
from flows.execution.status import info_of, status_of
from tasks.identity.files import write_json
from tasks.identity.paths import Paths
from tasks.stage.harness import execute
from tests.flows.conftest import Project

RUN = f"instruct/{ROWS[1].name}"


def compute_all(project: Project) -> None:
    for run in plan_of([ROWS[1]]).runs():
        stage, _, name = run.partition("/")
        execute(stage, name, lambda run: {}, project.root)


def took(project: Project, run: str, seconds: float) -> None:
    """Say of a computed stage run how long it took."""
    record = Paths(project.root, "tiny", *run.split("/")).record
    write_json(record, {**json.loads(record.read_text()), "seconds": seconds, "processor_s": seconds})


def test_a_record_of_other_parameters_is_not_taken_for_this_one(project):
    compute_all(project)
    took(project, RUN, 100.0)
    plan, asked = plan_of([ROWS[1]]), project.params()
    hours = DesignCosts(project.root, [ROWS[1]]).alone(ROWS[1])
    assert Costs(project.root, plan).recorded(RUN) == 100

    changed = project.params()
    changed["instruct"]["tiny"]["lr"] = 2e-3
    project.set_params(changed)
    compute_all(project)
    took(project, RUN, 1.0)
    assert Costs(project.root, plan).recorded(RUN) == 1, "as long as they are asked for"

    project.set_params(asked)
    compute_all(project)  # its output comes back uncomputed, so the record stays the other's
    assert Costs(project.root, plan).recorded(RUN) is None
    row = next(row for row in status_of(project.root) if row["run"] == RUN)
    assert row["state"] == "there" and "seconds" not in row
    assert "computed" not in info_of(project.root, RUN)
    for prices in (DesignCosts(project.root, [ROWS[1]]), DesignCosts(project.root)):
        assert prices.alone(ROWS[1]) != hours


def test_other_stage_runs_are_expected_by_what_was_computed_as_asked_for(project):
    """Records as asked for and one of other parameters: only the first let expect another."""
    compute_all(project)
    for run in (run for run in plan_of([ROWS[1]]).runs() if run.startswith("data/")):
        took(project, run, 10.0)
    write_json(Paths(project.root, "tiny", "data", "mix665k").record, {"identity": "another", "seconds": 1000.0})
    costs = Costs(project.root, plan_of([ROWS[1], ROWS[8]]))
    assert costs.recorded("data/mix665k") is None
    assert costs.seconds("data/3di-ft1m") == 10
    assert costs.seconds("data/mix665k") == 10


def test_without_any_other_a_record_of_other_parameters_is_a_better_guess_than_none(project):
    compute_all(project)
    record = Paths(project.root, "tiny", *RUN.split("/")).record
    write_json(record, {"identity": "another", "seconds": 7.0})
    costs = Costs(project.root, plan_of([ROWS[1]]))
    assert costs.recorded(RUN) is None
    assert costs.seconds(RUN) == 7


def test_a_damaged_record_is_none(project):
    compute_all(project)
    Paths(project.root, "tiny", *RUN.split("/")).record.write_text("")
    assert Costs(project.root, plan_of([ROWS[1]])).recorded(RUN) is None
    assert "computed" not in info_of(project.root, RUN)
