"""Renders the report: one HTML file with its styles, figures and pictures inside, no script, nothing fetched.
The page is a Jinja template; numbers come from `data`, pictures from `figures`."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from data_registry.paper import CLASSES
from tasks.report import figures, names
from tasks.report.data import Collected
from tasks.report.examples import Example
from tasks.report.names import printed

BASELINES = (
    ("majority", "Majority answer", "always the commonest answer of the question’s type"),
    ("lookup", "Lookup of the names", "the training answers’ majority for the names asked about, without a picture"),
    ("shortcut_2d", "2D shortcut", "rules on the objects’ 2D boxes, without 3D"),
)
PROBES = {
    "category_accuracy": ("Category, accuracy", lambda v: f"{100 * v:.1f} %"),
    "azimuth_median_error_deg": ("Azimuth, median error", lambda v: f"{v:.1f}°"),
    "depth_median_relative_error": ("Depth, median error", lambda v: f"{100 * v:.1f} %"),
    "depth_r2": ("Depth, R²", lambda v: f"{v:.2f}"),
}


def environment() -> Environment:
    """Jinja with escaping on, an error for every undefined name, and the page's number formats."""
    env = Environment(
        loader=PackageLoader("tasks.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"decimal": lambda v: f"{v:.1f}", "signed": signed, "span": span, "duration": duration}
    env.globals |= {"parts": names.parts, "label": names.label, "kind": names.kind}
    return env


def page(collected: Collected, examples: list[Example]) -> str:
    """The whole report as one HTML text."""
    results = collected.results
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            r=results,
            figures={name: [Markup(svg) for svg in forms] for name, forms in figures.svgs(results).items()},
            types=_types(collected),
            probes=_probes(results["probes"]),
            baselines=BASELINES,
            majority=results["baselines"].get("majority"),
            examples=examples,
            classes=CLASSES,
        )
    )


def signed(value: float) -> str:
    """A difference in points, with a real minus: +14.7, −0.3."""
    return f"{value:+.1f}".replace("-", "−")


def span(interval: list[float]) -> str:
    """An interval in percent: 47.9–53.2; of a difference: −0.3 to +5.1."""
    low, high = interval
    return f"{low:.1f}–{high:.1f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 41 s, 12 min 5 s, 3 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _types(collected: Collected) -> list[dict[str, Any]]:
    """A line per question type: class (on its first line only), type, questions, accuracy of designs and references."""
    counts = collected.questions.groupby(["class", "type"]).size()
    results = collected.results
    flat = results["baselines"].get("shortcut_2d", {}).get("types", {})
    lines = []
    for name in CLASSES:
        for index, (kind, count) in enumerate(counts.get(name, {}).items()):
            lines.append(
                {
                    "class": name if index == 0 else "",
                    "type": kind.replace("_", " ").replace("-", " "),
                    "questions": int(count),
                    "accuracy": [row["types"][kind] for row in results["designs"]],
                    "references": [
                        results["blind"]["types"][kind] if results["blind"] else None,
                        flat.get(kind),
                    ],
                }
            )
    return lines


def _probes(probes: dict[str, dict[str, Any]]) -> dict[str, list]:
    """Columns and lines of the probes' table: one line per encoder."""
    lines = [
        {
            "encoder": printed(name),
            "values": [show(metrics[key]) if key in metrics else "–" for key, (_, show) in PROBES.items()],
        }
        for name, metrics in probes.items()
        if metrics
    ]
    return {"columns": [title for title, _ in PROBES.values()], "lines": lines}
