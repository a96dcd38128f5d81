"""Claims: what is true of a scene and can be asked with two options; facts: claims with names, ready to be worded.
Margins, balance and truth are decided on claims, of which most are never worded, so they are kept small."""

from typing import NamedTuple

from data_registry.questions.geometry import Layout
from data_registry.questions.words import words


class Claim(NamedTuple):
    """A true answer to a two-option question about the objects of one layout.

    Attributes:
        type: the question type, a key of the phrasing files.
        key: what a reader without the image could know: the type, a side, the categories in their roles, the options.
            Claims with one key and different answers balance each other.
        answer: index of the right option, 0 or 1.
        roles: indexes of the objects named in the question.
        options: indexes of the two objects to choose from, or two words; in canonical order.
        side: the side that the question asks for, if it does.
    """

    type: str
    key: tuple[str, ...]
    answer: int
    roles: tuple[int, ...]
    options: tuple[int, int] | tuple[str, str]
    side: str = ""


class Fact(NamedTuple):
    """A two-option question before its wording is chosen.

    Attributes:
        type, key, answer: as of a claim.
        slots: what fills the wording's placeholders, e.g. {"x": "the car", "side": "left"}.
        options: the two options in canonical order: objects ("the car"), or keys of the type's own words ("left").
        objects: ids of the objects, those of the question first, then those of the options.
        names: what these objects are called, in the same order ("car", "red car").
    """

    type: str
    key: tuple[str, ...]
    answer: int
    slots: dict[str, str]
    options: tuple[str, str]
    objects: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


def between(
    type_: str, scene: Layout, i: int, j: int, winner: int, roles: tuple[int, ...] = (), side: str = ""
) -> Claim:
    """A claim that chooses between the objects `i` < `j`; a layout's order is the canonical one."""
    kind = scene.categories
    return Claim(
        type_, (type_, side, *[kind[k] for k in roles], kind[i], kind[j]), int(winner == j), roles, (i, j), side
    )


def which(type_: str, scene: Layout, roles: tuple[int, ...], answer: str, other: str) -> Claim:
    """A claim that chooses between two words."""
    options = (answer, other) if answer < other else (other, answer)
    kind = scene.categories
    return Claim(type_, (type_, *[kind[k] for k in roles], *options), int(answer > other), roles, options)


def named(claim: Claim) -> tuple[int, ...]:
    """Indexes of the objects of a claim's question, then of those to choose from."""
    return (*claim.roles, *[option for option in claim.options if isinstance(option, int)])


def fact(claim: Claim, scene: Layout) -> Fact:
    """The claim with the names of its objects."""
    names = scene.names
    slots = {role: f"the {names[k]}" for role, k in zip("xy", claim.roles, strict=False)}
    first, second = (option if isinstance(option, str) else f"the {names[option]}" for option in claim.options)
    chosen = named(claim)
    return Fact(
        claim.type,
        claim.key,
        claim.answer,
        slots | words()["sides"].get(claim.side, {}),
        (first, second),
        tuple([scene.objects[k].id for k in chosen]),
        tuple([names[k] for k in chosen]),
    )
