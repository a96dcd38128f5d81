"""The general data sets' stand-ins: captions (CC558K) and instructions (Mix665K) on what any picture shows.
They know categories, colours, counts and the picture's left and right, and nothing about 3D space."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_registry import ranges
from data_registry.conversations import Turn, multiple_choice, record
from data_registry.questions import picture
from data_registry.questions.balance import Placed, couples, shards
from data_registry.questions.facts import Claim, Fact, fact
from data_registry.questions.geometry import Layout, Margins, layout
from data_registry.questions.phrasing import answer, ask, choice, option_texts, wordings
from data_registry.questions.words import article, number, sentence, words
from data_registry.scene import Scene


@dataclass(frozen=True, slots=True)
class GeneralRecipe:
    """How a general conversation is put together (params.yaml: data.*).

    Attributes:
        turns: fewest and most turns of one image.
        choice_share: share of the questions put as options with letters; the rest is answered in free form.
        listing_share: share of the turns that list what is in the picture.
        text_share: share of the samples without an image.
        shard: scenes among which answers are balanced; bounds the memory.
    """

    turns: ranges.Few = (6, 10)
    choice_share: ranges.Share = 0.6
    listing_share: ranges.Share = 0.15
    text_share: ranges.Share = 0.06
    shard: ranges.Count = 2500

    def __post_init__(self) -> None:
        ranges.check(self, "recipe")


@dataclass(frozen=True, slots=True)
class CaptionRecipe:
    """Captions of what is in a picture leave nothing to choose."""


def names_by_kind(scenes: Sequence[Scene]) -> dict[str, list[str]]:
    """The category names that occur in each kind of scene, sorted."""
    names_of: dict[str, set[str]] = {}
    for scene in scenes:
        names_of.setdefault(scene.kind, set()).update(o.name for o in scene.objects)
    return {kind: sorted(names) for kind, names in names_of.items()}


def captions(
    scenes: Iterable[Scene], name: str, seed: int, recipe: CaptionRecipe, margins: Margins, drops: Counter[str]
) -> Iterator[dict[str, Any]]:
    """One caption per scene: the stand-in of CC558K."""
    for scene in scenes:
        rng = random.Random(f"{seed} {name} {scene.image}")
        if turn := _listing("caption", scene, rng):
            yield record(f"{name}/{scene.image}", scene.image, [turn])
        else:
            drops["image: nothing to name"] += 1


def instructions(
    scenes: Iterable[Scene], name: str, seed: int, recipe: GeneralRecipe, margins: Margins, drops: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Conversations about pictures, and some without one: the stand-in of Mix665K."""
    for index, shard in enumerate(shards(scenes, recipe.shard)):
        yield from _shard(shard, name, seed, index, recipe, margins, drops)


def _shard(
    scenes: Sequence[Scene], name: str, seed: int, index: int, recipe: GeneralRecipe, margins: Margins,
    drops: Counter[str],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Of one shard; on its own, so that its layouts and pools are gone before the next one has any."""
    layouts = [layout(scene, margins, drops) for scene in scenes]
    pools = _pools(layouts, names_by_kind(scenes), margins, random.Random(f"{seed} {name} {index}"))
    for scene, known, pool in zip(scenes, layouts, pools, strict=True):
        rng = random.Random(f"{seed} {name} {scene.image}")
        if rng.random() < recipe.text_share:
            turns = [_text_only(rng) for _ in range(rng.randint(*recipe.turns))]
            yield record(f"{name}/text/{scene.image}", None, turns)
            continue
        turns = _about_picture(known, pool, rng, recipe)
        if len(turns) < recipe.turns[0]:
            drops["image: too few facts"] += 1
        else:
            yield record(f"{name}/{scene.image}", scene.image, turns)


Pool = dict[str, list[tuple[Claim | Fact, bool]]]  # type -> claims, each with the order of its options


def _pools(
    layouts: Sequence[Layout], known: Mapping[str, Sequence[str]], margins: Margins, rng: random.Random
) -> list[Pool]:
    """Per scene and type the balanced facts, each with the order of its options."""
    placed = (
        Placed(k, claim) for k, scene in enumerate(layouts) for claim in picture.facts(scene, known, margins, rng)
    )
    pools: list[Pool] = [{} for _ in layouts]
    for couple in couples(placed, rng):
        swapped = rng.random() < 0.5
        for k, claim in couple:
            pools[k].setdefault(claim.type, []).append((claim, swapped))
    return pools


def _about_picture(scene: Layout, pool: Pool, rng: random.Random, recipe: GeneralRecipe) -> list[Turn]:
    turns: list[Turn] = []
    wanted = rng.randint(*recipe.turns)
    while len(turns) < wanted and pool:
        if rng.random() < recipe.listing_share and (turn := _listing("listing", scene.scene, rng)):
            turns.append(turn)
            continue
        type_ = rng.choice(sorted(pool))
        claim, swapped = pool[type_].pop()
        if not pool[type_]:
            del pool[type_]
        known = fact(claim, scene) if isinstance(claim, Claim) else claim
        turns.append(question(known, swapped, rng, rng.random() < recipe.choice_share))
    return turns


def question(fact: Fact, swapped: bool, rng: random.Random, lettered: bool, scene: Layout | None = None) -> Turn:
    """A fact as a turn: with options and a letter for an answer, or in free form where the type has such answers."""
    wording = wordings()[fact.type]
    phrasing = rng.choice(wording.training)
    if lettered or not wording.answers:
        options = option_texts(fact)
        right = fact.answer != swapped  # index of the right option after swapping
        return Turn(multiple_choice(ask(fact, phrasing), options[:: -1 if swapped else 1]), "AB"[right], fact.type)
    human = ask(fact, phrasing, choice(fact, swapped) if "{choice}" in phrasing else "")
    return Turn(human, answer(fact, rng.choice(wording.answers), scene), fact.type)


def _listing(type_: str, scene: Scene, rng: random.Random) -> Turn | None:
    slots = picture.listing(scene, rng)
    if not slots:
        return None
    wording = wordings()[type_]
    text = rng.choice(wording.answers).format(**slots).replace(" .", ".")
    return Turn(rng.choice(wording.training), sentence(text), type_)


def _text_only(rng: random.Random) -> Turn:
    if rng.random() < 0.5:
        m, n = rng.randint(1, 5), rng.randint(1, 5)
        human = rng.choice(wordings()["sum"].training).format(m=number(m), n=number(n))
        return Turn(human, sentence(f"{number(m + n)}."), "sum")
    kinds = words()["kinds"]
    kind, other = rng.sample(sorted(kinds), 2)
    options = [rng.choice(kinds[kind]), rng.choice(kinds[other])]
    right = rng.randrange(2)
    human = rng.choice(wordings()["kind"].training).format(a_kind=article(kind))
    return Turn(multiple_choice(human, options[:: -1 if right else 1]), "AB"[right], "kind")
