"""A sweep: Optuna proposes designs (`flows.search.loop`), the plan runs what they do not share, the score answers.
What it leaves: a report with the plan and pictures, MLflow's tree, and in plan.yaml the best design."""

import time
from pathlib import Path

from data_registry.errors import InputError
from flows.costs.memory import memory_check
from flows.costs.prices import Bill
from flows.designs.check import check
from flows.designs.design import parse
from flows.designs.plan import Plan, plan_of, write_plan
from flows.execution.flow import flow_over
from flows.execution.plan_file import in_flow, release_trials
from flows.execution.protocols import Display, Warn
from flows.execution.result import Result
from flows.execution.session import Session
from flows.search.halving import WHOLE, at
from flows.search.loop import Config, Sweep
from flows.search.report import findings
from flows.search.samplers.registry import check_sampler, make_sampler
from flows.search.study import agree_on, open_study
from flows.search.trials import Trial, importances_of, trials_of
from flows.servers.prefect import prefect_server
from flows.tracking.flow_runs import Tracking
from tasks.identity import manifest, settings
from tasks.identity.files import write_json
from tasks.identity.paths import Paths
from tasks.stage import early_stop
from tasks.stage.early_stop import FRAC

DEFAULT_TRIALS = 20


def read_config(root: Path) -> Config:
    """The `sweep` section of params.yaml, checked."""
    return settings.parse(Config, settings.load(root).params.get("sweep") or {}, "params.yaml: sweep")


def _terms_of(found: settings.Settings, stage: str) -> dict[str, str]:
    """What params.yaml says of a stage at this scale, as a digest."""
    section = (found.params.get(stage) or {}).get(found.scale)
    return {"digest": manifest.digest_of([found.version(stage), section])}


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

    Args:
        name: of the study; the same name goes on with it (`.optuna/<name>.log`).
        trials: distinct designs in all; None: 20, with `halving` every design of the space.
        sampler: one of `flows.search.samplers.registry.SAMPLERS`; None takes params.yaml's.
        halving: by rungs of stage 2's data, as params.yaml has them.

    Raises:
        InputError: unknown sampler or part of the space; params.yaml lacks what a design asks for; another process is
            running this study, or it was begun with another scale, seed, space, metric, rungs or parameters.
    """
    config = read_config(root)
    trials = trials or (None if halving else DEFAULT_TRIALS)
    sampler = check_sampler(sampler or config.sampler)
    if halving and len(config.objectives) > 1:
        raise InputError("params.yaml: sweep.objectives: halving ranks by accuracy alone; leave [accuracy]")
    if halving and FRAC in config.space.settings:
        raise InputError(f"params.yaml: sweep.space.settings.{FRAC}: with --halving its rungs say where stage 2 stops")
    started = time.monotonic()
    rungs = config.halving if halving else None
    given = settings.load(root)
    # Before a trial proposes it: one that cannot be planned would be taken up again by every later session.
    whole = settings.Settings(root, given.params, plan_of(config.space.designs()).entries)
    check(whole)
    terms = {
        "scale": given.scale,
        "seed": given.params.get("seed"),
        "metric": config.metric,
        "rungs": rungs.fractions if rungs else [WHOLE],
        "space": config.space.choices(),
        "sweep.space.when": config.space.when or None,
        **{f"section or version of {stage} in params.yaml": _terms_of(whole, stage) for stage in whole.plan},
    }
    with open_study(root, name, config.objectives) as study, in_flow(root):
        agree_on(study, terms)
        result = Result([])
        session = Session(root, Plan(), display, result, study=name)
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
        sweep.on_stopped = lambda variant: early_stop.drop_scratch(Paths(root, given.scale, "instruct", variant.name))
        sweep.advance()
        if session.pending:
            with prefect_server(root):
                flow_over(session, f"sweep {name}", sweep.advance)
        session.remote.settle()
        tracking.deliver(session.plan)
        for design in sweep.values:
            tracking.child(parent, parse(design))
        result.seconds = time.monotonic() - started
        found = trials_of(study)
        folder = root / "reports" / f"sweep-{name}"
        bill.look()
        results = findings.results_of(given, name, sampler, config, found, rungs.fractions if rungs else [], bill)
        figures, page, *pictures = findings.write(folder, results, found, config.space, importances_of(study))
        best = {"best." + config.metric: found[0].value} if found and found[0].value is not None else {}
        tracking.settle()
        answered = plan_of(one.design for one in found if one.value is not None)  # of earlier sessions too
        write_plan(folder, answered)
        tracking.picture(parent, pictures)
        if best:
            tracking.register(found[0].design, answered)
        tracking.finish(parent, {**best, "designs": len(sweep.values), "failed": len(sweep.failed)}, [figures, page])
        if tree := tracking.tree(parent):
            write_json(folder / "mlflow.json", tree)
        release_trials(root, [one.design for one in found[:1] if one.value is not None])
    return found, result
