"""How an object is called in a question, so that a reader of the picture cannot mean another one.
A category name serves when nothing else in the image has it; else the colour is added; else there is no name."""

from collections import Counter
from functools import cache

from data_registry.questions.words import words
from data_registry.scene import Scene


@cache
def confusable() -> frozenset[frozenset[str]]:
    """Pairs of colours that people confuse, so that neither tells two objects of a category apart."""
    return frozenset(frozenset(pair) for pair in words()["confusable"])


def references(scene: Scene) -> list[str | None]:
    """For each object the words that single it out in the image ("car", "red car"), or None where there are none.

    Objects the reader dropped count too: a half-hidden second car makes "the car" ambiguous, and since its colour is
    not known, a colour does not help either.
    """
    here = Counter(o.name for o in scene.objects)
    dropped = set(scene.others)
    found: list[str | None] = []
    for obj in scene.objects:
        if obj.name in dropped:
            found.append(None)
        elif here[obj.name] == 1:
            found.append(obj.name)
        else:
            rivals = [o.color for o in scene.objects if o.name == obj.name and o is not obj]
            found.append(f"{obj.color} {obj.name}" if _distinct(obj.color, rivals) else None)
    return found


def _distinct(color: str | None, rivals: list[str | None]) -> bool:
    if color is None or None in rivals:
        return False
    return all(rival != color and frozenset((color, rival)) not in confusable() for rival in rivals)
