"""params.yaml's section `sweep`: which designs a sweep may try, which sampler proposes them, and what counts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data_registry.errors import InputError
from data_registry.ranges import Positive
from flows.designs.space import Space
from flows.search.halving import Halving
from flows.search.samplers.registry import check_sampler
from tasks.identity import settings
from tasks.identity.parse import parse


@dataclass(frozen=True)
class Config:
    """params.yaml: sweep.

    Attributes:
        sampler: a name of `flows.search.samplers.registry.SAMPLERS`.
        metric: key of the score's metrics.json that is called accuracy here.
        objectives: "accuracy" (up), and "hours" (down) for a Pareto front.
        max_failures: designs that may fail before the sweep gives up.
        device_gb: memory of one accelerator; a design that needs more (`flows.costs.memory`) is skipped.
    """

    sampler: str = "prefix"
    metric: Literal["average", "distance", "orientation", "relation"] = "average"
    objectives: list[Literal["accuracy", "hours"]] = field(default_factory=lambda: ["accuracy"])
    max_failures: int = 5
    device_gb: Positive | None = None
    halving: Halving = field(default_factory=Halving)
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        check_sampler(self.sampler, "params.yaml: sweep.sampler")
        if self.objectives not in (["accuracy"], ["accuracy", "hours"]):
            raise InputError("params.yaml: sweep.objectives: [accuracy] or [accuracy, hours]")
        if self.max_failures < 1:
            raise InputError(f"params.yaml: sweep.max_failures: {self.max_failures}: at least 1")


def read_config(root: Path) -> Config:
    """The `sweep` section of params.yaml, checked."""
    return parse(Config, settings.load(root).params.get("sweep") or {}, "params.yaml: sweep")
