"""The samplers that a sweep can name: one row each, made by Optuna or by a file of this folder.
From this table follow what params.yaml and the command line take, their help, and what errors list."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_registry.errors import InputError, nearest
from flows.designs.design import Design

if TYPE_CHECKING:
    import optuna

    from flows.designs.space import Space


@dataclass(frozen=True)
class Search:
    """What a sampler is made for.

    Attributes:
        left, alone: accelerator hours of a design, now and with nothing there (`flows.costs.prices`).
        seed: another one in every session, as a sampler restarted with the same seed repeats its draws.
    """

    space: "Space"
    left: Callable[[Design], float]
    alone: Callable[[Design], float]
    seed: int


@dataclass(frozen=True)
class Sampler:
    """A row of `SAMPLERS`.

    Attributes:
        make: the Optuna sampler; imports what it needs when called, so that `--help` needs no Optuna.
        about: a few words for help, or "" where the name says it.
        in_order: designs come in the space's order and the sampler is never asked.
    """

    make: Callable[[Search], "optuna.samplers.BaseSampler"]
    about: str = ""
    in_order: bool = False


def _prefix(search: Search) -> "optuna.samplers.BaseSampler":
    from flows.search.samplers.prefix import PrefixSampler

    return PrefixSampler(search.space, search.left, search.alone, search.seed)


def _tpe(search: Search) -> "optuna.samplers.BaseSampler":
    from optuna.samplers import TPESampler

    return TPESampler(seed=search.seed)


def _random(search: Search) -> "optuna.samplers.BaseSampler":
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=search.seed)


SAMPLERS: dict[str, Sampler] = {
    "prefix": Sampler(_prefix, "cost- and prefix-aware"),
    "tpe": Sampler(_tpe),
    "random": Sampler(_random),
    "grid": Sampler(_random, "the space's order", in_order=True),
}


def check_sampler(name: str, where: str = "sampler") -> str:
    """The name, if there is such a sampler; `where` it stands for the message."""
    if name not in SAMPLERS:
        hint = nearest(name, SAMPLERS)
        known = "" if hint.startswith("known") else f"; known: {', '.join(SAMPLERS)}"
        raise InputError(f"{where}: {name!r} is unknown, {hint}{known}")
    return name


def sampler_help() -> str:
    """Every sampler in one line, for `--help`."""
    return ", ".join(f"{name} ({row.about})" if row.about else name for name, row in SAMPLERS.items())


def make_sampler(
    name: str, space: "Space", left: Callable[[Design], float], alone: Callable[[Design], float], seed: int
) -> "optuna.samplers.BaseSampler":
    """A sampler by name; arguments as for `Search`."""
    return SAMPLERS[check_sampler(name)].make(Search(space, left, alone, seed))
