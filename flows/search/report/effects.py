"""What each part of a design is worth, by least squares over the designs of a study.
A sweep does not try all combinations equally often, so plain means would credit a part with the company it kept: an
effect here is what is left when all other parts are the same. In a full grid both agree."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

import numpy as np
from scipy import linalg

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
    mean: float | None
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
    table = _Table.of(designs, values, order)
    needed = 1 + sum(len(choices) - 1 for choices in table.levels.values())
    if not table.levels or table.variance <= 1e-12 or len(table.values) <= needed:
        return {"explained": None, "parts": [], "pairs": []}
    pairs = [_pair(table, first, second) for first, second in itertools.combinations(table.levels, 2)]
    return {
        "explained": 1 - table.unexplained(table.matrix()) / table.variance,
        "parts": [asdict(part) for part in sorted(_parts(table), key=lambda part: -part.share)],
        "pairs": [asdict(pair) for pair in sorted(pairs, key=lambda pair: -pair.share)],
    }


@dataclass(frozen=True)
class _Table:
    """The designs as numbers.

    Attributes:
        columns: {part: its choice in each design}.
        levels: {part: the choices that occur, in order}, for parts with more than one.
        coded: {part: (designs, choices - 1), 1 where a design has the choice; the first is where all are 0}.
        values: (designs,).
        variance: sum of squared differences from the mean.
    """

    columns: dict[str, list[str]]
    levels: dict[str, list[str]]
    coded: dict[str, np.ndarray]
    values: np.ndarray
    variance: float

    @classmethod
    def of(cls, designs: Sequence[Choices], values: Sequence[float], order: Mapping[str, Sequence[str]]) -> "_Table":
        columns = {part: [design.get(part, _ABSENT) for design in designs] for part in order}
        occur = {
            part: [choice for choice in dict.fromkeys([*order[part], _ABSENT]) if choice in columns[part]]
            for part in order
        }
        levels = {part: choices for part, choices in occur.items() if len(choices) > 1}
        coded = {
            part: np.array([[float(choice == level) for level in choices[1:]] for choice in columns[part]])
            for part, choices in levels.items()
        }
        y = np.asarray(values, float)
        return cls(columns, levels, coded, y, float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0)

    def matrix(self, without: str | None = None, more: Sequence[np.ndarray] = ()) -> np.ndarray:
        """A column of ones and those of the parts, (designs, columns)."""
        parts = [code for part, code in self.coded.items() if part != without]
        return np.hstack([np.ones((len(self.values), 1)), *parts, *more])

    def unexplained(self, matrix: np.ndarray) -> float:
        """What is left of the variance after a fit."""
        return float(((self.values - matrix @ self.fit(matrix)) ** 2).sum())

    def fit(self, matrix: np.ndarray) -> np.ndarray:
        """Coefficients of the columns, (columns,), by least squares."""
        return linalg.lstsq(matrix, self.values, cond=np.finfo(float).eps * max(matrix.shape))[0]

    def mean_where(self, chosen: Mapping[str, str]) -> tuple[int, float | None]:
        """How many designs have these choices, and their mean value."""
        own = [
            float(value)
            for place, value in enumerate(self.values)
            if all(self.columns[part][place] == choice for part, choice in chosen.items())
        ]
        return len(own), mean(own) if own else None


def _parts(table: _Table) -> Iterator[Part]:
    everything = table.matrix()
    unexplained = table.unexplained(everything)
    coefficients = table.fit(everything)
    at = 1
    for part, levels in table.levels.items():
        without = table.matrix(without=part)
        width = len(levels) - 1
        apart = np.linalg.matrix_rank(everything) == np.linalg.matrix_rank(without) + width
        choices = []
        for level, effect in zip(levels, [0.0, *coefficients[at : at + width]], strict=True):
            designs, mean = table.mean_where({part: level})
            choices.append(Choice(level, designs, mean, float(effect) if apart else None))
        at += width
        yield Part(part, max(0.0, table.unexplained(without) - unexplained) / table.variance, choices)


def _pair(table: _Table, one: str, two: str) -> Pair:
    products = [(a * b)[:, None] for a, b in itertools.product(table.coded[one].T, table.coded[two].T)]
    more = table.unexplained(table.matrix()) - table.unexplained(table.matrix(more=products))
    cells: dict[str, dict[str, float]] = {}
    for first, second in itertools.product(table.levels[one], table.levels[two]):
        value = table.mean_where({one: first, two: second})[1]
        if value is not None:
            cells.setdefault(first, {})[second] = value
    return Pair(one, two, max(0.0, more) / table.variance, cells)
