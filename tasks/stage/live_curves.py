"""The curves of a stage run, streamed to the trackers (MLflow) from its first step on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.identity.settings import Settings
from tasks.tracking.recorder import Recorder

if TYPE_CHECKING:
    from tasks.tracking.live import Live


class LiveCurves:
    """A recorder whose first logged step begins a run in each tracker. A stage run without curves is left to the flow,
    which delivers it from its files: importing MLflow takes longer than many a stage run.

    Args:
        history: file that survives a kill, with one JSON object per step.
        started: when the stage run began, seconds since 1970.

    Attributes:
        recorder: for the stage.
    """

    def __init__(self, settings: Settings, identity: dict[str, Any], history: Path, started: float) -> None:
        self._settings, self._identity, self._started = settings, identity, started
        self._live: Live | None = None
        self.recorder = Recorder(history, on_first=self._start)

    def _start(self) -> None:
        from tasks.tracking.live import Live

        self._live = Live(self._settings, self._identity, self.recorder, self._started)
        self._live.start()

    def finish(self, published: bool) -> None:
        """Bring the rest to the trackers, if there is anything, and end its runs."""
        if self._live is not None:
            self._live.finish(published)
