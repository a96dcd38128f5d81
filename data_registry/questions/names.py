"""How an object is called in a question, so that a reader of the picture cannot mean another one.
A category name serves when nothing else in the image has it; else the colour is added; else there is no name."""

from collections import Counter, defaultdict
from functools import cache

from data_registry.questions.words import words
from data_registry.scene import Scene, SceneObject


@cache
def confusable() -> frozenset[frozenset[str]]:
    """Pairs of colours that people confuse, so that neither tells two objects of a category apart."""
    return frozenset(frozenset(pair) for pair in words()["confusable"])


@cache
def _alike(color: str) -> tuple[str, ...]:
    """A colour and those that it is confused with."""
    return (color, *sorted(other for pair in confusable() if color in pair for other in pair - {color}))


def complete(scene: Scene) -> bool:
    """Whether every object of the picture is in the scene or among its `others`: no region was left out that may hold
    more of them. A region without objects ("void") hides none."""
    return all(region.name == "void" for region in scene.ignored)


def references(scene: Scene) -> list[str | None]:
    """For each object the words that single it out in the image ("car", "red car"), or None where there are none.

    Objects the reader dropped count too: a half-hidden second car makes "the car" ambiguous, and since its colour is
    not known, a colour does not help either. So do regions that nobody labelled: any of them may hold another car.
    """
    if not complete(scene):
        return [None] * len(scene.objects)
    colors: dict[str, Counter[str | None]] = defaultdict(Counter)
    for obj in scene.objects:
        colors[obj.name][obj.color] += 1
    dropped = set(scene.others)
    return [None if obj.name in dropped else _reference(obj, colors[obj.name]) for obj in scene.objects]


def _reference(obj: SceneObject, colors: Counter[str | None]) -> str | None:
    """Args: colors: how many objects of this name have each colour."""
    if colors.total() == 1:
        return obj.name
    if obj.color is None or None in colors or sum(colors[color] for color in _alike(obj.color)) > 1:
        return None
    return f"{obj.color} {obj.name}"
