"""The kinds of data sets, and of those that a training reads: how their records are made from scenes.
Recipes and makers are imported when a set is made, so that reading cards loads no question generator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from data_registry.questions.geometry import Margins
    from data_registry.scene import Scene


class Maker(Protocol):
    """Makes a set's records (`data_registry.conversations.record`) from scenes, and counts in `drops` what it leaves
    out. `recipe` is of the class that its kind names with it."""

    def __call__(
        self, scenes: Iterable[Scene], name: str, seed: int, recipe: Any, margins: Margins, drops: Counter[str]
    ) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """What the sets of a kind have in common.

    Attributes:
        made: returns the class of their recipes and what makes their records; None where no training reads such sets.
        given_type: the type that turns count as where the user brings the conversations.
    """

    made: Callable[[], tuple[type, Maker]] | None = None
    given_type: str = "general"


def _captions() -> tuple[type, Maker]:
    from data_registry.questions import general

    return general.CaptionRecipe, general.captions


def _instructions() -> tuple[type, Maker]:
    from data_registry.questions import general

    return general.GeneralRecipe, general.instructions


def _probing() -> tuple[type, Maker]:
    from data_registry.questions import probing

    return probing.ProbingRecipe, probing.captions


def _dialogue() -> tuple[type, Maker]:
    from data_registry.questions import dialogue

    return dialogue.DialogueRecipe, dialogue.conversations


KINDS: dict[str, Kind] = {
    "captions": Kind(_captions, "caption"),  # what is in a picture
    "instructions": Kind(_instructions, "instruction"),  # conversations on what any picture shows
    "probing": Kind(_probing),  # captions that state 3D facts
    "dialogue": Kind(_dialogue),  # conversations on 3D facts, with two-option questions
    "benchmark": Kind(),
    "source": Kind(),  # scenes or pictures that the others are made from
}
