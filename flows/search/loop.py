"""A study's asking and telling: Optuna proposes designs, a session computes them, their scores answer.
No design is evaluated twice; what a killed process had asked for is taken up where it was."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from data_registry.errors import InputError
from flows.costs.prices import Bill
from flows.designs.design import Design, parse
from flows.designs.plan import plan_of
from flows.designs.space import Space
from flows.execution.protocols import Session
from flows.execution.schedule import FAILED, SKIPPED
from flows.search.halving import WHOLE, Halving, at
from flows.search.trials import DESIGN, HOURS, LOST, UNFIT

if TYPE_CHECKING:
    import optuna

_REDRAWS = 20


@dataclass(frozen=True)
class Config:
    """params.yaml: sweep.

    Attributes:
        metric: key of the score's metrics.json that is called accuracy here.
        objectives: "accuracy" (up), and "hours" (down) for a Pareto front.
        max_failures: designs that may fail before the sweep gives up.
        device_gb: memory of one accelerator; a design that needs more (`flows.costs.memory`) is skipped.
    """

    sampler: Literal["prefix", "tpe", "random", "grid"] = "prefix"
    metric: Literal["average", "distance", "orientation", "relation"] = "average"
    objectives: list[Literal["accuracy", "hours"]] = field(default_factory=lambda: ["accuracy"])
    max_failures: int = 5
    device_gb: float | None = None
    halving: Halving = field(default_factory=Halving)
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        if self.objectives not in (["accuracy"], ["accuracy", "hours"]):
            raise InputError("params.yaml: sweep.objectives: [accuracy] or [accuracy, hours]")


@dataclass
class _Work:
    """A design that was asked for: its trials (a sampler may propose it twice) and its accuracy at earlier rungs."""

    design: Design
    trials: list["optuna.Trial"]
    values: list[float] = field(default_factory=list)

    @property
    def rung(self) -> int:
        return len(self.values)


class Sweep:
    """One study and what it has asked for.

    Args:
        session: computes stage runs (`flows.execution.session.Session`).
        trials: distinct designs that the study shall have evaluated in all, earlier sessions included.
        workers: designs of the first rung in work at the same time; those promoted are in work together.
        bill: what designs cost.
        halving: evaluate by rungs; None: every design on all of its data.
        fits: whether a design fits into the memory; None where it does, else why not.
        in_order: take the designs in the space's order and never ask the sampler.
    """

    def __init__(
        self,
        session: Session,
        study: "optuna.Study",
        config: Config,
        trials: int,
        workers: int,
        bill: Bill,
        halving: Halving | None = None,
        fits: Callable[[Design], str | None] = lambda design: None,
        in_order: bool = False,
    ) -> None:
        self.session, self.study, self.config, self.bill = session, study, config, bill
        self.halving, self.fits = halving, fits
        self.fractions = halving.fractions if halving else [WHOLE]
        self.workers = workers
        self.values: dict[str, float] = {}
        self.failed: set[str] = set()
        self.unfit: set[str] = set()
        self.stopped: dict[str, list[float]] = {}
        self.inflight: dict[str, _Work] = {}
        self.waiting: dict[str, _Work] = {}
        self.reached = [0] * len(self.fractions)
        self.on_complete: Callable[[Design], None] = lambda design: None
        # With a design as a rung trained it, once nothing will go on from there.
        self.on_stopped: Callable[[Design], None] = lambda variant: None
        self._redraws = 0 if in_order else _REDRAWS
        self._resume()
        # `sweep.device_gb` may have changed: what earlier sessions have taken up counts whether or not it fits now.
        names = [design.name for design in config.space.designs() if self._known(design.name) or fits(design) is None]
        self.wanted = min(trials, len(set(names) - self.unfit))

    def advance(self) -> None:
        """Answer the trials whose scores are there and ask for new ones, until something is left to compute."""
        while True:
            answered = self._answer()
            asked = self._ask()
            if not answered and not asked and not self._promote():
                return

    @property
    def evaluated(self) -> int:
        """Distinct designs with an answer, if only of the first rung."""
        return len(self.values) + len(self.failed) + len(self.stopped) + len(self.waiting)

    def _resume(self) -> None:
        """What earlier sessions have answered; what they were killed over is taken up where it was."""
        from optuna.trial import Trial as Proposed
        from optuna.trial import TrialState

        furthest: dict[str, int] = {}  # rungs by design, which may have several trials
        for trial in self.study.get_trials(deepcopy=False):
            name = trial.user_attrs.get(DESIGN)
            steps = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
            if trial.state == TrialState.RUNNING:
                proposed = Proposed(self.study, trial._trial_id)
                if not name:  # killed before it was noted what it proposes
                    proposed.set_user_attr(LOST, True)
                    self.study.tell(trial.number, state=TrialState.FAIL)
                elif name in self.inflight or name in self.waiting:
                    (self.inflight.get(name) or self.waiting[name]).trials.append(proposed)
                else:
                    work = _Work(parse(name), [proposed], steps[: len(self.fractions) - 1])
                    (self.waiting if work.values else self.inflight)[name] = work
                    if len(steps) == len(self.fractions):  # killed before its last rung's answer was told
                        self.values[name] = steps[-1]
            elif name and trial.state == TrialState.COMPLETE:
                self.values[name] = trial.values[0]
            elif name and trial.state == TrialState.PRUNED and UNFIT in trial.user_attrs:
                if self.fits(parse(name)):
                    self.unfit.add(name)
            elif name and trial.state == TrialState.PRUNED:
                self.stopped[name] = steps
            if name:
                furthest[name] = max(furthest.get(name, 0), len(steps))
        for answered in furthest.values():
            for rung in range(1, min(answered, len(self.reached))):
                self.reached[rung] += 1
        for group in (self.inflight, self.waiting):
            for name in group.keys() & {*self.values, *self.stopped}:  # killed between two trials of one design
                work = group.pop(name)
                for trial in work.trials:
                    if name in self.values:
                        self._complete(trial, work.design)
                    else:
                        self.study.tell(trial, state=TrialState.PRUNED)
        for work in self.inflight.values():
            self._plan(work)

    def _answer(self) -> bool:
        from optuna.trial import TrialState

        answered = False
        for name, work in list(self.inflight.items()):
            variant = at(work.design, self.fractions[work.rung])
            state = self.session.result.states.get(f"score/{variant.name}")
            if state is None:
                continue
            answered = True
            del self.inflight[name]
            if state in (FAILED, SKIPPED):
                self.failed.add(name)
                for trial in work.trials:
                    self.study.tell(trial, state=TrialState.FAIL)
                if len(self.failed) >= self.config.max_failures:
                    self.wanted = self.evaluated  # enough: no new ones, those in work end
                continue
            work.values.append(self._accuracy(variant))
            if self.halving:
                for trial in work.trials:
                    trial.report(work.values[-1], work.rung - 1)
            if work.rung < len(self.fractions):
                self.waiting[name] = work
                continue
            self.values[name] = work.values[-1]
            self.bill.look()
            for trial in work.trials:
                self._complete(trial, work.design)
            self.on_complete(work.design)
            if self.halving and len(self.fractions) > 1:
                self.on_stopped(at(work.design, self.fractions[-2]))
        return answered

    def _ask(self) -> bool:
        from optuna.trial import TrialState

        asked = False
        redraws = 0
        while len(self.inflight) < self.workers and self.evaluated + len(self.inflight) < self.wanted:
            if redraws >= self._redraws:
                unseen = next(one for one in self.config.space.designs() if not self._known(one.name))
                self.study.enqueue_trial(self.config.space.params_of(unseen))
            trial = self.study.ask()
            design = self.config.space.suggest(trial)
            name = design.name
            trial.set_user_attr(DESIGN, name)
            if name in self.values:  # the sampler repeats itself: it learns the answer at once
                self._complete(trial, design)
            elif name in self.failed:
                self.study.tell(trial, state=TrialState.FAIL)
            elif name in self.stopped:
                for rung, value in enumerate(self.stopped[name]):
                    trial.report(value, rung)
                self.study.tell(trial, state=TrialState.PRUNED)
            elif work := self.inflight.get(name) or self.waiting.get(name):
                work.trials.append(trial)
                for rung, value in enumerate(work.values):
                    trial.report(value, rung)
            elif why := self.fits(design):
                trial.set_user_attr(UNFIT, why)
                self.unfit.add(name)
                self.study.tell(trial, state=TrialState.PRUNED)
            else:
                redraws = 0
                asked = True
                self.inflight[name] = _Work(design, [trial])
                self._plan(self.inflight[name])
                continue
            redraws += 1
        return asked

    def _promote(self) -> bool:
        """Once a rung is full: its best designs go on, the others stop. Returns whether any went on."""
        from optuna.trial import TrialState

        if self.inflight or not self.waiting or not self.halving:
            return False
        rung = min(work.rung for work in self.waiting.values())
        here = [name for name, work in self.waiting.items() if work.rung == rung]
        here.sort(key=lambda name: (-self.waiting[name].values[-1], name))
        room = max(self.halving.size(self.wanted, rung) - self.reached[rung], 0)
        for place, name in enumerate(here):
            work = self.waiting.pop(name)
            if place < room:
                self.reached[rung] += 1
                self.inflight[name] = work
                self._plan(work)
            else:
                self.stopped[name] = work.values
                self.on_stopped(at(work.design, self.fractions[rung - 1]))
                for trial in work.trials:
                    self.study.tell(trial, state=TrialState.PRUNED)
        return bool(self.inflight or self.waiting)

    def _plan(self, work: _Work) -> None:
        self.session.want(plan_of([at(work.design, self.fractions[work.rung])]))

    def _known(self, name: str) -> bool:
        return any(
            name in group for group in (self.values, self.failed, self.stopped, self.unfit, self.inflight, self.waiting)
        )

    def _complete(self, trial: "optuna.Trial", design: Design) -> None:
        hours = self.bill.alone(design)
        trial.set_user_attr(HOURS, hours)
        both = {"accuracy": self.values[design.name], "hours": hours}
        self.study.tell(trial, [both[one] for one in self.config.objectives])

    def _accuracy(self, design: Design) -> float:
        return float(self.session.metrics(f"score/{design.name}")[self.config.metric])
