"""3DI-Pb: captions that state depth and distance (OpenImages), or azimuth, elevation and size (ImageNet3D).
Captions, because stage 1's `plain` template throws the question away."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from data_registry.conversations import Turn, record
from data_registry.questions.geometry import Margins, layout
from data_registry.questions.statements import several
from data_registry.scene import Scene

DEPTH = ("object_distance", "pair_distance", "object_distance", "depth_order")
POSE = ("object_azimuth",) * 5 + ("object_elevation",)
QUESTION = "Describe the objects."


@dataclass(frozen=True, slots=True)
class ProbingRecipe:
    """How a probing caption is put together: `sentences` are the fewest and most statements in one caption."""

    sentences: tuple[int, int] = (2, 4)


def captions(
    scenes: Iterable[Scene],
    name: str,
    types: Sequence[str],
    seed: int,
    recipe: ProbingRecipe,
    margins: Margins,
    drops: Counter[str],
) -> Iterator[dict[str, Any]]:
    """One caption per scene, made of statements of the given types; scenes without one are counted in `drops`."""
    for scene in scenes:
        rng = random.Random(f"{seed} {name} {scene.image}")
        wanted = rng.randint(*recipe.sentences)
        if statements := several(layout(scene, margins, drops), wanted, types, rng, margins):
            place = {o.id: o.bbox[0] + o.bbox[2] for o in scene.objects if o.bbox is not None}
            statements.sort(key=lambda statement: place[statement.objects[0]])  # from the left to the right
            caption = " ".join(statement.answer(rng) for statement in statements)
            yield record(f"{name}/{scene.image}", scene.image, [Turn(QUESTION, caption, "caption")])
        else:
            drops["image: nothing to state"] += 1
