"""The types of two-option questions about space, one entry each: its class, what makes its claims, how it is worded.
A data set or benchmark asks those of `STANDARD`, and others where its parameters name them."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_registry.errors import InputError, nearest
from data_registry.questions import distance, extra, flat, orientation, relation
from data_registry.questions.facts import Claim
from data_registry.questions.flat import Asked, first
from data_registry.questions.geometry import Layout, Margins
from data_registry.questions.words import FOLDER

Generator = Callable[[Layout, Margins, "Counter[str]"], Iterator[Claim]]


@dataclass(frozen=True, slots=True)
class QuestionType:
    """A type of question whose two answers balance each other (`data_registry.questions.balance`).

    Attributes:
        class_: whose quota it counts for in SpatialVQA ("distance", "orientation", "relation"), or another word.
        claims: every clear claim of a layout, also of other types that it makes in the same pass; what a margin drops
            is counted.
        phrasings: YAML file that has the type's wording under its name (`data_registry.questions.phrasing.Wording`).
        flat: index of the option that the 2D boxes alone suggest; always the first where they suggest none.
    """

    class_: str
    claims: Generator
    phrasings: Path
    flat: Callable[[Asked], int] = first


_DISTANCE, _ORIENTATION, _RELATION = (FOLDER / f"{name}.yaml" for name in ("distance", "orientation", "relation"))
_EXTRA = FOLDER / "extra.yaml"

_ROADMAP = {
    "closer_to_viewer": QuestionType("distance", distance.claims, _DISTANCE, flat.lower),
    "farther_from_viewer": QuestionType("distance", distance.claims, _DISTANCE, flat.upper),
    "closer_to_object": QuestionType("distance", distance.claims, _DISTANCE, flat.beside),
    "farther_from_object": QuestionType("distance", distance.claims, _DISTANCE, flat.apart),
    "facing_object": QuestionType("orientation", orientation.claims, _ORIENTATION, flat.beside),
    "same_direction": QuestionType("orientation", orientation.claims, _ORIENTATION, flat.word("different")),
    "side_to_viewer": QuestionType("orientation", orientation.claims, _ORIENTATION, flat.side_to_viewer),
    "towards_viewer": QuestionType("orientation", orientation.claims, _ORIENTATION, flat.word("towards")),
    "pointing": QuestionType("orientation", orientation.claims, _ORIENTATION, flat.word("left")),
    "left_or_right": QuestionType("relation", relation.claims, _RELATION, flat.left_or_right),
    "front_or_behind": QuestionType("relation", relation.claims, _RELATION, flat.front_or_behind),
    "object_on_side": QuestionType("relation", relation.claims, _RELATION, flat.on_side),
    "object_ahead": QuestionType("relation", relation.claims, _RELATION, flat.ahead),
}
QUESTION_TYPES: dict[str, QuestionType] = {
    **_ROADMAP,
    # Of 3DSRBench and SpatialRGPT-Bench.
    "next_to": QuestionType("distance", extra.next_to, _EXTRA),
    "side_to_object": QuestionType("orientation", extra.side_to_object, _EXTRA),
    "parallel": QuestionType("orientation", extra.parallel, _EXTRA),
    "higher": QuestionType("relation", extra.heights, _EXTRA),
    "lower": QuestionType("relation", extra.heights, _EXTRA),
    "above_or_below": QuestionType("relation", extra.heights, _EXTRA),
    "taller": QuestionType("size", extra.sizes, _EXTRA),
    "shorter": QuestionType("size", extra.sizes, _EXTRA),
    "wider": QuestionType("size", extra.sizes, _EXTRA),
    "narrower": QuestionType("size", extra.sizes, _EXTRA),
    "bigger": QuestionType("size", extra.sizes, _EXTRA),
    "smaller": QuestionType("size", extra.sizes, _EXTRA),
}

STANDARD = tuple(_ROADMAP)  # closed, since no identity names them: another type is asked where parameters name it


def entry(name: str) -> QuestionType:
    """The entry of a type; InputError names the nearest."""
    if name not in QUESTION_TYPES:
        raise InputError(f"{name!r}: no type of question, {nearest(name, QUESTION_TYPES)}")
    return QUESTION_TYPES[name]


def claims(scene: Layout, margins: Margins, drops: Counter[str], more: Collection[str] = ()) -> Iterator[Claim]:
    """Every clear claim of the standard types, then of the types `more`, in the order of the table."""
    asked = {name: type_ for name, type_ in QUESTION_TYPES.items() if name in STANDARD or name in more}
    for generator in dict.fromkeys(type_.claims for type_ in asked.values()):  # each pass once
        for claim in generator(scene, margins, drops):
            if claim.type in asked:
                yield claim
