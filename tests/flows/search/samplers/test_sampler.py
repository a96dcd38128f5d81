"""The cost- and prefix-aware sampler: what it prefers, checked by simulation instead of its own formulas."""

import numpy as np
import optuna
import pytest

from flows.designs.space import Space
from flows.search.samplers.prefix import PrefixSampler, _area_gain, parts, similarity
from flows.search.samplers.surrogate import Beliefs, Surrogate

SPACE = Space(stage0=["none"], llm=["llama3-8b"])  # 3 encoder sets, 4 stage 1 mixes, 2 stage 2 mixes


def propose(hours, answered=(), seed=0, directions=("maximize",), alone=None):
    """The design proposed after these (design, values) were answered."""
    study = optuna.create_study(directions=directions)
    for design, values in answered:
        study.enqueue_trial(SPACE.params_of(design))
        trial = study.ask()
        assert SPACE.suggest(trial) == design
        study.tell(trial, values)
    study.sampler = PrefixSampler(SPACE, hours, alone, seed)
    return SPACE.suggest(study.ask())


def test_what_shares_a_paid_prefix_comes_first():
    """Equal promise, so the price decides: the designs whose stage 1 is there cost a third."""
    there = ("clip", "dinov2"), ("cc558k", "3di-ft1m")
    for seed in range(5):
        design = propose(lambda candidate: 1.0 if (candidate.encoders, candidate.stage1) == there else 3.0, seed=seed)
        assert (design.encoders, design.stage1) == there


def test_a_promising_design_is_worth_its_price():
    designs = list(SPACE.designs())
    # All without dinov2 are bad, whatever else they are; the few with it are good and cost a little more.
    answered = [
        (candidate, 0.8 if "dinov2" in candidate.encoders else 0.4)
        for candidate in designs
        if candidate.stage1 != ("cc558k", "3di-ft1m")
    ]
    design = propose(lambda candidate: 1.3 if "dinov2" in candidate.encoders else 1.0, answered)
    assert "dinov2" in design.encoders
    # ... but not any price.
    design = propose(lambda candidate: 1e9 if "dinov2" in candidate.encoders else 1e-9, answered)
    assert "dinov2" not in design.encoders


def test_a_design_with_more_parts_is_tried_first_although_it_is_dearer():
    for seed in range(5):
        design = propose(lambda candidate: 1.0 + len(candidate.stage1) + len(candidate.stage2), seed=seed)
        assert len(design.encoders) == len(design.stage1) == len(design.stage2) == 2


def test_more_parts_are_not_preferred_where_they_do_harm():
    designs = list(SPACE.designs())
    size = {candidate: len(candidate.encoders) + len(candidate.stage1) + len(candidate.stage2) for candidate in designs}
    answered = [(candidate, 0.9 - 0.1 * size[candidate]) for candidate in designs if 3 < size[candidate] < 6]
    assert size[propose(lambda candidate: 1.0, answered)] == 3


def test_designs_in_work_are_not_proposed_again():
    study = optuna.create_study(direction="maximize", sampler=PrefixSampler(SPACE, lambda candidate: 1.0, seed=0))
    proposed = [SPACE.suggest(study.ask()) for _ in range(SPACE.size())]
    assert len(set(proposed)) == SPACE.size() == 24


def test_with_two_objectives_a_cheap_design_off_the_front_is_wanted():
    """Known: one expensive design and its accuracy. A cheaper one extends the front even where it is a little worse."""
    designs = list(SPACE.designs())
    price = {candidate: 10.0 if "3di-ft1m" in candidate.stage2 else 1.0 for candidate in designs}
    answered = [(designs[1], [0.6, price[designs[1]]])]
    assert price[designs[1]] == 10.0
    design = propose(lambda candidate: 1.0, answered, directions=("maximize", "minimize"), alone=price.__getitem__)
    assert price[design] == 1.0


def test_the_expected_gain_of_the_front_is_that_of_simulation():
    rng = np.random.default_rng(0)
    known, values, worst = np.array([2.0, 5.0, 8.0]), np.array([0.3, 0.2, 0.7]), 10.0
    cost, mean, deviation = np.array([1.0, 3.0, 9.0]), np.array([0.4, 0.5, 0.65]), np.array([0.2, 0.3, 0.2])
    beliefs = Beliefs(np.array([1.0]), mean[None], deviation[None], float(values.mean()))
    found = _area_gain(beliefs, cost, known, values, worst)

    grid = np.linspace(0, worst, 4001)[:-1] + worst / 8000

    def area(hours, accuracy):  # above the lowest value, by summing thin strips
        best = np.array([max([accuracy[i] for i in range(len(hours)) if hours[i] <= t], default=0.2) for t in grid])
        return (np.maximum(best, 0.2) - 0.2).sum() * worst / 4000

    front = np.array([max([v for k, v in zip(known, values, strict=True) if k <= t], default=0.2) for t in grid])
    assert area(known, values) == pytest.approx((front - 0.2).sum() * worst / 4000)
    for i in range(3):
        drawn = rng.normal(mean[i], deviation[i], 4000)
        gains = np.maximum(drawn[:, None] - front[None, grid >= cost[i]], 0).sum(1) * worst / 4000
        assert found[i] == pytest.approx(gains.mean(), rel=0.05)


def test_expected_improvement_is_that_of_simulation():
    rng = np.random.default_rng(1)
    beliefs = Beliefs(np.array([0.25, 0.75]), np.array([[0.1], [0.4]]), np.array([[0.3], [0.1]]), 0.0)
    which = rng.random(200_000) < 0.25
    drawn = np.where(which, rng.normal(0.1, 0.3, 200_000), rng.normal(0.4, 0.1, 200_000))
    assert beliefs.improvement(np.array([0.35]))[0] == pytest.approx(np.maximum(drawn - 0.35, 0).mean(), rel=0.02)


def test_the_surrogate_learns_main_effects_it_was_not_shown_together():
    """Two parts with effects that add up: of a 3 x 4 table the unseen corner is foreseen."""
    tables = [similarity(["a", "b", "c"]), similarity(["w", "x", "y", "z"])]
    first, second = np.array([0.0, 1.0, 4.0]), np.array([0.0, 2.0, 3.0, 6.0])
    pairs = np.array([(i, j) for i in range(3) for j in range(4) if (i, j) != (2, 3)])
    values = first[pairs[:, 0]] + second[pairs[:, 1]]
    beliefs = Surrogate(tables, seed=0).predict(pairs, values, np.empty((0, 2), int), np.array([[2, 3]]))
    expected = float(beliefs.weight @ beliefs.mean[:, 0])
    assert expected > values.max()
    assert expected == pytest.approx(10.0, abs=1.0)


def test_the_chance_of_being_the_best_is_even_until_something_is_known():
    """Nine designs that nothing tells apart; then the effects of both parts, of which the unseen has the best."""
    tables = [np.eye(3), np.eye(3)]
    every = np.array([(i, j) for i in range(3) for j in range(3)])
    nothing, none = np.empty((0, 2), int), np.empty(0)
    surrogate, rng = Surrogate(tables, seed=0), np.random.default_rng(0)
    even = surrogate.chance_of_best(nothing, none, nothing, every, rng)
    assert even == pytest.approx(np.full(9, 1 / 9), abs=0.04)

    seen = every[every.sum(1) < 4]
    values = np.array([0.0, 1.0, 4.0])[seen].sum(1)
    chance = surrogate.chance_of_best(seen, values, nothing, np.array([(2, 2), (0, 0), (1, 0)]), rng)
    assert chance[0] > 0.95
    assert chance.sum() == pytest.approx(1.0, abs=0.01)
    assert chance.min() > 0, "unlikely, not impossible"


def test_likeness_of_choices():
    mixes = similarity(["cc558k", "cc558k+3di-ft1m", "mix665k"])
    assert mixes[0, 1] == 0.5
    assert mixes[0, 2] == 0.0
    numbers = similarity(["1e-3", "1e-4", "1e-2"])  # ordered by value, not by place in the list
    assert numbers[0, 1] == numbers[0, 2] > numbers[1, 2]
    assert np.linalg.eigvalsh(mixes).min() > 0


def test_parts_of_choices():
    assert parts(["none", "clip", "clip+dinov2"]).tolist() == [0, 1, 2]
    assert parts(["1e-3", "1e-4"]).tolist() == [1, 1]
