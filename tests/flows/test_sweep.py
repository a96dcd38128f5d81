"""A sweep: no design twice, failures told, killed sweeps resumed, the space checked."""

import json
from dataclasses import replace

import pytest

from data_registry.errors import InputError
from flows.design import parse
from flows.plan import Plan
from flows.run import Result
from flows.schedule import FAILED
from flows.space import Space
from flows.sweep import Config, Sweep, _study, _trials
from tests.flows.test_design import grid

SMALL = Space(stage0=["none"], stage1=["cc558k"])  # 3 encoder sets, 2 LLMs, 2 data sets: 12 designs


class Instant:
    """A session whose stage runs end at once: accuracy by a rule, failures as told."""

    def __init__(self, root, fails=()):
        self.root, self.plan, self.result = root, Plan(), Result([])
        self.fails, self.scored = set(fails), []
        self.store = self

    def settle(self, runs):
        for run in runs:
            if run.startswith("score/") and run not in self.result.states:
                name = run.partition("/")[2]
                self.scored.append(name)
                self.result.states[run] = FAILED if name in self.fails else "computed"
                out = self.paths(run).out
                out.mkdir(parents=True)
                value = 0.5 + 0.2 * ("dinov2" in name) + 0.1 * ("3di-ft1m" in name) + 0.05 * ("llama" in name)
                (out / "metrics.json").write_text(json.dumps({"average": value}))
        return []

    def paths(self, run):
        from tasks.claim import Paths

        stage, _, name = run.partition("/")
        return Paths(self.root, "tiny", stage, name)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params.yaml").write_text("scale: tiny\n")
    return tmp_path


def sweep(root, trials, sampler="tpe", space=SMALL, config=None, **session):
    """Run to the end; returns the session and the trials."""
    worker = Instant(root, **session)
    config = replace(config or Config(), space=space)
    with _study(root, "s", sampler) as study:
        made = Sweep(worker, study, config, trials, workers=2, redraws=0 if sampler == "grid" else 20)
        made.advance()
        return worker, _trials(study), study


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_no_design_is_evaluated_twice_and_all_are_reached(root, sampler):
    worker, trials, _ = sweep(root, 100, sampler)
    assert len(worker.scored) == len(set(worker.scored)) == 12
    assert {trial.design for trial in trials} == set(SMALL.designs())
    assert trials[0].design == parse("clip+dinov2_llama3-8b_cc558k_mix665k+3di-ft1m")
    assert trials[0].value == pytest.approx(0.85)


def test_a_sweep_goes_on_where_it_was(root):
    first, _, _ = sweep(root, 4)
    assert len(first.scored) == 4
    again, _, _ = sweep(root, 4)
    assert again.scored == []
    more, trials, _ = sweep(root, 7)
    assert len(more.scored) == 3
    assert len({trial.design for trial in trials}) == 7
    assert set(first.scored).isdisjoint(more.scored)


def test_a_killed_sweeps_open_trials_are_told_to_have_failed(root):
    from optuna.trial import TrialState

    with _study(root, "s", "random") as study:
        lost = study.ask()
    sweep(root, 2, "random")
    with _study(root, "s", "random") as study:
        assert study.trials[lost.number].state == TrialState.FAIL
        assert all(trial.state.is_finished() for trial in study.trials)


def test_failures_are_told_and_capped(root):
    from optuna.trial import TrialState

    names = [design.name for design in SMALL.designs()]
    worker, trials, study = sweep(root, 12, "grid", config=Config(max_failures=3), fails=names)
    assert 3 <= len(worker.scored) <= 4  # two in work when the third failed
    assert {trial.state for trial in study.trials} == {TrialState.FAIL}
    assert all(trial.failed for trial in trials)


def test_one_failure_among_many_stops_nothing(root):
    names = [design.name for design in SMALL.designs()]
    worker, trials, _ = sweep(root, 12, "grid", fails=names[3:4])
    assert len(worker.scored) == 12
    assert [trial.design.name for trial in trials if trial.failed] == names[3:4]
    assert trials[-1].failed


def test_the_default_space_is_the_papers_grid():
    assert set(Space().designs()) == set(grid())
    assert Space().size() == 144


def test_settings_multiply_the_space_and_show_in_the_names():
    space = replace(SMALL, settings={"frac": ["1of9", "1of3"], "lr": [1e-3]})
    assert space.size() == 24
    names = [design.name for design in space.designs()]
    assert names[0] == "clip_vicuna-7b_cc558k_mix665k_frac=1of9_lr=1e-3"
    for design in space.designs():
        assert space.design(space.params_of(design)) == design


def test_without_clip_there_is_no_stage_0():
    space = Space(encoders=["dinov2", "clip"], stage0=["none", "3di-pb-oi1m-clip"], llm=["vicuna-7b"])
    stage0 = {(design.encoders, design.stage0) for design in space.designs()}
    assert stage0 == {(("dinov2",), ""), (("clip",), ""), (("clip",), "3di-pb-oi1m-clip")}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoders": ["clipp"]}, "params.yaml: sweep.space.encoders: design 'clipp_"),
        ({"stage2": []}, "sweep.space.stage2: empty"),
        ({"llm": ["llama3-8b", "llama3-8b"]}, "listed twice"),
    ],
)
def test_a_wrong_space_is_refused(changes, says):
    with pytest.raises(InputError) as refused:
        Space(**changes)
    assert says in str(refused.value)


def test_one_process_per_study(root):
    with _study(root, "s", "tpe"):
        with pytest.raises(InputError, match="another process"), _study(root, "s", "tpe"):
            pass
        with _study(root, "another", "tpe"):
            pass
