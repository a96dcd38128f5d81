"""A sweep: no design twice, failures told, killed sweeps resumed, the space checked."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from data_registry.errors import InputError
from flows.costs.memory import memory_check, memory_gb
from flows.costs.prices import DesignCosts
from flows.designs.design import parse
from flows.designs.plan import Plan
from flows.designs.space import Range, Space
from flows.execution.result import Result
from flows.execution.schedule import FAILED
from flows.search.config import Config
from flows.search.halving import Halving
from flows.search.loop import Sweep
from flows.search.samplers.registry import SAMPLERS, make_sampler
from flows.search.study import open_study
from flows.search.trials import front, trials_of
from flows.sweep import run_sweep, validate
from tasks.identity.files import write_json
from tasks.identity.paths import Paths
from tests.flows.designs.test_design import grid

REPO = Path(__file__).resolve().parents[2]
SMALL = Space(stage0=["none"], stage1=["cc558k"])  # 3 encoder sets, 2 LLMs, 2 data sets: 12 designs


class Instant:
    """A session whose stage runs end at once: accuracy by a rule, failures as told."""

    def __init__(self, root, fails=()):
        self.root, self.plan, self.result = root, Plan(), Result([])
        self.fails, self.scored, self.trained = set(fails), [], []

    def want(self, plan):
        for run in plan.runs():
            name = run.partition("/")[2]
            if run not in self.result.states:
                self.scored += [name] if run.startswith("score/") else []
                self.trained += [run] if run.startswith(("adapt/", "align/", "instruct/")) else []
                self.result.states[run] = FAILED if run.startswith("score/") and name in self.fails else "computed"

    def metrics(self, run):
        name = run.partition("/")[2]
        return {"average": 0.5 + 0.2 * ("dinov2" in name) + 0.1 * ("3di-ft1m" in name) + 0.05 * ("llama" in name)}

    def promised(self, run):
        return run in self.result.states


class Never(Instant):
    """A session whose stage runs never end: the sweep is killed over them."""

    def want(self, plan):
        self.scored += [run.partition("/")[2] for run in plan.runs() if run.startswith("score/")]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params.yaml").write_text((REPO / "params.yaml").read_text())
    return tmp_path


def sweep(root, trials, sampler="prefix", space=SMALL, config=None, worker=None, halving=None, workers=2, **session):
    """Run to the end; returns the session, the trials and the study."""
    worker = worker or Instant(root, **session)
    config = replace(config or Config(), space=space)
    costs = DesignCosts(root, taken=worker.promised)
    with open_study(root, "s", config.objectives) as study:
        study.sampler = make_sampler(sampler, space, costs.left, costs.alone, len(study.trials))
        fits = memory_check(root, config.device_gb)
        made = Sweep(worker, study, config, trials, workers, costs, halving, fits, in_order=SAMPLERS[sampler].in_order)
        worker.left = []
        made.on_pruned = lambda variant: worker.left.append(dict(variant.settings)["frac"])
        made.advance()
        return worker, trials_of(study), study


def at_paper_scale(root):
    params = (root / "params.yaml").read_text().replace("scale: tiny", "scale: paper", 1)
    (root / "params.yaml").write_text(params)


@pytest.mark.parametrize("sampler", SAMPLERS)
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


def test_a_killed_sweep_takes_up_what_was_in_work(root):
    killed, _, _ = sweep(root, 6, worker=Never(root), workers=3)
    assert len(killed.scored) == 3
    again, trials, study = sweep(root, 6)
    assert set(killed.scored) < set(again.scored), "asked for before, so evaluated now"
    assert len(again.scored) == len(trials) == len(study.trials) == 6
    assert all(trial.value is not None for trial in trials)


def test_a_trial_that_was_killed_before_it_proposed_is_told_to_have_failed(root):
    from optuna.trial import TrialState

    with open_study(root, "s") as study:
        lost = study.ask()
    _, trials, study = sweep(root, 2, "random")
    assert study.trials[lost.number].state == TrialState.FAIL
    assert all(trial.state.is_finished() for trial in study.trials)
    assert len(trials) == 2


def test_failures_are_told_and_capped(root):
    from optuna.trial import TrialState

    names = [design.name for design in SMALL.designs()]
    worker, trials, study = sweep(root, 12, "grid", config=Config(max_failures=3), fails=names)
    assert 3 <= len(worker.scored) <= 4  # two in work when the third failed
    assert {trial.state for trial in study.trials} == {TrialState.FAIL}
    assert all(trial.failed for trial in trials)


@pytest.mark.parametrize("sampler", ["grid", "prefix"])
def test_one_failure_among_many_stops_nothing(root, sampler):
    names = [design.name for design in SMALL.designs()]
    worker, trials, _ = sweep(root, 12, sampler, fails=names[3:4])
    assert len(worker.scored) == 12
    assert [trial.design.name for trial in trials if trial.failed] == names[3:4]
    assert trials[-1].failed


def test_halving_promotes_the_best_and_trains_their_first_stages_once(root):
    worker, trials, study = sweep(root, 12, halving=Halving(["1of9", "1of3", "1"], 3))
    at_rung = [[n for n in worker.scored if f"frac={f}" in n] for f in ("1of9", "1of3")]
    whole = [name for name in worker.scored if "frac=" not in name]
    assert [len(at_rung[0]), len(at_rung[1]), len(whole)] == [12, 4, 2]
    assert whole == ["clip+dinov2_llama3-8b_cc558k_mix665k+3di-ft1m", "clip+dinov2_vicuna-7b_cc558k_mix665k+3di-ft1m"]
    assert Counter(worker.left) == {"1of9": 8, "1of3": 4}, "each once, where nothing goes on from"
    assert sum(run.startswith("align/") for run in worker.trained) == 6, "per encoder set and LLM, whatever the rung"
    assert [trial.value is not None for trial in trials] == [True] * 2 + [False] * 10
    assert [len(trial.rungs) for trial in trials] == [3, 3, 2, 2] + [1] * 8
    assert all(trial.state.is_finished() for trial in study.trials)
    again, _, _ = sweep(root, 12, halving=Halving(["1of9", "1of3", "1"], 3))
    assert again.scored == []


def test_a_killed_halving_goes_on_at_its_rung(root):
    class StopsAtSecondRung(Instant):
        def want(self, plan):
            if not any("frac=1of3" in run for run in plan.runs()):
                super().want(plan)

    rungs = Halving(["1of9", "1of3", "1"], 3)
    first, _, _ = sweep(root, 12, worker=StopsAtSecondRung(root), halving=rungs)
    assert len(first.scored) == 12
    again, trials, _ = sweep(root, 12, halving=rungs)
    assert [sum(f"frac={f}" in name for name in again.scored) for f in ("1of9", "1of3")] == [0, 4]
    assert sum(trial.value is not None for trial in trials) == 2


def test_a_halving_killed_over_its_last_answer_still_gives_it(root, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    rungs = Halving(["1of9", "1of3", "1"], 3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Sweep, "_tell_complete", killed)
        sweep(root, 9, "grid", halving=rungs)
    _, trials, study = sweep(root, 9, "grid", halving=rungs)
    assert [trial.value is not None for trial in trials] == [True] + [False] * 8
    assert [len(trial.rungs) for trial in trials] == [3, 2, 2] + [1] * 6
    assert all(trial.state.is_finished() for trial in study.trials)


@pytest.mark.parametrize("state", ["COMPLETE", "PRUNED"])
def test_a_sweep_killed_between_two_trials_of_one_design_counts_it_once(root, state):
    from optuna.trial import TrialState

    rungs = Halving(["1of9", "1of3", "1"], 3)
    _, before, study = sweep(root, 9, "grid", halving=rungs)
    twin = next(trial for trial in study.get_trials() if trial.state.name == state)
    with open_study(root, "s") as again:
        twin.state, twin.values, twin.datetime_complete = TrialState.RUNNING, None, None
        again.add_trial(twin)
    worker, trials, study = sweep(root, 9, "grid", halving=rungs)
    assert worker.scored == []
    assert {(one.design, one.value, one.rungs) for one in trials} == {(o.design, o.value, o.rungs) for o in before}
    assert study.trials[-1].state.name == state
    _, trials, _ = sweep(root, 12, "grid", halving=rungs)
    assert len(trials) == 12


def test_a_design_that_was_proposed_twice_takes_the_room_of_one(root):
    rungs = Halving(["1of9", "1of3", "1"], 3)
    _, _, study = sweep(root, 6, "grid", halving=rungs)
    stopped = next(one for one in study.trials if one.state.name == "PRUNED" and len(one.intermediate_values) == 2)
    with open_study(root, "s") as again:
        again.add_trial(stopped)
    _, trials, _ = sweep(root, 12, "grid", halving=rungs)
    assert sum(len(trial.rungs) >= 2 for trial in trials) == 4, "a third of twelve"


def test_a_design_costs_what_its_stage_runs_took(root):
    """On a machine where nothing was recorded when the sweep began."""

    class Recorded(Instant):
        def want(self, plan):
            super().want(plan)
            for run in plan.runs():
                stage, _, name = run.partition("/")
                seconds = {"align": 36, "instruct": 72 if "llama" in name else 54, "score": 18}.get(stage, 1000)
                record = {"seconds": 5 * seconds, "processor_s": seconds}  # of a machine that does much else
                write_json(Paths(root, "tiny", stage, name).record, record)

    _, trials, _ = sweep(root, 12, worker=Recorded(root))
    assert len(trials) == 12
    for trial in trials:
        assert trial.hours == pytest.approx((36 + (72 if trial.design.llm == "llama3-8b" else 54) + 18) / 3600)


def test_two_objectives_give_a_pareto_front(root):
    at_paper_scale(root)  # where hours differ: by LLM and data
    config = Config(objectives=["accuracy", "hours"])
    _, trials, study = sweep(root, 12, config=config)
    found = front(trials)
    assert len(study.best_trials) == len(found) > 1
    assert {trial.number for trial in found} == {trial.number for trial in study.best_trials}
    for one in found:
        assert not any(other.value >= one.value and other.hours < one.hours for other in trials)
    with pytest.raises(InputError, match="has other objectives"):
        sweep(root, 12)


def test_a_design_that_does_not_fit_the_memory_is_skipped(root):
    at_paper_scale(root)
    vicuna, llama = (memory_gb(root, parse(f"clip_{llm}_cc558k_mix665k")) for llm in ("vicuna-7b", "llama3-8b"))
    assert vicuna == pytest.approx((18 * 6.74 + 2 * 0.304) / 8, rel=1e-3)  # ZeRO-3 on 8 ranks, gradients in fp32
    worker, trials, _ = sweep(root, 12, config=Config(device_gb=(vicuna + llama) / 2), sampler="random")
    assert len(worker.scored) == 6
    assert all("vicuna" in name for name in worker.scored)
    skipped = [trial for trial in trials if trial.value is None]
    assert all("needs at least" in trial.failed for trial in skipped)


@pytest.mark.parametrize("sampler", ["grid", "prefix"])
def test_the_memory_of_a_study_may_change(root, sampler):
    at_paper_scale(root)
    vicuna, llama = (memory_gb(root, parse(f"clip_{llm}_cc558k_mix665k")) for llm in ("vicuna-7b", "llama3-8b"))
    small = Config(device_gb=(vicuna + llama) / 2)
    first, _, _ = sweep(root, 12, sampler, config=small)
    assert len(first.scored) == 6
    large, trials, _ = sweep(root, 9, sampler)
    assert len(large.scored) == 3
    assert sum(trial.value is not None for trial in trials) == 9
    again, _, _ = sweep(root, 12, sampler, config=small)
    assert again.scored == [], "all that fit are there"
    rest, trials, _ = sweep(root, 12, sampler)
    assert len(rest.scored) == 3
    assert all(trial.value is not None for trial in trials)


def test_what_does_not_fit_any_more_takes_no_others_place(root):
    at_paper_scale(root)
    vicuna, llama = (memory_gb(root, parse(f"clip_{llm}_cc558k_mix665k")) for llm in ("vicuna-7b", "llama3-8b"))
    space = replace(SMALL, llm=["llama3-8b", "vicuna-7b"])
    first, _, _ = sweep(root, 2, "grid", space=space)
    assert all("llama3-8b" in name for name in first.scored)
    again, _, _ = sweep(root, 12, "grid", space=space, config=Config(device_gb=(vicuna + llama) / 2))
    assert len(again.scored) == 6


def test_adapters_need_little_memory_beside_the_weights(root):
    at_paper_scale(root)
    params = (root / "params.yaml").read_text()
    before, _, instruct = params.partition("instruct: #")
    (root / "params.yaml").write_text(f"{before}instruct: #{instruct.replace('lora: 0', 'lora: 128')}")
    found = memory_gb(root, parse("clip_vicuna-7b_cc558k_mix665k"))
    assert found == pytest.approx((2 * (6.74 + 0.304) + 16 * 0.32) / 8, rel=1e-2)  # 0.32 of them at rank 128
    (root / "params.yaml").write_text(params)
    assert memory_gb(root, parse("clip_vicuna-7b_cc558k_mix665k_lora=128")) == found, "where a sweep varies them"


def test_adapters_are_counted_from_the_models_own_files_where_they_are_there(root):
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from model.training.adaptation import LLM_LINEARS, Lora, add_lora

    (root / "runs/tiny").mkdir(parents=True)
    (root / "runs/tiny/foundation").symlink_to(REPO / "runs/tiny/foundation")
    params = (root / "params.yaml").read_text()
    before, _, instruct = params.partition("instruct: #")
    instruct = instruct.replace("    optimizer:", "    lora: 4\n    optimizer:", 1)
    (root / "params.yaml").write_text(f"{before}instruct: #{instruct}")
    models = [REPO / "runs/tiny/foundation" / name for name in ("vicuna-7b", "clip")]
    llm = AutoModelForCausalLM.from_pretrained(models[0])
    vision = load_file(models[1] / "model.safetensors").values()
    total = sum(p.numel() for p in llm.parameters()) + sum(tensor.numel() for tensor in vision)
    trained = sum(p.numel() for p in add_lora(llm, Lora(4, 8, 0.0), LLM_LINEARS))
    found = memory_gb(root, parse("clip_vicuna-7b_cc558k_mix665k"))
    assert found == pytest.approx((2 * total + 16 * trained) / 1e9)


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


def test_settings_with_underscores_are_swept(root):
    text, settings = (root / "params.yaml").read_text(), "{muon_lr: [1.0e-2, 2.0e-2], weight_decay: [0.0]}"
    space = f"  space: {{encoders: [clip], llm: [vicuna-7b], stage1: [cc558k], settings: {settings}}}"
    (root / "params.yaml").write_text(text.replace("  sampler: prefix", space, 1))
    request = validate(root, "s", None, 1, None, halving=False)
    names = [name for name in request.space_plan.plan["score"] if "muon_lr=2e-2_weight_decay=0" in name]
    assert len(names) == request.config.space.size() / 2 == 6
    assert request.space_plan.section("instruct", names[0])["muon_lr"] == 0.02
    _, trials, _ = sweep(root, 12, "random", space=request.config.space)
    assert {trial.design for trial in trials} == set(request.config.space.designs())


def test_a_range_is_a_list_of_numbers_with_one_spelling():
    assert Range(1e-4, 1e-2, 3, log=True).spelled() == ["1e-4", "1e-3", "1e-2"]
    assert Range(0.0, 1.0, 5).spelled() == ["0e0", "25e-2", "5e-1", "75e-2", "1e0"]
    with pytest.raises(InputError, match="low < high"):
        Range(1.0, 1.0, 2)


def test_what_does_not_apply_is_not_varied():
    """Shares of a data set only where it is read, a setting only under its condition: fewer designs, each reachable."""
    space = Space(
        stage0=["none"],
        stage1=["cc558k"],
        settings={"3di-ft1m": ["1of4", "1of2"], "lr": Range(1e-4, 1e-3, 2)},
        when={"lr": {"llm": ["llama3-8b"]}},
    )
    # 3 encoder sets; vicuna: 1 + 2 shares; llama: (1 + 2 shares) * 2 learning rates
    assert space.size() == 3 * (3 + 6)
    for design in space.designs():
        assert space.design(space.params_of(design)) == design
        assert ("lr" in dict(design.settings)) == (design.llm == "llama3-8b")
        assert bool(design.shares) == ("3di-ft1m" in design.stage2)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_conditional_space_is_searched_whole(root, sampler):
    space = replace(SMALL, encoders=["clip"], settings={"lr": [1e-3, 2e-3]}, when={"lr": {"llm": ["vicuna-7b"]}})
    worker, _, _ = sweep(root, 100, sampler, space=space)
    assert sorted(worker.scored) == sorted(design.name for design in space.designs())
    assert len(worker.scored) == 2 + 4


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
        ({"when": {"lr": {"llm": ["llama3-8b"]}}}, "sweep.space.when.lr: no such setting"),
        ({"settings": {"lr": [1e-3]}, "when": {"lr": {"llm": ["llama"]}}}, "'llama' is not in the space"),
    ],
)
def test_a_wrong_space_is_refused(changes, says):
    with pytest.raises(InputError) as refused:
        Space(**changes)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "halving", "says"),
    [
        ("scale: tiny", "scale: paper", False, "with scale 'tiny', now 'paper'"),
        ("seed: 0", "seed: 1", False, "with seed 0, now 1"),
        ("metric: average", "metric: distance", False, "with metric 'average', now 'distance'"),
        ("  sampler: prefix", "  space: {encoders: [clip]}", False, "another space;"),
        ("instruct: 1", "instruct: 2", False, "another section or version of instruct in params.yaml;"),
        ("sampler: prefix", "sampler: random", True, "with rungs ['1'], now ['1of9', '1of3', '1']"),
        ("sampler: prefix", "sampler: random", False, None),
    ],
)
def test_a_study_goes_on_only_where_its_values_compare(root, monkeypatch, old, new, halving, says):
    def killed(*arguments, **options):
        raise Killed

    monkeypatch.setattr("flows.sweep.Session", killed)
    with pytest.raises(Killed):
        run_sweep(root, "s", 3, 1, None, None, None)
    with open_study(root, "s") as study:
        study.tell(study.ask(), 0.5)
    text = (root / "params.yaml").read_text()
    assert text.count(f"\n{old}") + text.count(f"\n  {old}") >= 1
    (root / "params.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError if says else Killed) as refused:
        run_sweep(root, "s", 3, 1, None, None, None, halving)
    assert not says or says in str(refused.value)


def test_a_study_goes_on_only_where_the_same_settings_apply(root, monkeypatch):
    def killed(*arguments, **options):
        raise Killed

    monkeypatch.setattr("flows.sweep.Session", killed)
    text, settings = (root / "params.yaml").read_text(), "settings: {lr: [1.0e-3]}"
    for more, ends in ((", when: {lr: {llm: [llama3-8b]}}", Killed), ("", InputError)):
        space = f"  space: {{{settings}{more}}}"
        (root / "params.yaml").write_text(text.replace("  sampler: prefix", space, 1))
        with pytest.raises(ends, match=r"with sweep\.space\.when .*, now None" if ends is InputError else None):
            run_sweep(root, "s", 3, 1, None, None, None)
        with open_study(root, "s") as study:
            study.tell(study.ask(), 0.5)


class Killed(Exception):
    pass


def test_a_space_that_params_yaml_cannot_train_leaves_no_trial_behind(root):
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("  sampler: prefix", "  space: {settings: {lrr: [1.0e-3]}}", 1))
    with pytest.raises(InputError, match=r"lrr: not a key of instruct\.tiny .* did you mean lr"):
        run_sweep(root, "s", 3, 1, None, None, None)
    with open_study(root, "s") as study:
        assert study.trials == []


@pytest.mark.parametrize(
    ("fractions", "says"),
    [(["2of18", "1"], "write ['1of9', '1'] instead"), (["1of9", "1of1"], "write ['1of9', '1'] instead")],
)
def test_rungs_are_spelled_as_in_names(fractions, says):
    with pytest.raises(InputError) as refused:
        Halving(fractions)
    assert says in str(refused.value)


def test_where_stage_2_stops_is_varied_by_rungs_or_by_the_space(root):
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("  sampler: prefix", "  space: {settings: {frac: [1of2]}}", 1))
    with pytest.raises(InputError, match=r"sweep\.space\.settings\.frac: with --halving"):
        run_sweep(root, "s", 3, 1, None, None, None, halving=True)


def test_one_process_per_study(root):
    with open_study(root, "s"):
        with pytest.raises(InputError, match="another process"), open_study(root, "s"):
            pass
        with open_study(root, "another"):
            pass


def test_one_machine_per_shared_study(root, tmp_path, monkeypatch):
    monkeypatch.setenv("SPATIALLLM_LEASES", f"sqlite:///{tmp_path / 'leases.db'}")
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{tmp_path / 'studies.db'}")
    another = root / "another"
    another.mkdir()
    with open_study(root, "s"):
        with pytest.raises(InputError, match="another machine is running it"), open_study(another, "s"):
            pass
        with open_study(another, "t"):
            pass
    with open_study(another, "s"):
        pass


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_study_may_lie_in_a_database(root, kind, request, monkeypatch):
    address = f"sqlite:///{root / 'studies.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_address")
    monkeypatch.setenv("OPTUNA_STORAGE", address)
    first, _, _ = sweep(root, 3)
    again, trials, _ = sweep(root, 5)
    assert len(first.scored) == 3
    assert len(again.scored) == 2
    assert len(trials) == 5
    assert not (root / ".optuna").exists()
