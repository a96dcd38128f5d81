"""How far a stage run is, on its terminal and in what its claim's holder says."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from tasks.stage.claim import Heartbeat

_EVERY_S = 0.5


class Progress:
    """Progress of one stage run: in what its claim's holder says (for the flow and `status`) and on the terminal.

    Args:
        title: of the line on the terminal, e.g. "align clip_vicuna-7b_cc558k".
        console: default: standard error, which shows nothing unless it is a terminal.
    """

    def __init__(self, title: str, heartbeat: Heartbeat, console: Console | None = None) -> None:
        self._heartbeat = heartbeat
        self._started = self._last = time.monotonic()
        self._first: int | None = None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = console or Console(stderr=True)
        # Drawn by our own calls: a thread that draws would be cut in two by the workers that a training forks.
        self._bar = Bar(*columns, console=console, auto_refresh=False, disable=not console.is_terminal)
        self._task = self._bar.add_task(title, total=None, start=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._first is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done  # a resumed training starts in the middle
            self._bar.start()
            self._bar.start_task(self._task)
        elif now - self._last < _EVERY_S and done < total:
            return
        self._last = now
        rate = (done - self._first) / (now - self._started) if now > self._started else 0
        left = {"remaining_s": round((total - done) / rate, 1)} if rate > 0 else {}
        self._heartbeat.say(done=done, total=total, **left)
        self._bar.update(self._task, completed=done, total=total, refresh=True)
