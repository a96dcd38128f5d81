"""What a stage run will take and cost: seconds as recorded on this machine; at paper scale by FLOPs, calibrated on the
published hours (`model/paper_scale.py`). To choose by and to show remaining time with."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from data_registry.cards import datasets
from data_registry.errors import InputError
from flows.costs.graph import critical_path, makespan
from flows.designs.design import parse, read_value, split
from flows.designs.plan import Plan, plan_of
from model import paper_scale
from tasks.identity import settings
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.stage.early_stop import FRAC, frac_of
from tasks.stage.record import read_record, record_of
from tasks.stages import spec

_FETCH_S = 60.0  # of a foundation model that is read from a package or the hub; the tiny ones are trained


class Recorded:
    """One figure of the stage runs computed on this machine, and what it lets expect of others.

    Args:
        figures: {run: seconds} of those computed as they are asked for now.
        others: of those computed with other parameters, for stages that have none.
    """

    def __init__(self, figures: dict[str, float], others: Mapping[str, float] | None = None) -> None:
        self.of = figures
        self._by_stage: dict[str, list[float]] = {}
        self._stopped: dict[str, list[tuple[float, float]]] = {}
        for run, seconds in figures.items():
            self._by_stage.setdefault(run.partition("/")[0], []).append(seconds / _work(run))
            whole, frac = _whole(run)
            if frac < 1:
                self._stopped.setdefault(whole, []).append((frac, seconds))
        self._by_other: dict[str, list[float]] = {}
        for run, seconds in (others or {}).items():
            self._by_other.setdefault(run.partition("/")[0], []).append(seconds / _work(run))

    def expected(self, run: str) -> float:
        """Its own, or the middle one of its stage's by the work to do, or a first guess."""
        stage = run.partition("/")[0]
        if run in self.of:
            return self.of[run]
        recorded = self._by_stage.get(stage) or self._by_other.get(stage)
        return (median(recorded) if recorded else spec(stage).guess_s) * _work(run)

    def left(self, run: str, expected: float) -> float:
        """Of what a stage run is expected to take from its first step: without what a rung has done of its training."""
        whole, frac = _whole(run)
        done = (seconds for stop, seconds in self._stopped.get(whole, ()) if stop < frac)
        return expected if run in self.of else max(expected - max(done, default=0.0), 0.0)


class Costs:
    """What stage runs will take and cost on one slot, from what was recorded in `logs/` on this machine."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self._plan = plan
        loaded = settings.load(root)
        self._root, self._scale, self._params = root, loaded.scale, loaded.params
        # Accelerators of one slot; at tiny scale a slot is a CPU core.
        self._gpus = 1 if loaded.scale == "tiny" else settings.gpus_per_run(loaded.runtime, loaded.scale)
        self._clock, self._processor = Recorded({}), Recorded({})
        self._recorded, self._designs = Plan(), set[str]()  # of those that have records
        self.look()

    def look(self) -> bool:
        """Read what has been recorded by now; returns whether any of it is new."""
        before = self._clock.of
        now_s, now_worked_s, other_s, other_worked_s = (dict[str, float]() for _ in range(4))
        paths = sorted((self._root / "logs" / self._scale).glob("*/*.json"))
        now = Settings(self._root, self._params, self._what_was_recorded(paths).entries)
        for path in paths:
            stage, name = path.parent.name, path.stem
            run = f"{stage}/{name}"
            record, asked_for = read_record(Paths(self._root, self._scale, stage, name)), record_of(now, run)
            if not record:
                continue
            # Of a training that went on with a stopped one: what it takes from its first step.
            earlier = record.get("earlier", {})
            whole = record["seconds"] + earlier.get("seconds", 0.0)
            worked = record["processor_s"] + earlier.get("processor_s", 0.0) if "processor_s" in record else whole
            (now_s if asked_for else other_s)[run] = whole
            (now_worked_s if asked_for else other_worked_s)[run] = worked
        self._clock, self._processor = Recorded(now_s, other_s), Recorded(now_worked_s, other_worked_s)
        return self._clock.of != before

    def _what_was_recorded(self, records: Iterable[Path]) -> Plan:
        """The plan, and what it does not have of the designs that records are of, such as a sweep's trials."""
        names = {path.stem for path in records if path.parent.name in ("instruct", "score")}
        for name in names - self._designs:
            with contextlib.suppress(InputError):  # a stage of the user's own may name its stage runs as it likes
                self._recorded = self._recorded.merge(plan_of([parse(name)]))
        self._designs |= names
        return self._recorded.merge(self._plan)

    def seconds(self, run: str) -> float:
        """Seconds that "stage/name" takes on one slot (one core at tiny scale, else `gpus_per_run` GPUs), from where a
        rung stopped its training if one did."""
        return self._clock.left(run, self._from_start(run, self._clock))

    def recorded(self, run: str) -> float | None:
        """Seconds that it took on this machine, if it was computed here when last looked."""
        return self._clock.of.get(run)

    def gpu_hours(self, runs: Iterable[str], from_start: bool = False) -> float:
        """Accelerator hours of these runs; at tiny scale core hours, which are processor time: what else the machine
        does meanwhile makes a design slower, and no dearer.

        Args:
            from_start: with nothing there of a training that a rung stopped.
        """
        figures = self._processor if self._scale == "tiny" else self._clock
        whole = {run: self._from_start(run, figures) for run in runs}
        seconds = whole.values() if from_start else (figures.left(run, value) for run, value in whole.items())
        return sum(seconds) * self._gpus / 3600

    def _from_start(self, run: str, figures: Recorded) -> float:
        stage = run.partition("/")[0]
        if run not in figures.of and self._scale == "paper" and spec(stage).trains_on:
            params = self._params.get(stage, {}).get("paper", {})
            return _paper_gpu_seconds(stage, self._plan.entry(run)["parts"], params) / self._gpus
        if run not in figures.of and self._scale != "tiny" and stage == "foundation":
            return _FETCH_S
        return figures.expected(run)

    def finish_hours(
        self, runs: Iterable[str], slots: int | Mapping[str, int], kind: Callable[[str], str] = lambda run: ""
    ) -> float:
        """Hours until all have ended, by the scheduler's own rule (the longest way to the end first); as `makespan`."""
        return makespan({run: self._plan.needs(run) for run in runs}, self.all(runs), slots, kind) / 3600

    def dollars(self, runs: Iterable[str], price: float | None) -> float | None:
        """What they cost at a price per accelerator hour (core hour at tiny scale); None where no price is known."""
        return None if price is None else self.gpu_hours(runs) * price

    def critical_path(self, runs: Iterable[str]) -> list[str]:
        """The longest chain among these runs, inputs first: no number of slots finishes sooner."""
        return critical_path({run: self._plan.needs(run) for run in runs}, self.all(runs))

    def all(self, runs: Iterable[str]) -> dict[str, float]:
        """{run: seconds}."""
        return {run: self.seconds(run) for run in runs}


def _whole(run: str) -> tuple[str, float]:
    """The stage run whose training goes to the end, and the share of it that this one does."""
    if f"{FRAC}=" not in run:
        return run, 1.0
    stage, _, name = run.partition("/")
    fields, settings = split(name)
    others = [f"{key}={value}" for key, value in settings if key != FRAC]
    return f"{stage}/{'_'.join([*fields, *others])}", float(read_value(dict(settings).get(FRAC, "1")))


def _work(run: str) -> float:
    """What a stage 1 or 2 run has to do beside others of its stage, by the data in its name; 1 for every other run."""
    stage, _, name = run.partition("/")
    if stage not in ("align", "instruct"):
        return 1.0
    fields, settings = split(name)
    chosen = dict(settings)
    share = float(read_value(chosen.get(FRAC, "1"))) * float(read_value(chosen.get("fraction", "1")))
    data = fields[-1].split("+")
    return share * sum(_work_on(name) * float(read_value(chosen.get(name, "1"))) for name in data)


def _paper_gpu_seconds(stage: str, parts: dict[str, Any], params: Mapping[str, Any]) -> float:
    section = {**params, **(parts.get("set") or {})}
    mixed, shares = section.get("mix") or {}, parts.get("shares") or {}
    seconds = 0.0
    for name in parts[spec(stage).trains_on]:
        samples, tokens = published(name)
        amount = mixed.get(name, float(section.get("fraction", 1.0)))
        read = (amount if isinstance(amount, int) else amount * samples) * shares.get(name, 1.0) * frac_of(parts)
        passes = read * float(section.get("epochs", 1.0))
        seconds += paper_scale.gpu_seconds(
            stage, parts["encoders"], parts["llm"], passes, tokens, bool(section.get("lora"))
        )
    return seconds


def _work_on(name: str) -> float:
    """What training on a data set takes beside one on captions; a set that has gone since counts as those."""
    return datasets.card(name).work if name in datasets.names() else 1.0


def published(name: str) -> tuple[int, int]:
    """Samples of a data set, and text tokens of each, as its card has them; InputError where it does not say."""
    card = datasets.card(name)
    if card.samples is None or card.tokens is None:
        key = "samples" if card.samples is None else "tokens"
        raise InputError(f"{name}.yaml: {key}: missing; what a training on it takes at paper scale follows from it")
    return card.samples, card.tokens
