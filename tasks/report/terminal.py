"""The roadmap's table for a terminal of 80 columns: what `make roadmap` prints at its end."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from data_registry.paper import CLASSES
from tasks.report.html import signed
from tasks.report.names import label

COLUMNS = ("Avg", "Paper", "Dist", "Orient", "Rel", "Gain")


def table(results: dict[str, Any]) -> Table:
    """Accuracy of every design and the paper's average in percent, gains over the roadmap row before in points."""
    count = results["benchmark"]["questions"]
    title = f"SpatialVQA at {results['scale']} scale, {count:,} questions, accuracy in percent"
    grid = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left")
    grid.add_column("#", justify="right")
    grid.add_column("Design", overflow="fold")
    for name in COLUMNS:
        grid.add_column(name, justify="right", no_wrap=True)
    for row in results["designs"]:
        paper = "" if row["paper_average"] is None else f"{row['paper_average']:.1f}"
        name = label(row) if row["row"] else row["name"]
        gain = signed(row["gain"]["points"]) if row["gain"] else ""
        grid.add_row(str(row["row"] or ""), name, *_cells(row["accuracy"], paper), gain)
    grid.add_section()
    blind, majority = results["blind"], results["baselines"].get("majority")
    for name, accuracy in (
        ("blind (no pictures)", blind and blind["accuracy"]),
        ("majority answer", majority),
    ):
        if accuracy:
            grid.add_row("", name, *_cells(accuracy, ""), "", style="dim")
    return grid


def _cells(accuracy: dict[str, float], paper: str) -> list[str]:
    return [f"{accuracy['average']:.1f}", paper, *(f"{accuracy[name]:.1f}" for name in CLASSES)]
