"""What can be asked of a picture without any 3D: colours, counts, presence, left and right in the picture, the place.
The general data sets are made of it; a design that saw nothing else should know no more about space than this."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from data_registry.questions.facts import Claim, Fact, between, which
from data_registry.questions.geometry import Layout, Margins, largest
from data_registry.questions.names import complete, confusable
from data_registry.questions.words import article, enumeration, number, plural, words
from data_registry.scene import Scene


def facts(
    scene: Layout, names: Mapping[str, Sequence[str]], margins: Margins, rng: random.Random
) -> Iterator[Claim | Fact]:
    """What two options ask of a picture; `names`: category names known for each kind of scene, for what is absent."""
    whole = scene.scene
    yield from _colors(scene, rng)
    yield from _counts(whole, rng)
    yield from _sides(scene, margins, rng)
    present = {o.name for o in whole.objects}
    there = present | set(whole.others)
    absent = [name for name in names[whole.kind] if name not in there] if complete(whole) else []
    for name in sorted(present):
        yield _word_fact("presence", {"a": article(name)}, "yes", "no", name)
        if absent:
            yield _word_fact("shown", {}, article(name), article(rng.choice(absent)))
    for name in rng.sample(absent, min(len(absent), len(present))):
        yield _word_fact("presence", {"a": article(name)}, "no", "yes", name)
    if whole.kind:
        yield _word_fact("scenery", {}, whole.kind, rng.choice([k for k in words()["scenery"] if k != whole.kind]))


def listing(scene: Scene, rng: random.Random) -> dict[str, str]:
    """Slots of a caption: the things from left to right with colours, then the groups with counts, and the place.

    A category of which some objects were dropped is left out, since its count is not known; so is every one in a
    picture of which regions were left out.
    """
    counts = _counted(scene)
    things = []
    shown = [scene.objects[k] for k in largest(scene.objects)]
    for obj in sorted(shown, key=lambda o: o.bbox[0] + o.bbox[2]):
        if counts[obj.name] == 1:
            noun = f"{obj.color} {obj.name}" if obj.color and rng.random() < 0.85 else obj.name
            things.append(article(noun))
    among = {obj.name for obj in shown}
    groups = [f"{number(n)} {plural(name)}" for name, n in counts.items() if n > 1 and name in among]
    things = [*things, *groups]
    if not things:
        return {}
    several = len(things) > 1 or bool(groups)
    slots = {"things": enumeration(things), "are": "are" if several else "is"}
    return slots | {"scenery": words()["scenery"].get(scene.kind, "")}


def _colors(scene: Layout, rng: random.Random) -> Iterator[Fact]:
    colors = words()["colors"]
    for k, obj in enumerate(scene.objects):
        if obj.color and obj.color in colors and scene.names[k] == obj.name:
            unlike = [c for c in colors if c != obj.color and frozenset((c, obj.color)) not in confusable()]
            yield _word_fact("color", {"x": f"the {obj.name}"}, obj.color, rng.choice(unlike))


def _counts(scene: Scene, rng: random.Random) -> Iterator[Fact]:
    for name, n in _counted(scene).items():
        noun = f"{number(n)} {plural(name)}" if n > 1 else f"one {name}"
        slots = {"plural": plural(name), "answer_noun": noun, "are": "are" if n > 1 else "is"}
        yield _word_fact("count", slots, number(n), number(n + rng.choice((-1, 1)) if n > 1 else 2))


def _counted(scene: Scene) -> Counter[str]:
    """How many there are of each category, where that is known."""
    dropped = set(scene.others)
    return Counter(o.name for o in scene.objects if o.name not in dropped) if complete(scene) else Counter()


def _sides(scene: Layout, margins: Margins, rng: random.Random) -> Iterator[Claim]:
    middle = [(o.bbox[0] + o.bbox[2]) / 2 / scene.scene.camera.width for o in scene.objects]
    for i, j in combinations(range(len(middle)), 2):
        if abs(middle[i] - middle[j]) >= margins.picture_side:
            x, y = (i, j) if rng.random() < 0.5 else (j, i)
            answer, other = ("left", "right") if middle[x] < middle[y] else ("right", "left")
            yield which("picture_side", scene, (x, y), answer, other)
            side = rng.choice(("left", "right"))
            yield between("leftmost", scene, i, j, i if (middle[i] < middle[j]) == (side == "left") else j, (), side)


def _word_fact(type_: str, slots: dict[str, str], answer: str, other: str, *key: str) -> Fact:
    options = (answer, other) if answer < other else (other, answer)
    return Fact(type_, (type_, *key, *options), int(answer > other), slots, options)
