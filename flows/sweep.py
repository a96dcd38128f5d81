"""A sweep: Optuna proposes designs, the plan runs what they do not share, the score answers.
No design is evaluated twice; a killed sweep goes on where it was."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from data_registry.errors import InputError, nearest
from flows.design import Design
from flows.plan import Plan, plan_of
from flows.run import Result, Session, flow_over, keep_in_plan
from flows.schedule import FAILED, SKIPPED
from flows.server import prefect_server
from flows.space import Space
from flows.track import Tracking
from tasks import settings

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "random", "grid")
_REDRAWS = 20


@dataclass(frozen=True)
class Config:
    """params.yaml: sweep.

    Attributes:
        metric: key of the score's metrics.json to maximise.
        max_failures: designs that may fail before the sweep gives up.
    """

    sampler: Literal["tpe", "random", "grid"] = "tpe"
    metric: str = "average"
    max_failures: int = 5
    space: Space = field(default_factory=Space)


@dataclass
class Trial:
    """One evaluated design."""

    number: int
    design: Design
    value: float | None
    failed: str | None = None


class Sweep:
    """One study and what it has asked for.

    Args:
        trials: distinct designs that the study shall have evaluated in all, earlier sessions included.
        workers: designs in work at the same time.
        redraws: draws of a known design in a row before the next unknown one of the space is taken.
    """

    def __init__(
        self,
        session: Session,
        study: "optuna.Study",
        config: Config,
        trials: int,
        workers: int,
        redraws: int = _REDRAWS,
    ) -> None:
        self.redraws = redraws
        self.session, self.study, self.config = session, study, config
        self.wanted, self.workers = min(trials, config.space.size()), workers
        self.values: dict[str, float] = {}
        self.failed: set[str] = set()
        self.inflight: dict[str, list[optuna.Trial]] = {}
        self.on_complete: Any = lambda design: None
        from optuna.trial import TrialState

        for trial in study.get_trials(deepcopy=False):
            name = trial.user_attrs.get("design")
            if trial.state == TrialState.RUNNING:  # its process is gone: we hold the study's lock
                study.tell(trial.number, state=TrialState.FAIL)
            elif trial.state == TrialState.COMPLETE and name:
                self.values[name] = trial.value

    def advance(self) -> None:
        """Answer the trials whose scores are there and ask for new ones, until something is left to compute."""
        while True:
            answered = self._answer()
            asked = self._ask()
            if not answered and not asked:
                return

    @property
    def evaluated(self) -> int:
        """Distinct designs with an answer."""
        return len(self.values) + len(self.failed)

    def _answer(self) -> bool:
        from optuna.trial import TrialState

        answered = False
        for name in list(self.inflight):
            state = self.session.result.states.get(f"score/{name}")
            if state is None:
                continue
            answered = True
            trials = self.inflight.pop(name)
            if state in (FAILED, SKIPPED):
                self.failed.add(name)
                for trial in trials:
                    self.study.tell(trial, state=TrialState.FAIL)
                if len(self.failed) >= self.config.max_failures:
                    self.wanted = self.evaluated  # enough: no new ones, those in work end
                continue
            metrics = json.loads((self.session.store.paths(f"score/{name}").out / "metrics.json").read_text())
            if self.config.metric not in metrics:
                key = f"params.yaml: sweep.metric: {self.config.metric!r}"
                raise InputError(f"{key} is not a metric of score, {nearest(self.config.metric, metrics)}")
            self.values[name] = float(metrics[self.config.metric])
            for trial in trials:
                self.study.tell(trial, self.values[name])
            self.on_complete(name)
        return answered

    def _ask(self) -> bool:
        asked = False
        redraws = 0
        while len(self.inflight) < self.workers and self.evaluated + len(self.inflight) < self.wanted:
            if redraws >= self.redraws:
                unseen = next(d for d in self.config.space.designs() if not self._known(d.name))
                self.study.enqueue_trial(self.config.space.params_of(unseen))
            trial = self.study.ask()
            design = self.config.space.suggest(trial)
            trial.set_user_attr("design", design.name)
            if design.name in self.values:  # the sampler repeats itself: it learns the answer at once
                self.study.tell(trial, self.values[design.name])
                redraws += 1
            elif design.name in self.failed:
                from optuna.trial import TrialState

                self.study.tell(trial, state=TrialState.FAIL)
                redraws += 1
            elif design.name in self.inflight:
                self.inflight[design.name].append(trial)
                redraws += 1
            else:
                redraws = 0
                asked = True
                self.inflight[design.name] = [trial]
                self._plan(design)
        return asked

    def _known(self, name: str) -> bool:
        return name in self.values or name in self.failed or name in self.inflight

    def _plan(self, design: Design) -> None:
        plan = plan_of([design])
        self.session.plan = keep_in_plan(self.session.root, plan)
        new = self.session.settle(plan.runs())
        self.session.result.planned = sorted({*self.session.result.planned, *plan.runs(), *new})


def read_config(root: Path) -> Config:
    """The `sweep` section of params.yaml, checked."""
    return settings.parse(Config, settings.load(root).params.get("sweep") or {}, "params.yaml: sweep")


def run_sweep(
    root: Path, name: str, trials: int, workers: int, sampler: str | None, display: Any, warn: Any
) -> tuple[list[Trial], Result]:
    """Evaluate designs until the study has `trials` of them; returns the best first, and what was run.

    Args:
        name: of the study; the same name goes on with it (`.optuna/<name>.log`).
        sampler: "tpe", "random" or "grid"; None takes params.yaml's.

    Raises:
        InputError: unknown sampler or part of the space; another process is running this study.
    """
    config = read_config(root)
    sampler = sampler or config.sampler
    if sampler not in SAMPLERS:
        raise InputError(f"sampler {sampler!r} is unknown, {nearest(sampler, SAMPLERS)}")
    started = time.monotonic()
    with _study(root, name, sampler) as study:
        result = Result([])
        session = Session(root, Plan(), display, result)
        sweep = Sweep(session, study, config, trials, workers, redraws=0 if sampler == "grid" else _REDRAWS)
        tracking = Tracking(root, warn)
        parent = tracking.parent("sweep", name, {"study": name}, {"sampler": sampler, "space": config.space.size()})
        sweep.on_complete = lambda design: tracking.child(parent, _design(design))
        sweep.advance()
        if session.pending:
            with prefect_server(root):
                flow_over(session, f"sweep {name}", sweep.advance)
        tracking.deliver(session.plan)
        for design in sweep.values:
            tracking.child(parent, _design(design))
        result.seconds = time.monotonic() - started
        found = _trials(study)
        path = _write_trials(root, name, found)
        best = {"best." + config.metric: found[0].value} if found and found[0].value is not None else {}
        tracking.settle()
        tracking.finish(parent, {**best, "designs": len(sweep.values), "failed": len(sweep.failed)}, [path])
    return found, result


@contextlib.contextmanager
def _study(root: Path, name: str, sampler: str) -> Iterator["optuna.Study"]:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = root / ".optuna"
    folder.mkdir(exist_ok=True)
    (root / ".locks").mkdir(exist_ok=True)
    path = folder / f"{name}.log"
    try:
        with FileLock(root / ".locks" / f"sweep.{name}.lock", timeout=0):
            # Optuna's own lock file outlives a killed process; ours has just shown that there is none.
            (folder / f"{name}.log.lock").unlink(missing_ok=True)
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
            study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
            # A sampler restarted with the same seed would repeat its draws.
            seed = len(study.get_trials(deepcopy=False))
            # For a grid every design is enqueued in turn, and the sampler never asked.
            samplers = optuna.samplers
            study.sampler = samplers.TPESampler(seed=seed) if sampler == "tpe" else samplers.RandomSampler(seed=seed)
            yield study
    except Timeout as error:
        raise InputError(f"sweep {name}: another process is running it; use --study for a second one") from error


def _design(name: str) -> Design:
    from flows.design import parse

    return parse(name)


def _trials(study: "optuna.Study") -> list[Trial]:
    from optuna.trial import TrialState

    best: dict[str, Trial] = {}
    for trial in study.get_trials(deepcopy=False):
        name = trial.user_attrs.get("design")
        if name and name not in best and trial.state in (TrialState.COMPLETE, TrialState.FAIL):
            failed = "failed" if trial.state == TrialState.FAIL else None
            best[name] = Trial(trial.number, _design(name), trial.value, failed)
    return sorted(best.values(), key=lambda t: (t.value is None, -(t.value or 0.0), t.number))


def _write_trials(root: Path, name: str, trials: list[Trial]) -> Path:
    path = root / "reports" / f"sweep-{name}" / "trials.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"design": t.design.name, "trial": t.number, "value": t.value, "failed": bool(t.failed)} for t in trials]
    path.write_text(json.dumps(rows, indent=1) + "\n")
    return path
