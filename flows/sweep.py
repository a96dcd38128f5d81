"""A sweep: Optuna proposes designs (`flows.search.loop`), the plan runs what they do not share, the score answers.
What it leaves: a report with the plan and pictures, MLflow's tree, and in plan.yaml the best design."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_registry.errors import InputError
from flows.costs.memory import memory_check
from flows.costs.prices import DesignCosts
from flows.designs.check import check
from flows.designs.design import Design
from flows.designs.plan import Plan, plan_of, write_plan
from flows.execution.flow import flow_over
from flows.execution.plan_file import in_flow, release_trials
from flows.execution.protocols import Display, Warn
from flows.execution.result import Result
from flows.execution.session import Session
from flows.search.config import Config, read_config
from flows.search.halving import WHOLE, Halving, at
from flows.search.loop import Sweep
from flows.search.report import results as report
from flows.search.samplers.registry import SAMPLERS, check_sampler, make_sampler
from flows.search.study import agree_on, open_study
from flows.search.trials import Trial, importances_of, trials_of
from flows.servers.prefect import prefect_server
from flows.tracking.flow_runs import Parent, Tracking
from tasks.identity import manifest, settings
from tasks.identity.files import write_json
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.stage import early_stop
from tasks.stage.early_stop import FRAC
from tasks.tracking.tracker import Status

if TYPE_CHECKING:
    import optuna

DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class Request:
    """A sweep that was asked for, checked.

    Attributes:
        study: its name.
        trials: distinct designs that the study shall have in all.
        rungs: of a halving; None without.
        space_plan: params.yaml with the stage runs of every design of the space.
    """

    root: Path
    study: str
    config: Config
    sampler: str
    trials: int
    workers: int
    rungs: Halving | None
    space_plan: Settings

    @property
    def fractions(self) -> list[str]:
        """Of stage 2's data, by rung."""
        return self.rungs.fractions if self.rungs else [WHOLE]

    @cached_property
    def terms(self) -> dict[str, Any]:
        """What makes the values of a study comparable."""
        params = self.space_plan.params
        return {
            "scale": self.space_plan.scale,
            "seed": params.get("seed"),
            "metric": self.config.metric,
            "rungs": self.fractions,
            "space": self.config.space.choices(),
            "sweep.space.when": self.config.space.when or None,
            **{f"section or version of {stage} in params.yaml": self._digest(stage) for stage in self.space_plan.plan},
        }

    def _digest(self, stage: str) -> dict[str, str]:
        """What params.yaml says of a stage at this scale."""
        section = (self.space_plan.params.get(stage) or {}).get(self.space_plan.scale)
        return {"digest": manifest.digest_of([self.space_plan.version(stage), section])}


def run_sweep(
    root: Path,
    name: str,
    trials: int | None,
    workers: int,
    sampler: str | None,
    display: Display,
    warn: Warn,
    halving: bool = False,
) -> tuple[list[Trial], Result]:
    """Evaluate designs until the study has `trials` of them; returns the best first, and what was run.

    Stopped by Ctrl-C or an error, it publishes what there is, and in plan.yaml none of its trials is left.

    Args:
        name: of the study; the same name goes on with it (`.optuna/<name>.log`).
        trials: distinct designs in all; None: 20, with `halving` every design of the space.
        sampler: one of `flows.search.samplers.registry.SAMPLERS`; None takes params.yaml's.
        halving: by rungs of stage 2's data, as params.yaml has them.

    Raises:
        InputError: unknown sampler or part of the space; params.yaml lacks what a design asks for; another process is
            running this study, or it was begun with another scale, seed, space, metric, rungs or parameters.
    """
    started = time.monotonic()
    request = validate(root, name, trials, workers, sampler, halving)
    with open_study(root, name, request.config.objectives) as study, in_flow(root):
        agree_on(study, request.terms)
        result = Result([])
        session = Session(root, Plan(), display, result, study=name)
        record = _Record(request, Tracking(root, warn))
        ended: Status = "FAILED"
        try:
            evaluate(request, study, session, record)
            ended = "FINISHED"
        except KeyboardInterrupt:
            ended = "KILLED"
            raise
        finally:
            publish(request, study, session, record, ended)
        result.seconds = time.monotonic() - started
        return trials_of(study), result


def validate(root: Path, name: str, trials: int | None, workers: int, sampler: str | None, halving: bool) -> Request:
    """Check all that can be known before a trial proposes a design: one that cannot be planned would be taken up again
    by every later session. Arguments and errors as for `run_sweep`."""
    config = read_config(root)
    sampler = check_sampler(sampler or config.sampler)
    if halving and len(config.objectives) > 1:
        raise InputError("params.yaml: sweep.objectives: halving ranks by accuracy alone; leave [accuracy]")
    if halving and FRAC in config.space.settings:
        raise InputError(f"params.yaml: sweep.space.settings.{FRAC}: with --halving its rungs say where stage 2 stops")
    wanted = trials or (config.space.size() if halving else DEFAULT_TRIALS)
    whole = Settings(root, settings.load(root).params, plan_of(config.space.designs()).entries)
    check(whole)
    return Request(root, name, config, sampler, wanted, workers, config.halving if halving else None, whole)


class _Record:
    """What trackers get of a sweep: a parent run, and one below it per design."""

    def __init__(self, request: Request, tracking: Tracking) -> None:
        self.tracking = tracking
        self._request = request

    @cached_property
    def parent(self) -> Parent:
        """The parent run, opened when first asked for."""
        params = {"sampler": self._request.sampler, "space": self._request.config.space.size()}
        study = self._request.study
        return self.tracking.parent("sweep", study, {"study": study}, params, study=study)

    def begin(self) -> None:
        """Open it, so that MLflow's UI shows the sweep while it runs."""
        _ = self.parent

    def design(self, design: Design) -> None:
        """Record a design below it."""
        self.tracking.child(self.parent, design)


def evaluate(request: Request, study: "optuna.Study", session: Session, record: _Record) -> None:
    """Let the sampler propose designs and compute their scores, until the study has as many as were asked for."""
    config, root = request.config, request.root
    record.begin()
    costs = DesignCosts(root, taken=session.promised)
    seed = len(study.get_trials(deepcopy=False))  # a sampler restarted with the same seed would repeat its draws
    study.sampler = make_sampler(
        request.sampler, config.space, lambda design: costs.left(at(design, request.fractions[0])), costs.alone, seed
    )
    sweep = Sweep(
        session,
        study,
        config,
        request.trials,
        request.workers,
        costs,
        request.rungs,
        memory_check(root, config.device_gb),
        in_order=SAMPLERS[request.sampler].in_order,
    )
    scale = request.space_plan.scale
    sweep.on_complete = record.design
    sweep.on_pruned = lambda variant: early_stop.drop_scratch(Paths(root, scale, "instruct", variant.name))
    sweep.advance()
    if session.pending:
        with prefect_server(root):
            flow_over(session, f"sweep {request.study}", sweep.advance)
    session.remote.push_missing()


def publish(request: Request, study: "optuna.Study", session: Session, record: _Record, ended: Status) -> None:
    """Record the study in MLflow, write its report, and take its trials out of plan.yaml.

    Args:
        ended: the tracker's word for how: FINISHED, FAILED, or KILLED by Ctrl-C; the best stays in plan.yaml, and
            enters the model registry, where it finished.
    """
    trials = trials_of(study)
    complete = [trial.design for trial in trials if trial.value is not None]
    best = complete[:1] if ended == "FINISHED" else []
    try:
        record.tracking.delivery.deliver(session.plan)
        for design in complete:
            record.design(design)
        record.tracking.delivery.done()
        files = write_report(request, study, trials)
        _finish(record, request, trials, best, files, ended)
    finally:  # also where a second Ctrl-C ends the rest
        release_trials(request.root, best)


def write_report(request: Request, study: "optuna.Study", trials: Sequence[Trial]) -> list[Path]:
    """reports/sweep-<study>: results.json, report.html, the pictures, and the plan of the designs that were answered,
    those of earlier sessions too."""
    folder = request.root / "reports" / f"sweep-{request.study}"
    costs = DesignCosts(request.root)
    rungs = request.rungs.fractions if request.rungs else []
    content = report.results_of(
        request.space_plan, request.study, request.sampler, request.config, trials, rungs, costs
    )
    written = report.write(folder, content, trials, request.config.space, importances_of(study))
    write_plan(folder, _answered(trials))
    return written


def _answered(trials: Sequence[Trial]) -> Plan:
    return plan_of(trial.design for trial in trials if trial.value is not None)


def _finish(
    record: _Record, request: Request, trials: Sequence[Trial], best: list[Design], files: list[Path], ended: Status
) -> None:
    """Close the parent run in MLflow, with the report and its pictures."""
    figures, page, *pictures = files
    tracking, parent = record.tracking, record.parent
    if best:
        tracking.register(best[0], _answered(trials))
    values = [trial.value for trial in trials if trial.value is not None]
    metrics = {"best." + request.config.metric: values[0]} if values else {}
    counts = {"designs": len(values), "failed": sum(trial.failed == "failed" for trial in trials)}
    tracking.finish(parent, {**metrics, **counts}, [figures, page], pictures, ended)
    if tree := tracking.tree(parent):
        write_json(figures.parent / "mlflow.json", tree)
