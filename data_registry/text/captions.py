"""Captions as the web has them, for contrastive pretraining: what is there, in which colour, how many.
Now and then one says from which side a thing is seen; none tells a distance, an angle or a place."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

_PLACES = {"street": ("on the street", "outdoors"), "room": ("in a room", "indoors"), "table": ("on a table",)}
_STARTS = ("a photo of {}", "{}", "a picture of {}", "{} {place}", "{} {place}", "a photo of {} {place}")
_VIEWS = {
    "front": ("seen from the front", "front view"),
    "back": ("seen from behind", "rear view"),
    "left": ("seen from the side", "side view"),
    "right": ("seen from the side", "side view"),
}
_COUNTS = {2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True)
class Seen:
    """A thing in a picture: name, colour, and the side it shows ("front", "back", "left", "right") where that is
    plain to see, else None."""

    name: str
    color: str
    side: str | None = None


def caption(kind: str, things: Sequence[Seen], rng: Random, views: float = 0.25) -> str:
    """A caption of one to three of the things; `views` is how often a thing's side is mentioned."""
    shown = rng.sample(list(things), min(len(things), rng.choice((1, 2, 2, 3, 3))))
    counts = Counter(thing.name for thing in things)
    said, parts = set(), []
    for thing in shown:
        if thing.name in said:
            continue
        said.add(thing.name)
        parts.append(_part(thing, counts[thing.name], rng, views))
    text = " and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"
    return rng.choice(_STARTS).format(text, place=rng.choice(_PLACES[kind]))


def _part(thing: Seen, count: int, rng: Random, views: float) -> str:
    if count > 1:
        plural = {"person": "people", "bus": "buses"}.get(thing.name, f"{thing.name}s")
        return f"{_COUNTS.get(count, 'many')} {plural}"
    words = f"{thing.color} {thing.name}" if rng.random() < 0.75 else thing.name
    words = f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
    if thing.side and rng.random() < views:
        words += f" {rng.choice(_VIEWS[thing.side])}"
    return words
