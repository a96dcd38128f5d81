"""Tables that the command line prints."""

from typing import TYPE_CHECKING

from rich.table import Table

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
