"""The command line's flows for a Prefect server: `prefect deploy --all` registers what prefect.yaml lists.
A worker started in the project, or in a folder below it, runs them; the project's own server is not needed then."""

from prefect import flow

from data_registry.errors import InputError
from flows.designs.design import BLIND_REFERENCE, ROADMAP, choose, parse
from flows.designs.plan import plan_of
from flows.execution.display import NoDisplay
from flows.execution.flow import run_plan
from flows.execution.result import Result
from flows.roadmap import run_roadmap
from flows.sweep import run_sweep
from flows.tracking.delivery import deliver_pending
from tasks.identity import settings


@flow(name="roadmap")
def roadmap(rows: list[int] | None = None) -> dict[str, int]:
    """Rows of the paper's Table 2 (default: its five roadmap rows), recorded and reported."""
    root = settings.project_root()
    designs = choose(rows or ROADMAP, settings.load(root).scale)
    return _counts(run_roadmap(root, designs, NoDisplay(), print).result)


@flow(name="design")
def design(name: str = BLIND_REFERENCE.name) -> dict[str, int]:
    """One design by name."""
    root = settings.project_root()
    settings.load(root)  # with the extensions, whose parts the name may have
    plan = plan_of([parse(name)])
    result = run_plan(root, plan, name)
    deliver_pending(root, plan, print)
    return _counts(result)


@flow(name="sweep")
def sweep(
    study: str = "sweep", trials: int | None = None, workers: int = 2, sampler: str | None = None, halving: bool = False
) -> dict[str, int]:
    """Optuna over the space of params.yaml."""
    root = settings.project_root()
    return _counts(run_sweep(root, study, trials, workers, sampler, NoDisplay(), print, halving)[1])


def _counts(result: Result) -> dict[str, int]:
    if not result.ok:
        raise InputError("; ".join(f"{run}: {error}" for run, error in sorted(result.errors.items())))
    return result.counts
