"""The scheduler alone: order, slots, priority, and a failure that fails its dependents and nothing else."""

import itertools
import random

from flows.execution.schedule import DONE, FAILED, SKIPPED, Scheduler


class Workers:
    """Starts runs by noting them; the test ends them in the order it likes."""

    def __init__(self) -> None:
        self.reports: dict = {}
        self.started: list[str] = []
        self.inputs: dict[str, list[str]] = {}

    def start(self, run, inputs, report):
        self.started.append(run)
        self.inputs[run] = inputs
        self.reports[run] = report
        return run

    def end(self, run, error=None):
        self.reports.pop(run)(error)


def finish(scheduler, workers, choose=lambda running: running[0], fails=()):
    """Run to the end; returns {run: state}."""
    ended = {}
    while scheduler.busy:
        scheduler.step(timeout=0)
        run = choose(sorted(workers.reports))
        workers.end(run, RuntimeError(run) if run in fails else None)
        for one in scheduler.step():
            ended[one.run] = one
    return ended


DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def test_a_shared_input_runs_once_and_first():
    workers = Workers()
    scheduler = Scheduler(workers.start, slots=4)
    scheduler.add(DIAMOND)
    ended = finish(scheduler, workers)
    assert sorted(workers.started) == ["a", "b", "c", "d"]
    assert workers.started[0] == "a"
    assert workers.started[-1] == "d"
    assert workers.inputs["d"] == ["b", "c"]
    assert {one.state for one in ended.values()} == {DONE}


def test_never_more_than_the_slots_and_never_before_the_inputs():
    rng = random.Random(0)
    for slots in (1, 2, 5):
        names = [f"r{i}" for i in range(60)]
        needs = {n: rng.sample(names[:i], min(i, rng.randrange(4))) for i, n in enumerate(names)}
        workers, ended = Workers(), set()
        scheduler = Scheduler(workers.start, slots)
        scheduler.add(needs)
        while scheduler.busy:
            scheduler.step(timeout=0)
            assert 1 <= len(workers.reports) <= slots
            assert all(set(needs[run]) <= ended for run in workers.reports)
            run = rng.choice(sorted(workers.reports))
            workers.end(run)
            ended |= {one.run for one in scheduler.step()}
        assert sorted(workers.started) == sorted(names)


def test_the_longest_way_to_the_end_goes_first():
    workers = Workers()
    scheduler = Scheduler(workers.start, slots=1)
    needs = {"short": [], "long": [], "after long": ["long"]}
    scheduler.add(needs, cost={"short": 5.0, "long": 1.0, "after long": 10.0})
    finish(scheduler, workers)
    assert workers.started == ["long", "after long", "short"]


def test_each_kind_has_its_own_slots():
    workers, ended = Workers(), set()
    scheduler = Scheduler(workers.start, {"cpu": 1, "gpu": 2}, kind=lambda run: "gpu" if run.startswith("g") else "cpu")
    scheduler.add({**{f"c{i}": [] for i in range(4)}, **{f"g{i}": ["c0"] for i in range(5)}})
    seen = set()
    while scheduler.busy:
        scheduler.step(timeout=0)
        running = sorted(workers.reports)
        assert sum(run.startswith("c") for run in running) <= 1
        assert sum(run.startswith("g") for run in running) <= 2
        seen.add(tuple(run[0] for run in running))
        workers.end(running[0])
        ended |= {one.run for one in scheduler.step()}
    assert len(ended) == 9
    assert ("c", "g", "g") in seen, "neither kind waits for the other"


def test_a_failure_fails_what_depends_on_it_and_nothing_else():
    workers = Workers()
    scheduler = Scheduler(workers.start, slots=2)
    scheduler.add({**DIAMOND, "e": ["d"], "other": ["a"], "after other": ["other"]})
    ended = finish(scheduler, workers, fails={"b"})
    assert {run for run, one in ended.items() if one.state == DONE} == {"a", "c", "other", "after other"}
    assert ended["b"].state == FAILED
    assert str(ended["b"].error) == "b"
    assert {run: one.blame for run, one in ended.items() if one.state == SKIPPED} == {"d": "b", "e": "b"}
    assert "d" not in workers.started


def test_more_can_be_added_while_it_runs():
    workers = Workers()
    scheduler = Scheduler(workers.start, slots=2)
    scheduler.add(DIAMOND)
    finish(scheduler, workers, fails={"c"})
    skipped = scheduler.add({"f": ["b"], "g": ["c"], "h": ["g"], "b": ["a"]})
    assert {one.run: one.blame for one in skipped} == {"g": "c", "h": "c"}
    ended = finish(scheduler, workers)
    assert list(ended) == ["f"]
    assert workers.started.count("b") == 1


def test_what_is_read_but_not_asked_for_counts_as_there():
    workers = Workers()
    scheduler = Scheduler(workers.start, slots=1)
    scheduler.add({"leaf": ["ancestor"]})
    finish(scheduler, workers)
    assert workers.started == ["leaf"]


def test_every_order_of_ends_gives_the_same_result():
    for order in itertools.permutations("abcd"):
        workers = Workers()
        scheduler = Scheduler(workers.start, slots=2)
        scheduler.add(DIAMOND)
        ended = finish(scheduler, workers, choose=lambda running, order=order: min(running, key=order.index))
        assert set(ended) == set("abcd")
