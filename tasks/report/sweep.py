"""The report of a sweep: one HTML file from its results.json and pictures, in the style of the roadmap's report."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_registry.cards import datasets
from tasks.report.html import environment
from tasks.report.names import parts

PARTS = {
    "encoders": "vision encoders",
    "llm": "LLM",
    "stage0": "stage 0",
    "stage1": "stage 1 data",
    "stage2": "stage 2 data",
}
DEPEND = 0.01  # of the variance: pairs of parts that explain less are left out
_CAPTIONS = {
    "history": "Every design in the order asked for, and the best so far.",
    "pareto": "Accuracy and cost with nothing shared; red are the designs that no other beats in both at once.",
    "interaction": "The two parts that matter most, together.",
    "importances": "How much each part decides whether a design is among the best (PED-ANOVA, by Optuna).",
    "slices": "Every design by each of its parts.",
}


def page(results: dict[str, Any], pictures: Sequence[Path]) -> str:
    """The whole report as one HTML text.

    Args:
        results: as `flows.search.report.results` writes them.
        pictures: PNG files by the names of `flows.search.report.plots`.
    """
    inside = {path.stem: base64.b64encode(path.read_bytes()).decode() for path in pictures}
    shown = [(name, caption, inside[name]) for name, caption in _CAPTIONS.items() if name in inside]
    env = environment()
    env.globals |= {"spell": spell, "title": title, "DEPEND": DEPEND}
    return env.get_template("sweep.html.j2").render(r=results, pictures=shown)


def title(part: str) -> str:
    """What a reader calls a dimension of the space."""
    return PARTS.get(part, f"share of {spell('stage2', part)}" if part in datasets.training_sets() else part)


def spell(part: str, choice: str) -> str:
    """A choice in the paper's spelling: `clip+dinov2` -> CLIP + DINOv2."""
    if part not in PARTS or choice == "none":
        return choice
    return parts({part: choice if part == "stage0" else choice.split("+")})[part]
