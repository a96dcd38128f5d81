"""The trackers of one flow: each is connected when first needed, and left alone after its first failure."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from flows.execution.protocols import Warn
from tasks.identity import settings
from tasks.identity.addresses import masked
from tasks.tracking.tracker import Tracker
from tasks.tracking.trackers import trackers_of

T = TypeVar("T")


class Connections:
    """Every tracker that params.yaml names. One that fails costs a warning and nothing else.

    Args:
        warn: called with the warning.
    """

    def __init__(self, root: Path, warn: Warn) -> None:
        self.trackers = trackers_of(settings.load(root))
        self.down: set[str] = set()
        self._warn = warn
        self._connected: set[str] = set()

    def each(self, work: Callable[[str, Tracker], T]) -> dict[str, T]:
        """The answers of `work` by tracker's name, of those that did not fail."""
        answers = {}
        for name in [name for name in self.trackers if name not in self.down]:
            tracker = self.trackers[name]
            try:
                if name not in self._connected:
                    tracker.connect()
                    self._connected.add(name)
                answers[name] = work(name, tracker)
            except Exception as error:
                self.down.add(name)
                self._warn(f"{name} does not take this ({_reason(error)}); {_what_next(tracker, error)}")
        return answers

    def refused(self, tracker: Tracker, run: str, error: Exception) -> None:
        """Warn of one run that a tracker that works otherwise will not take."""
        self._warn(f"{run}: {_reason(error)}; {_what_next(tracker, error)}")


def _reason(error: Exception) -> str:
    return masked((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]


def _what_next(tracker: Tracker, error: Exception) -> str:
    remedy = tracker.remedy(error)
    if remedy is None:
        return "results are complete, the next flow delivers them"
    return f"results are complete, but trying again will not help. To have them delivered: {masked(remedy)}"
