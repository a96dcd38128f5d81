"""Balance by construction: claims are used in couples that a reader without the image cannot tell apart.
Both have the same type, category names and options, in the same order of letters, and opposite answers."""

import contextlib
import gc
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from data_registry.questions.facts import Claim, Fact

T = TypeVar("T")
C = TypeVar("C", bound=Claim | Fact)


@contextlib.contextmanager
def many_small_objects() -> Iterator[None]:
    """No garbage collection meanwhile: millions of claims without a cycle among them would be scanned in vain, which
    doubles the time of a data set."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def shards(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` in their order; the last may be shorter. What is balanced within a shard needs no more memory."""
    things = iter(things)
    while shard := list(islice(things, size)):
        yield shard


class Placed(NamedTuple, Generic[C]):
    """A claim, or a fact, of the scene with this index."""

    scene: int
    claim: C


def couples(claims: Iterable[Placed[C]], rng: random.Random) -> list[tuple[Placed[C], Placed[C]]]:
    """As many couples as each key allows, in random order; what finds no partner is left out.

    Without this, looking up the names answers most distance questions blind: aeroplanes are far, mugs are near.
    """
    by_key: dict[tuple[str, ...], tuple[list[Placed[C]], list[Placed[C]]]] = defaultdict(lambda: ([], []))
    for placed in claims:
        by_key[placed.claim.key][placed.claim.answer].append(placed)
    pairs: list[tuple[Placed[C], Placed[C]]] = []
    for first, second in by_key.values():
        rng.shuffle(first)
        rng.shuffle(second)
        pairs.extend(zip(first, second, strict=False))
    rng.shuffle(pairs)
    return pairs
