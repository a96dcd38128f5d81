"""The samplers that a sweep can name."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from data_registry.errors import InputError, nearest
from flows.designs.design import Design

if TYPE_CHECKING:
    import optuna

    from flows.designs.space import Space


SAMPLERS = ("prefix", "tpe", "random", "grid")


def check_sampler(name: str) -> str:
    """The name, if there is such a sampler."""
    if name not in SAMPLERS:
        raise InputError(f"sampler {name!r} is unknown, {nearest(name, SAMPLERS)}")
    return name


def make_sampler(
    name: str, space: "Space", left: Callable[[Design], float], alone: Callable[[Design], float], seed: int
) -> "optuna.samplers.BaseSampler":
    """A sampler by name. A grid's designs are enqueued in turn, so its sampler is never asked.

    Args:
        left, alone: accelerator hours of a design, now and with nothing there (`flows.costs.prices`).
    """
    import optuna

    if name == "prefix":
        from flows.search.samplers.prefix import PrefixSampler

        return PrefixSampler(space, left, alone, seed)
    samplers = optuna.samplers
    return samplers.TPESampler(seed=seed) if name == "tpe" else samplers.RandomSampler(seed=seed)
