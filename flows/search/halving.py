"""Successive halving: every design on a little of the stage 2 data, the best third on three times as much, and so on.
Rungs differ in where stage 2 stops, so that a design promoted finds its stage 0 and stage 1 runs there and goes on with
its stage 2 from the last rung's checkpoint (tasks/stage/early_stop.py)."""

import math
from dataclasses import dataclass, field, replace

from data_registry.errors import InputError
from flows.designs.design import Design, read_value, reduced
from tasks.stage.early_stop import FRAC

WHOLE = "1"


@dataclass(frozen=True)
class Halving:
    """params.yaml: sweep.halving.

    Attributes:
        fractions: of stage 2's data by rung, as spelled in a design's name; the last is "1", all of it.
        keep: one in so many designs goes on to the next rung.
    """

    fractions: list[str] = field(default_factory=lambda: ["1of9", "1of3", WHOLE])
    keep: int = 3

    def __post_init__(self) -> None:
        where = "params.yaml: sweep.halving"
        shares = [read_value(fraction) for fraction in self.fractions]
        if not shares or any(isinstance(share, str) or not 0 < share <= 1 for share in shares):
            raise InputError(f"{where}.fractions: {self.fractions}: shares above 0 and at most 1, such as 1of9")
        if shares != sorted(set(shares)) or shares[-1] != 1:
            raise InputError(f"{where}.fractions: {self.fractions}: in rising order, the last one 1")
        spelled = [*map(reduced, self.fractions[:-1]), WHOLE]
        if self.fractions != spelled:  # in the names of designs, where each share has one spelling
            raise InputError(f"{where}.fractions: write {spelled} instead of {self.fractions}")
        if self.keep < 2:
            raise InputError(f"{where}.keep: {self.keep}: one in at least 2 goes on")

    def size(self, designs: int, rung: int) -> int:
        """How many of so many designs reach a rung."""
        return math.ceil(designs / self.keep**rung)


def at(design: Design, fraction: str) -> Design:
    """The design, stopped where it has seen a fraction of its stage 2 data."""
    if fraction == WHOLE:
        return design
    return replace(design, settings=((FRAC, fraction), *design.settings))
