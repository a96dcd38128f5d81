"""What a flow leaves in Prefect's UI: a table of its stage runs, and links."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.execution.flow import Session


def leave_artifacts(session: "Session") -> None:
    """For Prefect's UI: what became of each stage run, and where the rest is."""
    from prefect.artifacts import create_link_artifact, create_table_artifact

    from flows.costs.cost import Costs

    result, costs = session.result, Costs(session.root, session.plan)
    rows = [
        {
            "stage run": run,
            "state": result.states.get(run, ""),
            "seconds": costs.recorded(run),
            "because of": result.blame.get(run, ""),
            "log": str(session.store.paths(run).log.relative_to(session.root)),
        }
        for run in result.planned
    ]
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    create_table_artifact(table=rows, key="plan", description=f"Stage runs: {counts}")
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if address.startswith("http"):
        create_link_artifact(address, link_text="MLflow", key="mlflow", description="Curves, data sets and metrics")
