"""3DI-Ft: conversations that mix distance, orientation and spatial relation, with letters, free answers and statements.
Every question comes from a couple of opposite answers (`balance`), so that the names alone tell nothing."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from data_registry import ranges
from data_registry.conversations import Turn, record
from data_registry.errors import InputError, nearest
from data_registry.questions.balance import Placed, couples, shards
from data_registry.questions.facts import Claim, fact
from data_registry.questions.general import question
from data_registry.questions.geometry import Layout, Margins, layout
from data_registry.questions.statements import MAKERS, SPATIAL, check_types, several
from data_registry.questions.types import QUESTION_TYPES, claims
from data_registry.scene import Scene


@dataclass(frozen=True, slots=True)
class DialogueRecipe:
    """How a 3D-informed conversation is put together (params.yaml: data.*).

    Attributes:
        turns: fewest and most turns of one image.
        statement_share: share of the turns that state something of one object or a pair; in a study of tiny models
            these were worth 12 to 16 points on the two-option questions.
        choice_share: share of the other turns put as options with letters; the rest is answered in free form.
        shard: scenes among which answers are balanced; bounds the memory.
        statements: types of statements (`statements.MAKERS`), each drawn as often as it is named here.
        extra: types beyond those: two-option ones (`types.QUESTION_TYPES`) or of statements.
    """

    turns: ranges.Few = (6, 10)
    statement_share: ranges.Share = 0.4
    choice_share: ranges.Share = 0.75
    shard: ranges.Count = 2500
    statements: tuple[str, ...] = SPATIAL
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ranges.check(self, "recipe")
        check_types("statements", self.statements)
        for name in self.extra:
            if name not in QUESTION_TYPES and name not in MAKERS:
                raise InputError(f"recipe.extra: {name!r}: unknown, {nearest(name, [*QUESTION_TYPES, *MAKERS])}")


def conversations(
    scenes: Iterable[Scene], name: str, seed: int, recipe: DialogueRecipe, margins: Margins, drops: Counter[str]
) -> Iterator[dict[str, Any]]:
    """One conversation per scene that supports enough turns; the others are counted in `drops`."""
    for index, shard in enumerate(shards(scenes, recipe.shard)):
        yield from _shard(shard, name, seed, index, recipe, margins, drops)


def _shard(
    scenes: Sequence[Scene], name: str, seed: int, index: int, recipe: DialogueRecipe, margins: Margins,
    drops: Counter[str],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Of one shard; on its own, so that its layouts and pools are gone before the next one has any."""
    layouts = [layout(scene, margins, drops) for scene in scenes]
    placed = (
        Placed(k, claim) for k, scene in enumerate(layouts) for claim in claims(scene, margins, drops, recipe.extra)
    )
    pools = _pools(len(scenes), placed, random.Random(f"{seed} {name} {index}"))
    for scene, pool in zip(layouts, pools, strict=True):
        rng = random.Random(f"{seed} {name} {scene.scene.image}")
        turns = _turns(scene, pool, rng, recipe, margins)
        if len(turns) < recipe.turns[0]:
            drops["image: too few facts"] += 1
        else:
            yield record(f"{name}/{scene.scene.image}", scene.scene.image, turns)


Pool = dict[str, dict[str, list[tuple[Claim, bool]]]]  # class -> type -> claims, each with the order of its options


def _pools(n: int, placed: Iterator[Placed[Claim]], rng: random.Random) -> list[Pool]:
    pools: list[Pool] = [{} for _ in range(n)]
    for couple in couples(placed, rng):
        swapped = rng.random() < 0.5
        for k, claim in couple:
            class_ = QUESTION_TYPES[claim.type].class_
            pools[k].setdefault(class_, {}).setdefault(claim.type, []).append((claim, swapped))
    return pools


def _turns(scene: Layout, pool: Pool, rng: random.Random, recipe: DialogueRecipe, margins: Margins) -> list[Turn]:
    wanted = rng.randint(*recipe.turns)
    stated = round(wanted * recipe.statement_share)
    turns: list[Turn] = []
    while len(turns) < wanted - stated and pool:
        class_ = rng.choice(sorted(pool))
        type_ = rng.choice(sorted(pool[class_]))
        claim, swapped = pool[class_][type_].pop()
        if not pool[class_][type_]:
            del pool[class_][type_]
        if not pool[class_]:
            del pool[class_]
        turns.append(question(fact(claim, scene), swapped, rng, rng.random() < recipe.choice_share, scene))
    types = (*recipe.statements, *[name for name in recipe.extra if name in MAKERS])
    for statement in several(scene, wanted - len(turns), types, rng, margins):
        turns.append(Turn(statement.question(rng), statement.answer(rng), statement.type))
    rng.shuffle(turns)
    return turns
