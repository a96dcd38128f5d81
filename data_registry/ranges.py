"""What a number in params.yaml may be, written beside its type: `lr: Annotated[float, Bounds(above=0)]`.
Readers of YAML (`tasks.identity.parse`) refuse the rest by file and key; `check` does it for values made in code."""

import dataclasses
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from data_registry.errors import InputError


@dataclass(frozen=True)
class Bounds:
    """The finite numbers between bounds; without any, all finite numbers.

    >>> Bounds(above=0, most=1).fault(0)
    'must be above 0 and at most 1'
    >>> Bounds(least=1).fault(2) is None
    True
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def fault(self, value: float) -> str | None:
        """What is wrong with a number; None where nothing is."""
        low = self.least is None or value >= self.least
        high = self.most is None or value <= self.most
        inside = (self.above is None or value > self.above) and (self.below is None or value < self.below)
        return None if math.isfinite(value) and low and high and inside else f"must be {self}"

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"from {self.least:,} to {self.most:,}"
        if self.least is not None and self.below is None:
            return f"{self.least:,} or more"
        words = (("above", self.above), ("at least", self.least), ("below", self.below), ("at most", self.most))
        return " and ".join(f"{word} {bound:,}" for word, bound in words if bound is not None) or "a finite number"


@dataclass(frozen=True)
class Ordered:
    """A pair of the fewest and the most of something, both 1 or more."""

    def fault(self, value: Sequence[float]) -> str | None:
        """What is wrong with a pair; None where nothing is."""
        return None if 1 <= value[0] <= value[1] else "must be the fewest, 1 or more, and the most"


Seed = Annotated[int, Bounds(least=0, below=2**63)]
Count = Annotated[int, Bounds(least=1)]  # of what there has to be some
Natural = Annotated[int, Bounds(least=0)]
Positive = Annotated[float, Bounds(above=0)]
NotNegative = Annotated[float, Bounds(least=0)]
Share = Annotated[float, Bounds(least=0, most=1)]
Part = Annotated[float, Bounds(above=0, most=1)]  # a share of which something is left
Dropout = Annotated[float, Bounds(least=0, below=1)]
Degrees = Annotated[float, Bounds(least=0, most=180)]
Few = Annotated[tuple[int, int], Ordered()]


def check(values: Any, where: str) -> None:
    """That the fields of a dataclass keep to what is written beside their types; for those that code makes, too.

    Raises:
        InputError: one does not; it names the field.
    """
    hints = typing.get_type_hints(type(values), include_extras=True)
    for field in dataclasses.fields(values):
        refuse(hints[field.name], getattr(values, field.name), f"{where}.{field.name}")


def refuse(hint: Any, value: Any, where: str) -> None:
    """InputError where a value does not keep to what is written beside its type; `where` names it."""
    for mark in getattr(hint, "__metadata__", ()):
        if fault := mark.fault(value):
            raise InputError(f"{where}: {list(value) if isinstance(value, tuple) else value!r}: {fault}")
