"""A project of four small stage runs without a flow, and what of it MLflow has."""

from pathlib import Path

from flows.designs.plan import Plan
from tasks.identity import settings
from tasks.stage.harness import StageRun
from tasks.tracking.mlflow import MlflowTracker


def compute(run: StageRun) -> dict[str, object]:
    """A stage with five steps of a curve."""
    for step in range(5):
        run.recorder.log(step, {"loss": 5.0 - step, "lr": 0.1})
    return {"rows": 3, "loss": 0.75, "types": {"closer": 0.5}, "names": ["not a number"]}


def plan_of_two() -> Plan:
    """The pictures, and a data set that is made of them."""
    plan = Plan()
    for split in ("train", "test"):
        plan.add(f"scenes/{split}", {"parts": {"split": split}})
    plan.add("data/cc558k", {"parts": {"dataset": "cc558k"}, "scenes": "scenes/train"})
    return plan


def connect(root: Path) -> MlflowTracker:
    """The project's MLflow."""
    tracker = MlflowTracker(settings.load(root))
    tracker.connect()
    return tracker


def runs_of(root: Path) -> tuple:
    """A client of MLflow, and the stage runs that it has."""
    client = connect(root).client
    experiment = client.get_experiment_by_name("stage runs (tiny)")
    return client, list(client.search_runs([experiment.experiment_id])) if experiment else []
