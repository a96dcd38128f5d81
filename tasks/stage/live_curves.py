"""The curves of a stage run, streamed to MLflow from its first step on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.identity.settings import Settings
from tasks.tracking.tracker import Tracker

if TYPE_CHECKING:
    from tasks.tracking.mlflow import Live


class LiveCurves:
    """A tracker whose first logged step begins a run in MLflow. A stage run without curves is left to the flow, which
    delivers it from its files: importing MLflow takes longer than many a stage run.

    Args:
        history: file that survives a kill, with one JSON object per step.
        started: when the stage run began, seconds since 1970.

    Attributes:
        tracker: for the stage.
    """

    def __init__(self, settings: Settings, identity: dict[str, Any], history: Path, started: float) -> None:
        self._settings, self._identity, self._started = settings, identity, started
        self._live: Live | None = None
        self.tracker = Tracker(history, on_first=self._start)

    def _start(self) -> None:
        from tasks.tracking.mlflow import Live

        self._live = Live(self._settings, self._identity, self.tracker, self._started)
        self._live.start()

    def finish(self, published: bool) -> None:
        """Bring the rest to MLflow, if there is anything, and end its run."""
        if self._live is not None:
            self._live.finish(published)
