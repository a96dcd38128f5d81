"""What a flow leaves in Prefect's UI, and what it keeps out of the terminal."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.run import Session


def leave_artifacts(session: "Session") -> None:
    """For Prefect's UI: what became of each stage run, and where the rest is."""
    from prefect.artifacts import create_link_artifact, create_table_artifact

    from flows.cost import Costs

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


def send_the_rest() -> None:
    """Deliver Prefect's queued logs and events while its server still listens."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=10, at_exit=False)


def quiet_console() -> None:
    """Prefect's log lines stay in its UI; the terminal has our own progress."""
    import logging

    from prefect.logging.handlers import PrefectConsoleHandler

    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs", None):
        logger = logging.getLogger(name)
        logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, PrefectConsoleHandler)]
