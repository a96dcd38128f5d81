"""From facts to words: the phrasing files, and questions and answers rendered from them.
Training and benchmark phrasings of a type share its meaning and no sentence."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data_registry.questions.facts import Fact
from data_registry.questions.geometry import Layout
from data_registry.questions.types import QUESTION_TYPES
from data_registry.questions.words import FOLDER, quantity, sentence

FILES = tuple(FOLDER / f"{name}.yaml" for name in ("statements", "general"))  # beside those of QUESTION_TYPES


@dataclass(frozen=True, slots=True)
class Wording:
    """How one type is worded: `training` and `benchmark` questions, `answers` in free form, words of the `options`."""

    training: tuple[str, ...] = ()
    benchmark: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)


def wordings() -> dict[str, Wording]:
    """Every type's wording, from the phrasing files."""
    return _wordings(tuple(dict.fromkeys([*FILES, *(type_.phrasings for type_ in QUESTION_TYPES.values())])))


@cache
def _wordings(files: tuple[Path, ...]) -> dict[str, Wording]:
    known: dict[str, Wording] = {}
    for path in files:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        for type_, entry in content.items():
            lists = {key: tuple(value) for key, value in entry.items() if key != "options"}
            known[type_] = Wording(**lists, options=entry.get("options") or {})
    return known


def option_texts(fact: Fact) -> tuple[str, str]:
    """The two options as they are shown: "the car", "its left side"."""
    known = wordings()[fact.type].options
    first, second = fact.options
    return known.get(first, first), known.get(second, second)


def ask(fact: Fact, phrasing: str, choice: str = "") -> str:
    """A fact's question; `choice` fills the place where a free-form question names its options."""
    return phrasing.format(choice=choice, **fact.slots)


def choice(fact: Fact, swapped: bool) -> str:
    """What `{choice}` becomes in a free-form question: ", the car or the dog"."""
    first, second = option_texts(fact)
    return f", {second} or {first}" if swapped else f", {first} or {second}"


def answer(fact: Fact, phrasing: str, scene: Layout | None = None) -> str:
    """A fact's answer as a sentence; phrasings with distances (`d_answer`, `d_other`) need the scene."""
    texts = option_texts(fact)
    slots = fact.slots | {"answer": texts[fact.answer], "other": texts[1 - fact.answer]}
    if "{d_" in phrasing:
        if scene is None:
            raise ValueError(f"{phrasing!r} tells distances and needs the scene")
        slots["d_answer"], slots["d_other"] = _distances(fact, scene)
    return sentence(phrasing.format(**slots))


def _distances(fact: Fact, scene: Layout) -> tuple[str, str]:
    order = {obj.id: k for k, obj in enumerate(scene.objects)}
    *roles, i, j = (order[id_] for id_ in fact.objects)
    table = scene.pair[roles[0]] if roles else scene.distance
    metres = table[i], table[j]
    return quantity(metres[fact.answer]), quantity(metres[1 - fact.answer])
