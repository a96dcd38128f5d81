"""Geometry of the report's two figures; svg.j2 draws what is computed here.
The roadmap is the paper's Fig. 6 as bars; the classes are one panel of dots each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data_registry.paper import CLASSES, TABLE_1, TABLE_2
from tasks.report.names import printed

LABELS = {row.row: row.label for row in TABLE_2}


@dataclass(frozen=True)
class Mark:
    """One design in a figure: positions of its value, interval and the paper's value in SVG units; its texts."""

    y: float
    label: str
    parts: str
    kind: str
    value: float
    x: float
    low: float
    high: float
    paper: float | None
    title: str


@dataclass(frozen=True)
class Panel:
    """A plot area: grid (x, text), reference lines (x, text, value), marks; `outside` is a model of the paper's."""

    title: str
    left: float
    right: float
    top: float
    bottom: float
    ticks: list[tuple[float, str]]
    lines: list[tuple[float, str, float]]
    marks: list[Mark]
    outside: Mark | None = None


def kind(design: dict[str, Any]) -> str:
    """ "informed" for a design that saw 3D-informed data at any stage, else "plain": the paper's orange and blue."""
    data = [design.get("stage0") or "", *design.get("stage1", []), *design.get("stage2", [])]
    return "informed" if any(str(name).startswith("3di") for name in data) else "plain"


def parts(design: dict[str, Any]) -> dict[str, str]:
    """A design's parts in the paper's spelling: encoders, llm, stage0, stage1, stage2; "–" for none."""

    def spell(value: Any) -> str:
        if not value:
            return "–"
        names = [value] if isinstance(value, str) else list(value)
        return " + ".join(printed(name) for name in names)

    spelled = {key: spell(design.get(key)) for key in ("encoders", "llm", "stage0", "stage1", "stage2")}
    if stage0 := design.get("stage0"):
        data, _, objective = str(stage0).rpartition("-")
        loss = {"clip": "CLIP loss", "ntp": "next-token loss"}.get(objective, objective)
        spelled["stage0"] = f"{printed(data)}, {loss}"
    return spelled


def label(row: dict[str, Any]) -> str:
    """What a reader calls the design: its row's label, or its encoders and LLM."""
    if row["row"] in LABELS:
        return LABELS[row["row"]]
    spelled = parts(row["design"])
    return f"{spelled['encoders']} · {spelled['llm']}"


def roadmap(results: dict[str, Any], width: float = 960, step: float = 50) -> Panel:
    """Bars of average accuracy in percent, from 0 to 100, with the paper's figure as a diamond."""
    scale = _scale(340, width - 60, 0, 100)
    marks = _marks(results, "average", scale, top=34, step=step)
    published = TABLE_1["GPT-4o"].average
    return Panel(
        title="Average accuracy on SpatialVQA",
        left=scale(0),
        right=scale(100),
        top=34,
        bottom=34 + step * (len(marks) + 1),
        ticks=[(scale(v), f"{v}") for v in range(0, 101, 20)],
        lines=_references(results, "average", scale),
        marks=marks,
        outside=Mark(
            y=34 + step * (len(marks) + 0.5),
            label="GPT-4o",
            parts="as the paper reports it, on its own benchmark",
            kind="outside",
            value=published,
            x=scale(published),
            low=scale(published),
            high=scale(published),
            paper=scale(published),
            title=f"GPT-4o in the paper: {published:.1f} %",
        ),
    )


def classes(results: dict[str, Any], width: float = 960, step: float = 30) -> list[Panel]:
    """A panel of dots per class of questions, from 30 to 100 percent (or lower, where a value is)."""
    values = [low for row in results["designs"] for low, _ in row["intervals95"].values()]
    values += [row["paper"][c] for row in results["designs"] if row["paper"] for c in CLASSES]
    floor = min(30, int(min(values)) // 10 * 10)
    first, gap = 240, 28
    size = (width - 30 - first - gap * (len(CLASSES) - 1)) / len(CLASSES)
    panels = []
    for index, name in enumerate(CLASSES):
        left = first + index * (size + gap)
        scale = _scale(left, left + size, floor, 100)
        marks = _marks(results, name, scale, top=44, step=step)
        count = results["benchmark"][name]
        panels.append(
            Panel(
                title=f"{name.capitalize()} ({count})",
                left=left,
                right=left + size,
                top=44,
                bottom=44 + step * len(marks),
                ticks=[(scale(v), f"{v}") for v in range(floor + floor % 20, 101, 20)],
                lines=_references(results, name, scale),
                marks=marks,
            )
        )
    return panels


def _scale(left: float, right: float, low: float, high: float) -> Callable[[float], float]:
    return lambda value: round(left + (value - low) / (high - low) * (right - left), 1)


def _references(results: dict[str, Any], slice_name: str, scale: Callable) -> list[tuple[float, str, float]]:
    """Dashed line: what the blind design reaches."""
    blind = results["blind"]
    return [(scale(blind["accuracy"][slice_name]), "blind", blind["accuracy"][slice_name])] if blind else []


def _marks(results: dict[str, Any], slice_name: str, scale: Callable, top: float, step: float) -> list[Mark]:
    marks = []
    for index, row in enumerate(results["designs"]):
        value, (low, high) = row["accuracy"][slice_name], row["intervals95"][slice_name]
        paper = row["paper"][slice_name] if row["paper"] else None
        spelled = parts(row["design"])
        title = f"{label(row)}: {value:.1f} %, 95 % interval {low:.1f} to {high:.1f}"
        marks.append(
            Mark(
                y=top + step * (index + 0.5),
                label=f"{row['row'] or index + 1}  {label(row)}",
                parts=f"{spelled['encoders']} · {spelled['llm']}"
                if row["row"]
                else f"{spelled['stage1']} → {spelled['stage2']}",
                kind=kind(row["design"]),
                value=value,
                x=scale(value),
                low=scale(low),
                high=scale(high),
                paper=None if paper is None else scale(paper),
                title=title if paper is None else f"{title}; the paper: {paper:.1f} %",
            )
        )
    return marks
