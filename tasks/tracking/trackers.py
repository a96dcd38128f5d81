"""Every tracker by its name in params.yaml (`runtime.trackers`). An extension adds its own to the table."""

from collections.abc import Callable

from data_registry.errors import InputError, nearest
from tasks.identity.settings import Settings
from tasks.tracking.mlflow import MlflowTracker
from tasks.tracking.tracker import Tracker

TRACKERS: dict[str, Callable[[Settings], Tracker]] = {"mlflow": MlflowTracker}


def trackers_of(settings: Settings) -> dict[str, Tracker]:
    """The trackers that params.yaml asks for (default: MLflow), none of them connected yet.

    Raises:
        InputError: it names one that there is not.
    """
    names = settings.runtime.get("trackers")
    names = ["mlflow"] if names is None else names
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"params.yaml: runtime.trackers: {name!r} is unknown, {nearest(str(name), TRACKERS)}")
    return {name: TRACKERS[name](settings) for name in names}
