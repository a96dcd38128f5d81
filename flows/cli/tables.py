"""Tables that the command line prints."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from flows.text import clock, size

if TYPE_CHECKING:
    from flows.search.trials import Trial


def trials_table(trials: "list[Trial]") -> Table:
    """The designs of a sweep, best first; "on the front": none is both as good and cheaper."""
    from flows.search.trials import front

    table = Table(box=None, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("design", overflow="fold")
    table.add_column("accuracy", justify="right")
    table.add_column("hours", justify="right")
    table.add_column("")
    best_for_its_hours = {trial.number for trial in front(trials)}
    for place, trial in enumerate(trials, start=1):
        if trial.value is not None:
            value = f"{100 * trial.value:.1f} %"
        elif trial.failed == "stopped":
            value = f"[dim]stopped at {100 * trial.rungs[-1]:.1f} %[/dim]"
        else:
            value = f"[red]{trial.failed}[/red]"
        hours = "" if trial.hours is None else f"{trial.hours:.3g}"
        note = "on the front" if trial.number in best_for_its_hours else ""
        table.add_row(str(place), trial.design.name, value, hours, note)
    return table


_COLORS = {"there": "green", "running": "cyan", "outdated": "yellow", "missing": "dim", "undefined": "red"}


def status_table(rows: list[dict[str, Any]], shown: Iterable[str] = _COLORS) -> Table:
    """Stage runs by stage, as `flows.execution.status.status_of` has them, with how many are in which state.

    Args:
        shown: the states whose stage runs have a line.
    """
    table = Table(box=None, pad_edge=False, caption_justify="left", title_justify="left")
    for heading in ("stage", "stage run", "state", ""):
        table.add_column(heading, overflow="fold")
    before = ""
    for row in (row for row in rows if row["state"] in shown):
        stage, _, name = row["run"].partition("/")
        state = row["state"]
        table.add_row("" if stage == before else stage, name, f"[{_COLORS[state]}]{state}[/]", _detail(row))
        before = stage
    counts = Counter(row["state"] for row in rows)
    table.caption = ", ".join(f"{counts[state]} {state}" for state in _COLORS if counts[state]) or "plan.yaml is empty"
    return table


def _detail(row: dict[str, Any]) -> str:
    """How far a stage run is, or how long it took."""
    if row.get("total"):
        left = f", {clock(row['remaining_s'])} left" if "remaining_s" in row else ""
        return f"{row['done'] / row['total']:.0%}{left}"
    if "why" in row:
        return row["why"]
    return f"computed in {clock(row['seconds'])}" if "seconds" in row and row["state"] == "there" else ""


def watch(console: Console, looks: Iterable[list[dict[str, Any]]]) -> None:
    """Show what runs, live, look by look; nothing of it stays on the terminal."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for rows in looks:
            live.update(status_table(rows, ["running"]), refresh=True)


def info_table(about: dict[str, Any]) -> Table:
    """All about a stage run, as `flows.execution.status.info_of` has it, a line for each fact."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in about.items():
        known = {name: size(count) for name, count in value.items()} if key == "files" else value
        table.add_row(key.replace("_", " "), "\n".join(_lines(known)) or "none")
    return table


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [line for key, inner in value.items() for line in _line(key, inner)]
    return [str(inner) for inner in value] if isinstance(value, list) else [str(value)]


def _line(key: str, value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [f"{key}:", *(f"  {line}" for line in _lines(value))]
    if isinstance(value, list):
        return [f"{key}: {', '.join(map(str, value)) or 'none'}"]
    return [f"{key}: {'none' if value in ('', None, {}) else value}"]
