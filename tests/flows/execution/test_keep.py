"""plan.yaml keeps what is wanted: a sweep's trials leave it when the sweep ends, nobody else's stage runs do."""

import contextlib
import os
import sys

import pytest
from filelock import FileLock, Timeout
from typer.testing import CliRunner

from flows.cli.main import app
from flows.designs.design import ROWS, parse
from flows.designs.plan import annotation_of, plan_of, read_plan, write_plan
from flows.execution import plan_file
from flows.execution.flow import run_plan
from flows.execution.plan_file import add_to_plan, in_flow, not_planned, release_trials

TRIALS = [parse(f"clip_{llm}_cc558k_mix665k_lr=1e-3") for llm in ("vicuna-7b", "llama3-8b")]


def scores(project) -> set[str]:
    return set(read_plan(project.root).entries["score"])


@pytest.fixture
def swept(project):
    """The plan of rows 1 and 8, and two trials of a sweep beside them."""
    add_to_plan(project.root, plan_of(TRIALS), study="s")
    assert scores(project) == {ROWS[1].name, ROWS[8].name, *(one.name for one in TRIALS)}
    return project


def test_trials_leave_but_for_the_best(swept):
    assert release_trials(swept.root, [TRIALS[0]]) == [TRIALS[1].name]
    assert scores(swept) == {ROWS[1].name, ROWS[8].name, TRIALS[0].name}
    assert read_plan(swept.root).entries == plan_of([ROWS[1], ROWS[8], TRIALS[0]]).entries
    assert release_trials(swept.root) == [], "what stayed once is wanted"


def test_an_annotation_of_pictures_stays(swept):
    wanted = annotation_of("openimages")
    write_plan(swept.root, read_plan(swept.root).merge(wanted))
    assert set(release_trials(swept.root)) == {one.name for one in TRIALS}
    assert read_plan(swept.root).only(["annotate/openimages"]).entries == wanted.entries


def test_who_asks_for_a_trial_keeps_it(swept):
    add_to_plan(swept.root, plan_of([TRIALS[1]]))
    assert release_trials(swept.root) == [TRIALS[0].name]
    assert TRIALS[1].name in scores(swept)


def test_who_tries_all_again_keeps_no_trial(swept, monkeypatch):
    monkeypatch.chdir(swept.root)
    monkeypatch.setattr("flows.execution.flow.Session.look_up", lambda self, runs: [])  # nothing is left to compute
    monkeypatch.setattr("flows.tracking.delivery.deliver_pending", lambda *given: None)
    assert CliRunner().invoke(app, ["retry"]).exit_code == 0
    assert scores(swept) == {ROWS[1].name, ROWS[8].name}


def test_trials_that_a_killed_sweep_left_leave_with_the_next_flow(swept, monkeypatch):
    """Of kill -9, after which no line of the sweep's own runs."""
    monkeypatch.setattr("flows.execution.flow.Session.look_up", lambda self, runs: [])  # nothing is left to compute
    run_plan(swept.root, plan_of([TRIALS[1]]), "of one of them")
    assert scores(swept) == {ROWS[1].name, ROWS[8].name, TRIALS[1].name}
    assert not list((swept.root / ".optuna").glob("*.trials.json"))


def test_what_the_plan_had_before_is_no_trial(project):
    add_to_plan(project.root, plan_of([ROWS[1], TRIALS[0]]), study="s")
    assert release_trials(project.root) == [TRIALS[0].name]
    assert ROWS[1].name in scores(project)


def test_nothing_leaves_while_another_flow_works(swept):
    go = swept.root / "other.go"
    os.mkfifo(go)
    work = "import pathlib\nfrom flows.execution.plan_file import in_flow\n"
    work += "with in_flow(pathlib.Path.cwd()):\n    print('in', flush=True)\n    open('other.go').read()\n"
    other = swept.start(sys.executable, "-c", work)
    assert other.stdout.readline() == "in\n"
    with in_flow(swept.root):
        assert release_trials(swept.root) == []
        assert TRIALS[0].name in scores(swept)
        go.write_text("on")
        other.communicate()
        assert set(release_trials(swept.root)) == {one.name for one in TRIALS}
    assert not list((swept.root / ".locks").glob("flow.*"))


def test_a_row_that_the_plan_lacks_is_said_by_every_verb_until_a_flow_brings_it(project, monkeypatch):
    """DVC reads plan.yaml alone: `dvc repro` says that all is up to date."""
    monkeypatch.chdir(project.root)
    assert not_planned(project.root) == []
    project.set_params({**project.params(), "designs": [1, 8, 3]})
    assert not_planned(project.root) == [ROWS[3].name]
    for verb in (["status", "--json"], ["plan", "--json"], ["info", f"score/{ROWS[1].name}"], ["gc"]):
        shown = CliRunner().invoke(app, verb)
        assert shown.exit_code == 0, shown.output
        assert f"params.yaml: designs: plan.yaml lacks {ROWS[3].name}, so `dvc repro` does not run it" in shown.stderr
        assert "plan.yaml lacks" not in shown.stdout, "which machines may read"
    assert CliRunner().invoke(app, ["keep", ROWS[3].name]).exit_code == 0
    assert not_planned(project.root) == []
    assert "plan.yaml lacks" not in CliRunner().invoke(app, ["status"]).output


def test_any_flow_brings_the_plan_up_to_date(project):
    project.set_params({**project.params(), "designs": [1, 8, 3, "blind"]})
    add_to_plan(project.root, plan_of([ROWS[1]]))
    assert not_planned(project.root) == []


def test_plan_yaml_is_read_and_written_under_one_lock(swept, monkeypatch):
    """Two that add to it at the same time would each write what the other has not seen."""
    lock, held = swept.root / ".locks" / "plan.lock", []

    def under_lock(call):
        def called(*arguments):
            with contextlib.suppress(Timeout), FileLock(lock, timeout=0):
                held.append((call.__name__, False))
                return call(*arguments)
            held.append((call.__name__, True))
            return call(*arguments)

        return called

    for call in (read_plan, write_plan):
        monkeypatch.setattr(plan_file, call.__name__, under_lock(call))
    add_to_plan(swept.root, plan_of([parse("clip_vicuna-7b_cc558k_mix665k_lr=2e-3")]), study="s")
    release_trials(swept.root)
    assert held == 2 * [("read_plan", True), ("write_plan", True)]
