"""3DI-Pb: captions that state depth and distance (OpenImages), or azimuth, elevation and size (ImageNet3D).
Captions, because stage 1's `plain` template throws the question away."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from data_registry import ranges
from data_registry.conversations import Turn, record
from data_registry.questions.geometry import Margins, layout
from data_registry.questions.statements import check_types, several
from data_registry.questions.words import words
from data_registry.scene import Scene


@dataclass(frozen=True, slots=True)
class ProbingRecipe:
    """How a probing caption is put together (params.yaml: data.*).

    Attributes:
        types: of statements (`statements.MAKERS`), each drawn as often as it is named here.
        sentences: fewest and most statements of one caption.
    """

    types: tuple[str, ...]
    sentences: ranges.Few = (2, 4)

    def __post_init__(self) -> None:
        ranges.check(self, "recipe")
        check_types("types", self.types)


def captions(
    scenes: Iterable[Scene], name: str, seed: int, recipe: ProbingRecipe, margins: Margins, drops: Counter[str]
) -> Iterator[dict[str, Any]]:
    """One caption per scene, made of statements; scenes without one are counted in `drops`."""
    for scene in scenes:
        rng = random.Random(f"{seed} {name} {scene.image}")
        wanted = rng.randint(*recipe.sentences)
        if statements := several(layout(scene, margins, drops), wanted, recipe.types, rng, margins):
            place = {o.id: o.bbox[0] + o.bbox[2] for o in scene.objects if o.bbox is not None}
            statements.sort(key=lambda statement: place[statement.objects[0]])  # from the left to the right
            caption = " ".join(statement.answer(rng) for statement in statements)
            yield record(f"{name}/{scene.image}", scene.image, [Turn(words()["probing"], caption, "caption")])
        else:
            drops["image: nothing to state"] += 1
