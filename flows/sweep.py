"""A sweep: Optuna proposes designs, the plan runs what they do not share, the score answers.
No design is evaluated twice; a killed sweep goes on where it was."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_registry.errors import InputError, nearest
from flows.bill import Bill
from flows.design import Design, parse
from flows.halving import WHOLE, Halving, at
from flows.keep import in_flow, release_trials
from flows.memory import memory_gb
from flows.plan import Plan, plan_of, write_plan
from flows.plots import draw
from flows.run import Result, Session, flow_over
from flows.schedule import FAILED, SKIPPED
from flows.server import prefect_server
from flows.space import Space
from flows.study import (
    DESIGN,
    HOURS,
    LOST,
    UNFIT,
    Trial,
    check_sampler,
    importances_of,
    make_sampler,
    open_study,
    trials_of,
    write_trials,
)
from flows.track import Tracking
from tasks import settings

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
        device_gb: memory of one accelerator; a design that needs more (`flows.memory`) is skipped.
    """

    sampler: Literal["prefix", "tpe", "random", "grid"] = "prefix"
    metric: str = "average"
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
        session: computes stage runs (`flows.run.Session`).
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
        fitting = sum(fits(design) is None for design in config.space.designs())
        self.wanted = min(trials, fitting)
        self._redraws = 0 if in_order else _REDRAWS
        self._resume()

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
            elif name and trial.state == TrialState.COMPLETE:
                self.values[name] = trial.values[0]
            elif name and trial.state == TrialState.PRUNED and UNFIT in trial.user_attrs:
                self.unfit.add(name)
            elif name and trial.state == TrialState.PRUNED:
                self.stopped[name] = steps
            for rung in range(1, min(len(steps), len(self.reached))):
                self.reached[rung] += 1
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
            for trial in work.trials:
                self._complete(trial, work.design)
            self.on_complete(work.design)
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
        metrics = self.session.metrics(f"score/{design.name}")
        if self.config.metric not in metrics:
            key = f"params.yaml: sweep.metric: {self.config.metric!r}"
            raise InputError(f"{key} is not a metric of score, {nearest(self.config.metric, metrics)}")
        return float(metrics[self.config.metric])


def read_config(root: Path) -> Config:
    """The `sweep` section of params.yaml, checked."""
    return settings.parse(Config, settings.load(root).params.get("sweep") or {}, "params.yaml: sweep")


def run_sweep(
    root: Path,
    name: str,
    trials: int | None,
    workers: int,
    sampler: str | None,
    display: Any,
    warn: Any,
    halving: bool = False,
) -> tuple[list[Trial], Result]:
    """Evaluate designs until the study has `trials` of them; returns the best first, and what was run.

    Args:
        name: of the study; the same name goes on with it (`.optuna/<name>.log`).
        trials: None: every design of the space.
        sampler: one of `flows.study.SAMPLERS`; None takes params.yaml's.
        halving: by rungs of stage 2's data, as params.yaml has them.

    Raises:
        InputError: unknown sampler or part of the space; another process is running this study.
    """
    config = read_config(root)
    sampler = check_sampler(sampler or config.sampler)
    if halving and len(config.objectives) > 1:
        raise InputError("params.yaml: sweep.objectives: halving ranks by accuracy alone; leave [accuracy]")
    started = time.monotonic()
    with open_study(root, name, config.objectives) as study, in_flow(root):
        result = Result([])
        session = Session(root, Plan(), display, result, study=name)
        rungs = config.halving if halving else None
        first = rungs.fractions[0] if rungs else WHOLE
        bill = Bill(root, taken=session.promised)
        # A sampler restarted with the same seed would repeat its draws.
        seed = len(study.get_trials(deepcopy=False))
        study.sampler = make_sampler(sampler, config.space, lambda one: bill.left(at(one, first)), bill.alone, seed)
        wanted = trials if trials is not None else config.space.size()
        fits = memory_check(root, config.device_gb)
        sweep = Sweep(session, study, config, wanted, workers, bill, rungs, fits, in_order=sampler == "grid")
        tracking = Tracking(root, warn)
        parent = tracking.parent(
            "sweep", name, {"study": name}, {"sampler": sampler, "space": config.space.size()}, study=name
        )
        sweep.on_complete = lambda design: tracking.child(parent, design)
        sweep.advance()
        if session.pending:
            with prefect_server(root):
                flow_over(session, f"sweep {name}", sweep.advance)
        tracking.deliver(session.plan)
        for design in sweep.values:
            tracking.child(parent, parse(design))
        result.seconds = time.monotonic() - started
        found = trials_of(study)
        folder = root / "reports" / f"sweep-{name}"
        path = write_trials(folder, found)
        best = {"best." + config.metric: found[0].value} if found and found[0].value is not None else {}
        tracking.settle()
        write_plan(folder, session.plan)
        tracking.picture(parent, draw(folder, found, config.space, importances_of(study)))
        if best:
            tracking.register(found[0].design, session.plan)
        tracking.finish(parent, {**best, "designs": len(sweep.values), "failed": len(sweep.failed)}, [path])
        release_trials(root, [one.design for one in found[:1] if one.value is not None])
    return found, result


def memory_check(root: Path, device_gb: float | None) -> Callable[[Design], str | None]:
    """Says why a design cannot fit into `device_gb`; None (always, without a limit) where it may."""
    if device_gb is None:
        return lambda design: None

    def fits(design: Design) -> str | None:
        needed = memory_gb(root, design)
        return f"needs at least {needed:.3g} GB of {device_gb:g}" if needed > device_gb else None

    return fits
