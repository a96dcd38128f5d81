"""What each part of a design is worth, by least squares over the designs of a study.
A sweep does not try all combinations equally often, so plain means would credit a part with the company it kept: an
effect here is what is left when all other parts are the same. In a full grid both agree."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

import numpy as np

Choices = Mapping[str, str]
_ABSENT = "none"  # a dimension that does not apply to a design


@dataclass(frozen=True)
class Choice:
    """One choice of a part.

    Attributes:
        designs, mean: how many designs have it, and their mean value.
        effect: its value over that of the part's first choice with all other parts the same; None where the designs
            do not tell it apart from other parts.
    """

    name: str
    designs: int
    mean: float
    effect: float | None


@dataclass(frozen=True)
class Part:
    """A part of the design with its choices in their order; `share` of the variance goes when it is left out."""

    name: str
    share: float
    choices: list[Choice]


@dataclass(frozen=True)
class Pair:
    """Two parts whose choices depend on each other; `share` of the variance comes with their combinations.

    Attributes:
        cells: {choice of one: {choice of two: mean value}}.
    """

    one: str
    two: str
    share: float
    cells: dict[str, dict[str, float]]


def effects(designs: Sequence[Choices], values: Sequence[float], order: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Parts by their share of the variance, and pairs of parts by what they explain beyond their two effects.

    Args:
        designs: {part: choice} of each design; a part that does not apply may be missing.
        values: of each design.
        order: {part: its choices in order}.

    Returns:
        {"explained": share of the variance that parts alone explain, "parts": [...], "pairs": [...]}, the dataclasses
        above as dicts; without parts where values are all the same or fewer than there are choices.
    """
    y = np.asarray(values, float)
    columns = {part: [design.get(part, _ABSENT) for design in designs] for part in order}
    levels = {part: [c for c in [*order[part], _ABSENT] if c in set(columns[part])] for part in order}
    levels = {part: list(dict.fromkeys(found)) for part, found in levels.items() if len(set(found)) > 1}
    total = float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0
    needed = 1 + sum(len(found) - 1 for found in levels.values())
    if not levels or total <= 1e-12 or len(y) <= needed:
        return {"explained": None, "parts": [], "pairs": []}
    coded = {part: _coded(columns[part], found) for part, found in levels.items()}
    everything = np.hstack([np.ones((len(y), 1)), *coded.values()])
    unexplained = _unexplained(everything, y)
    coefficients = np.linalg.lstsq(everything, y, rcond=None)[0]
    parts, at = [], 1
    for part, found in levels.items():
        without = np.hstack([np.ones((len(y), 1)), *(code for other, code in coded.items() if other != part)])
        width = len(found) - 1
        told = np.linalg.matrix_rank(everything) == np.linalg.matrix_rank(without) + width
        effect = [0.0, *coefficients[at : at + width]]
        at += width
        choices = []
        for name, value in zip(found, effect, strict=True):
            own = [v for v, c in zip(values, columns[part], strict=True) if c == name]
            choices.append(Choice(name, len(own), mean(own), float(value) if told else None))
        parts.append(Part(part, max(0.0, _unexplained(without, y) - unexplained) / total, choices))
    pairs = []
    for one, two in itertools.combinations(levels, 2):
        products = [(a * b)[:, None] for a, b in itertools.product(coded[one].T, coded[two].T)]
        more = np.hstack([everything, *products])
        cells: dict[str, dict[str, float]] = {}
        for first, second in itertools.product(levels[one], levels[two]):
            own = [v for v, a, b in zip(values, columns[one], columns[two], strict=True) if (a, b) == (first, second)]
            if own:
                cells.setdefault(first, {})[second] = mean(own)
        pairs.append(Pair(one, two, max(0.0, unexplained - _unexplained(more, y)) / total, cells))
    return {
        "explained": 1 - unexplained / total,
        "parts": [asdict(part) for part in sorted(parts, key=lambda part: -part.share)],
        "pairs": [asdict(pair) for pair in sorted(pairs, key=lambda pair: -pair.share)],
    }


def _coded(column: Sequence[str], levels: Sequence[str]) -> np.ndarray:
    return np.array([[float(value == level) for level in levels[1:]] for value in column])


def _unexplained(matrix: np.ndarray, y: np.ndarray) -> float:
    return float(((y - matrix @ np.linalg.lstsq(matrix, y, rcond=None)[0]) ** 2).sum())
