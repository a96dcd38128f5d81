"""What a flow shows on a terminal: how far it is, what runs, how long it will take, and what failed.
Into a file or pipe it writes one line per stage run instead."""

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.costs.cost import Costs
from flows.costs.graph import makespan
from flows.execution.devices import Devices
from flows.execution.result import Result
from flows.execution.schedule import Scheduler
from flows.text import clock
from tasks.identity.addresses import masked
from tasks.identity.paths import Paths
from tasks.stage.claim import read_holder

_MARKS = {"there": "·", "restored": "↺", "computed": "✓", "failed": "✗", "skipped": "–"}
_COLORS = {"restored": "cyan", "computed": "green", "failed": "red", "skipped": "yellow"}


class NoDisplay:
    """Shows nothing."""

    def __enter__(self) -> "NoDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def warn(self, text: str) -> None:
        """Something that stops nothing but should be known."""
        print(f"warning: {masked(text)}", file=sys.stderr, flush=True)

    def started(self, run: str) -> None:
        """A stage run has begun."""

    def ended(self, run: str, state: str, error: BaseException | None, blame: str | None) -> None:
        """A stage run is there, or failed, or was skipped."""

    def remaining(
        self, scheduler: Scheduler, costs: Costs, result: Result, devices: Devices, paths: Callable[[str], Paths]
    ) -> None:
        """Called a few times a second while the flow works."""


class Display(NoDisplay):
    """A live view on a terminal, lines elsewhere.

    Args:
        console: where to write.
        title: what runs, e.g. "roadmap".
    """

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self._begun: dict[str, float] = {}
        self._started = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Display":
        self._started = time.monotonic()
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def warn(self, text: str) -> None:
        self.console.print(Text(f"warning: {masked(text)}", style="yellow"), soft_wrap=True)

    def started(self, run: str) -> None:
        self._begun[run] = time.monotonic()

    def ended(self, run: str, state: str, error: BaseException | None, blame: str | None) -> None:
        begun = self._begun.pop(run, None)
        if state == "there" and begun is None:
            return
        took = f" in {clock(time.monotonic() - begun)}" if begun is not None and state == "computed" else ""
        why = f": {blame} failed" if blame else ""
        stage, _, name = run.partition("/")
        line = Text(f" {_MARKS[state]} {stage:<10} {name}  {state}{took}{why}", style=_COLORS.get(state, ""))
        self.console.print(line, soft_wrap=True)
        if error is not None:
            self.console.print(Text(str(error), style="red"), soft_wrap=True)

    def remaining(
        self, scheduler: Scheduler, costs: Costs, result: Result, devices: Devices, paths: Callable[[str], Paths]
    ) -> None:
        if not self._live:
            return
        seconds = {run: costs.seconds(run) for run in scheduler.open}
        running = Table.grid(padding=(0, 1))
        for run in scheduler.running:
            progress = read_holder(paths(run))
            elapsed = time.monotonic() - self._begun.get(run, time.monotonic())
            seconds[run] = progress.get("remaining_s", max(costs.seconds(run) - elapsed, 1.0))
            share = f"{progress['done'] / progress['total']:4.0%}" if progress.get("total") else "    "
            stage, _, name = run.partition("/")
            times = Text(f"{clock(elapsed)}, {clock(seconds[run])} left", style="dim")
            running.add_row(" ▸", stage, name, share, times)
        left_s = makespan(scheduler.open, seconds, devices.slots, devices.kind)
        self._live.update(Group(running, self._bar(len(result.states), len(scheduler.open), left_s)))

    def _bar(self, done: int, still_open: int, left_s: float) -> Table:
        bar, total = Table.grid(padding=(0, 1)), done + still_open
        bar.add_row(
            Text(self.title, style="bold"),
            ProgressBar(total=max(total, 1), completed=done, width=30),
            f"{done}/{total} stage runs",
            Text(f"{clock(time.monotonic() - self._started)} so far, about {clock(left_s)} left", style="dim"),
        )
        return bar
