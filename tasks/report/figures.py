"""The report's figures, drawn by matplotlib: the paper's Fig. 6 as bars, and a panel of dots per class of questions.

In the page they are SVG whose colours are the style sheet's, so that they follow it by day and by night, each in a wide
and in a narrow form; for MLflow they are PNG files."""

import io
import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_registry.paper import CLASSES, TABLE_1
from tasks.report.names import kind, label, parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 960, 350  # pixels
_GUTTER = 330  # of a wide figure, for the designs' names
_PIXELS_PER_INCH = 72  # matplotlib's SVG counts in points; one of them is a pixel of the page


@dataclass(frozen=True)
class Palette:
    """Colours of a figure."""

    ink: str
    soft: str
    line: str
    paper: str
    plain: str
    informed: str
    outside: str


PRINT = Palette("#1c2024", "#5c656e", "#dfe2e4", "#ffffff", "#0072b2", "#e08a00", "#b0558c")
# Stand-ins that matplotlib takes and nothing else has; `_for_page` makes `var(--ink)` and so on of them.
_VARIABLES = Palette("#010101", "#020202", "#030303", "#040404", "#050505", "#060606", "#070707")


@dataclass(frozen=True)
class Mark:
    """A design in a figure: accuracy, its interval and the paper's figure, all in percent."""

    name: str
    parts: str
    kind: str
    value: float
    interval: tuple[float, float]
    paper: float | None


def svgs(results: dict[str, Any]) -> dict[str, list[str]]:
    """Both figures for the page, {"roadmap", "classes"}, each as [wide, narrow]."""
    drawings = {"roadmap": roadmap, "classes": classes}
    return {
        name: [_for_page(draw(results, width, _VARIABLES), name, width) for width in (WIDE, NARROW)]
        for name, draw in drawings.items()
    }


def save(results: dict[str, Any], folder: Path) -> list[Path]:
    """Both figures as PNG files, for MLflow; returns them."""
    paths = []
    for name, draw in (("roadmap", roadmap), ("classes", classes)):
        paths.append(folder / f"{name}.png")
        draw(results, WIDE, PRINT).savefig(paths[-1], dpi=2 * _PIXELS_PER_INCH)
    return paths


def roadmap(results: dict[str, Any], width: int, colours: Palette) -> "Figure":
    """Bars of average accuracy from 0 to 100 %, with the paper's figure as a diamond, and GPT-4o's as it reports it."""
    marks = _marks(results, "average")
    published = TABLE_1["GPT-4o"].average
    about = "as the paper reports it, on its own benchmark"
    outside = Mark("GPT-4o", about, "outside", published, (published, published), published)
    wide = width >= WIDE
    step, bar = (50, 28) if wide else (62, 20)
    figure, axes = _axes(width, step * (len(marks) + 1), (_GUTTER if wide else 8, 60 if wide else 44), colours)
    axes.set(xlim=(0, 100), ylim=(len(marks) + 0.5, -0.5), xticks=range(0, 101, 20))
    axes.set_xticklabels([f"{tick}{' %' if tick == 100 else ''}" for tick in axes.get_xticks()])
    for place, mark in enumerate([*marks, outside]):
        centre = place if wide else place + 0.24
        outline = mark.kind == "outside"
        (drawn,) = axes.barh(
            centre,
            mark.value,
            bar / step,
            color="none" if outline else getattr(colours, mark.kind),
            edgecolor=colours.outside if outline else "none",
            linestyle=(0, (3, 2)) if outline else "-",
            zorder=2,
            clip_on=False,
        )
        drawn.set_gid(f"bar-{mark.kind}-{place}")
        _names(axes, place, mark, wide, colours, step)
        _interval(axes, mark, centre, colours, 4 if not outline else 0)
        if not outline:
            text: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 16 if wide else 14, "weight": "bold"}
            axes.annotate(
                f"{mark.value:.1f}", (1, centre), (58 if wide else 42, 0), color=colours.ink, **text, **_BESIDE
            )
    _reference(axes, results, "average", colours, None if wide else [place + 0.24 for place in range(len(marks) + 1)])
    return figure


def classes(results: dict[str, Any], width: int, colours: Palette) -> "Figure":
    """A panel of dots per class of questions, from 30 to 100 percent (or lower, where a value is); narrow figures have
    the panels below each other."""
    values = [low for row in results["designs"] for low, _ in row["intervals95"].values()]
    values += [row["paper"][name] for row in results["designs"] if row["paper"] for name in CLASSES]
    floor = min(30, int(min(values)) // 10 * 10)
    wide, designs = width >= WIDE, len(results["designs"])
    step, gap = (30, 28) if wide else (40, 76)
    height = step * designs if wide else (step * designs + gap) * len(CLASSES) - gap
    figure, whole = _axes(width, height, (_GUTTER if wide else 8, 20 if wide else 14), colours)
    whole.remove()
    panels = _panels(figure, width, height, gap, wide)
    for number, (axes, name) in enumerate(zip(panels, CLASSES, strict=True)):
        _style(axes, colours)
        axes.set(xlim=(floor, 100), ylim=(designs - 0.5, -0.5), xticks=range(floor + floor % 20, 101, 20))
        title = f"{name.capitalize()} ({results['benchmark'][name]})"
        axes.annotate(title, (0, 1), (0, 26), weight="bold", fontsize=14, color=colours.ink, **_ABOVE)
        for place, mark in enumerate(_marks(results, name)):
            centre = place if wide else place + 0.2
            if number == 0 or not wide:
                _names(axes, place, mark, wide, colours, step, short=True)
            colour = getattr(colours, mark.kind)
            axes.plot(mark.interval, [centre] * 2, color=colour, alpha=0.55, linewidth=3, zorder=2)
            _paper(axes, mark, centre, colours)
            axes.plot([mark.value], [centre], "o", color=colour, markersize=10, zorder=4, clip_on=False)
        _reference(axes, results, name, colours, None if wide else [place + 0.2 for place in range(designs)])
    return figure


_BESIDE: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "annotation_clip": False,
}
_ABOVE: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}


def _axes(width: int, height: int, sides: tuple[int, int], colours: Palette) -> tuple["Figure", "Axes"]:
    """A figure of a width and of `height` pixels between its head and its foot, with one plot area."""
    from matplotlib.figure import Figure

    whole = height + _HEAD + _FOOT
    figure = Figure(figsize=(width / _PIXELS_PER_INCH, whole / _PIXELS_PER_INCH), facecolor="none")
    left, right = sides
    axes = figure.add_axes((left / width, _FOOT / whole, (width - left - right) / width, height / whole))
    _style(axes, colours)
    return figure, axes


_HEAD, _FOOT = 46, 34  # pixels above and below what is drawn


def _panels(figure: "Figure", width: int, height: int, gap: int, wide: bool) -> list["Axes"]:
    """Plot areas for the classes: beside each other, or below."""
    whole, count = height + _HEAD + _FOOT, len(CLASSES)
    boxes: list[tuple[float, float, float, float]]  # left, bottom, width, height in pixels
    if wide:
        size = (width - _GUTTER - 20 - gap * (count - 1)) / count
        boxes = [(_GUTTER + place * (size + gap), float(_FOOT), size, float(height)) for place in range(count)]
    else:
        size = (height - gap * (count - 1)) / count
        boxes = [(8.0, _FOOT + (count - 1 - place) * (size + gap), width - 22.0, size) for place in range(count)]
    return [figure.add_axes((x / width, y / whole, w / width, h / whole)) for x, y, w, h in boxes]


def _style(axes: "Axes", colours: Palette) -> None:
    axes.set_facecolor("none")
    axes.set_frame_on(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=colours.line, linewidth=1)
    axes.tick_params(axis="x", length=0, pad=8, labelsize=12, labelcolor=colours.soft)
    axes.set_yticks([])


def _names(axes: "Axes", place: int, mark: Mark, wide: bool, colours: Palette, step: int, short: bool = False) -> None:
    """A design's name and parts: left of the plot area, or above its bar where there is no room."""
    if wide and short:
        axes.annotate(mark.name, (0, place), (-_GUTTER, 0), va="center", fontsize=13, color=colours.soft, **_BESIDE)
        return
    left, up, down = (-_GUTTER, 8, -9) if wide else (0, step * 0.3, step * 0.06)
    up = up if not short else step * 0.2
    size = 14 if wide else 12.5
    axes.annotate(
        mark.name, (0, place), (left, up), va="center", fontsize=size, weight="bold", color=colours.ink, **_BESIDE
    )
    if not short:
        small: dict[str, Any] = {"va": "center", "fontsize": 13 if wide else 11, "color": colours.soft}
        axes.annotate(mark.parts, (0, place), (left, down), **small, **_BESIDE)


def _interval(axes: "Axes", mark: Mark, place: float, colours: Palette, cap: float) -> None:
    """A whisker for the interval, and the paper's diamond."""
    low, high = mark.interval
    if cap:
        error = [[mark.value - low], [high - mark.value]]
        axes.errorbar(
            mark.value,
            place,
            xerr=error,
            fmt="none",
            color=colours.ink,
            markerfacecolor=colours.ink,
            elinewidth=1.6,
            capsize=cap,
            zorder=3,
        )
    _paper(axes, mark, place, colours)


def _paper(axes: "Axes", mark: Mark, place: float, colours: Palette) -> None:
    if mark.paper is not None:
        look: dict[str, Any] = {"markersize": 7, "markerfacecolor": colours.paper, "markeredgecolor": colours.ink}
        axes.plot([mark.paper], [place], "D", markeredgewidth=1.6, zorder=4, clip_on=False, **look)


def _reference(
    axes: "Axes", results: dict[str, Any], slice_name: str, colours: Palette, places: list[float] | None
) -> None:
    """A dashed line: what the blind design reaches. Where names stand in its way it is drawn at `places` alone."""
    if results["blind"]:
        value = results["blind"]["accuracy"][slice_name]
        bottom, top = axes.get_ylim()
        ends = [(place - 0.22, place + 0.22) for place in places] if places else [(top, bottom)]
        look: dict[str, Any] = {"color": colours.ink, "linewidth": 1.2, "linestyle": (0, (4, 3))}
        axes.vlines([value] * len(ends), *zip(*ends, strict=True), zorder=3, **look)
        above: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "textcoords": "offset points",
            "annotation_clip": False,
        }
        axes.annotate(f"blind {value:.1f}", (value, 1), (0, 8), ha="center", fontsize=12, color=colours.soft, **above)


def _marks(results: dict[str, Any], slice_name: str) -> list[Mark]:
    marks = []
    for number, row in enumerate(results["designs"], start=1):
        spelled = parts(row["design"])
        marks.append(
            Mark(
                name=f"{row['row'] or number}  {label(row)}",
                parts=f"{spelled['encoders']} · {spelled['llm']}"
                if row["row"]
                else f"{spelled['stage1']} → {spelled['stage2']}",
                kind=kind(row["design"]),
                value=row["accuracy"][slice_name],
                interval=tuple(row["intervals95"][slice_name]),
                paper=row["paper"][slice_name] if row["paper"] else None,
            )
        )
    return marks


def _for_page(figure: "Figure", name: str, width: int) -> str:
    """A figure as SVG to stand in a page: text as text, colours and fonts of the style sheet, names of its own."""
    import matplotlib

    target = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"{name}{width}"}):
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    form = "wide" if width >= WIDE else "narrow"
    text = re.sub(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)', f"{name}-{form}-", text)
    text = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font: \1 system-ui, 'Segoe UI', 'Liberation Sans', sans-serif", text)
    for variable, colour in zip(Palette.__dataclass_fields__, astuple(_VARIABLES), strict=True):
        text = text.replace(colour, f"var(--{variable})")
    head = f'<svg class="figure {form}" role="img" aria-labelledby="{name}-{form}-title" '
    title = f'<title id="{name}-{form}-title">{_TITLES[name]}</title>'
    return re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', rf"{head}\1>{title}", text, count=1)


_TITLES = {
    "roadmap": "Average accuracy of each design, in percent, with 95 % intervals and the paper’s figures",
    "classes": "Accuracy of each design by class of questions, in percent, with 95 % intervals and the paper’s figures",
}
