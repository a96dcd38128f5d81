"""What a flow leaves in Prefect's UI: a table of its stage runs, and links."""

import os
from collections.abc import Callable
from pathlib import Path

from flows.costs.cost import Costs
from flows.execution.result import Result
from tasks.identity.addresses import masked
from tasks.identity.paths import Paths


def leave_artifacts(root: Path, result: Result, costs: Costs, paths: Callable[[str], Paths]) -> None:
    """For Prefect's UI: what became of each stage run, and where the rest is.

    Args:
        paths: of a stage run "stage/name".
    """
    from prefect.artifacts import create_link_artifact, create_table_artifact

    rows = [
        {
            "stage run": run,
            "state": result.states.get(run, ""),
            "seconds": costs.recorded(run),
            "because of": result.blame.get(run, ""),
            "log": str(paths(run).log.relative_to(root)),
        }
        for run in result.planned
    ]
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    create_table_artifact(table=rows, key="plan", description=f"Stage runs: {counts}")
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if address.startswith("http"):
        about = "Curves, data sets and metrics"
        create_link_artifact(masked(address), link_text="MLflow", key="mlflow", description=about)
