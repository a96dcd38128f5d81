"""A fact: something true of a scene that can be asked with two options, before any wording.
Words come later (`phrasing`), so that margins, balance and truth are decided on facts alone."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from data_registry.questions.geometry import Layout, Margins


class Fact(NamedTuple):
    """A two-option question before its wording is chosen.

    Attributes:
        type: the question type, a key of the phrasing files.
        slots: what fills the wording's placeholders, e.g. {"x": "the car", "side": "left"}.
        options: the two options in canonical order: objects ("the car"), or keys of the type's own words ("left").
        answer: index of the right option, 0 or 1.
        objects: ids of the objects, those of the slots first, then those of the options.
        names: what these objects are called, in the same order ("car", "red car").
        key: what a reader without the image could know: the type, the categories in their roles and the options.
            Facts with one key and different answers balance each other.
    """

    type: str
    slots: dict[str, str]
    options: tuple[str, str]
    answer: int
    objects: tuple[int, ...]
    names: tuple[str, ...]
    key: tuple[str, ...]


Generator = Callable[[Layout, Margins, Counter[str]], Iterable[Fact]]


def between(
    type_: str, scene: Layout, i: int, j: int, winner: int, roles: dict[str, int], sides: dict[str, str] | None = None
) -> Fact:
    """A fact whose options are the objects `i` and `j`; `roles` are the objects named in the question."""
    objects, names = scene.objects, scene.names
    # Sorted by category, then by name: where both are cars, "red car" and "blue car" keep a fixed order.
    if (objects[j].name, names[j]) < (objects[i].name, names[i]):
        i, j = j, i
    chosen = (*roles.values(), i, j)
    sides = sides or {}
    return Fact(
        type_,
        {role: f"the {names[k]}" for role, k in roles.items()} | sides,
        (f"the {names[i]}", f"the {names[j]}"),
        int(winner == j),
        tuple([objects[k].id for k in chosen]),
        tuple([names[k] for k in chosen]),
        (type_, *sides.values(), *[objects[k].name for k in chosen]),
    )


def which(type_: str, scene: Layout, roles: dict[str, int], answer: str, other: str) -> Fact:
    """A fact whose options are words; `roles` are the objects named in the question."""
    objects, names = scene.objects, scene.names
    options = (answer, other) if answer < other else (other, answer)
    chosen = roles.values()
    return Fact(
        type_,
        {role: f"the {names[k]}" for role, k in roles.items()},
        options,
        options.index(answer),
        tuple([objects[k].id for k in chosen]),
        tuple([names[k] for k in chosen]),
        (type_, *[objects[k].name for k in chosen], *options),
    )
