"""The benchmarks, one entry each: how the questions are made from test scenes. The plan makes every one of them, and
what can be answered without looking (stage `baselines`)."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from data_registry.benchmark import spatialvqa
from data_registry.benchmark.spatialvqa import Question, Quotas
from data_registry.errors import InputError, nearest
from data_registry.questions.geometry import Margins
from data_registry.scene import Scene


class Builder(Protocol):
    """Makes a benchmark's questions.

    Args:
        quotas: how many of each class; per_image: most questions of one image.
        drops: counts by reason what was not asked.

    Raises:
        InputError: the scenes do not yield enough questions.
    """

    def __call__(
        self,
        scenes: Sequence[Scene],
        quotas: Quotas,
        per_image: int,
        margins: Margins,
        seed: int,
        drops: Counter[str],
    ) -> list[Question]: ...


BENCHMARKS: dict[str, Builder] = {"spatialvqa": spatialvqa.build}


def builder(name: str) -> Builder:
    """What makes a benchmark; InputError names the nearest one there is."""
    if name not in BENCHMARKS:
        raise InputError(f"plan.yaml: plan.benchmark.{name}: unknown benchmark, {nearest(name, BENCHMARKS)}")
    return BENCHMARKS[name]
