"""A parent run as a tracker has it: its metrics, its designs, and the stage runs that these share (mlflow.json)."""

from typing import Any

from tasks.tracking.tracker import Recorded, Tracker


def tree_of(tracker: Tracker, group: str, parent: str | None) -> dict[str, Any] | None:
    """Read a parent run and all below it.

    Returns:
        {"run", "status", "metrics", "designs": [{"run", "design", "status", "metrics", "stage_runs": {stage: run
        id}}], "stage_runs": {run id: {"name", "status", "seconds"}}}; None where the tracker cannot be asked.
    """
    top = tracker.read(parent) if parent else None
    if top is None:
        return None
    below = sorted(tracker.find(group, parent=parent), key=lambda run: run.tags["design"])
    designs = [
        {
            "run": run.id,
            "design": run.tags["design"],
            "status": run.status,
            "metrics": {key: value for key, value in sorted(run.metrics.items()) if "." not in key},
            "stage_runs": dict(run.stage_runs),
        }
        for run in below
    ]
    shared = sorted({linked for run in below for linked in run.stage_runs.values()})
    return {
        "run": parent,
        "status": top.status,
        "metrics": dict(sorted(top.metrics.items())),
        "designs": designs,
        "stage_runs": {linked: _shape(tracker.read(linked)) for linked in shared},
    }


def _shape(run: Recorded | None) -> dict[str, Any]:
    if run is None:
        return {}
    seconds = round(run.ended - run.started, 3) if run.ended else None
    return {"name": run.name, "status": run.status, "seconds": seconds}
