"""Free-form knowledge about a scene's objects: how far, where, facing which way, how two of them lie to each other.
A statement is a question with its answer; the answers alone are captions."""

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from data_registry.errors import InputError, nearest
from data_registry.questions.geometry import Layout, Margins
from data_registry.questions.phrasing import wordings
from data_registry.questions.words import elevation, enumeration, quantity, sector, sentence, words
from data_registry.scene import required


class Statement(NamedTuple):
    """What can be said about some objects: the type, the ids it is about, and what fills its phrasings."""

    type: str
    objects: tuple[int, ...]
    slots: dict[str, str]

    def question(self, rng: random.Random) -> str:
        """One of the type's questions."""
        return rng.choice(wordings()[self.type].training).format(**self.slots)

    def answer(self, rng: random.Random) -> str:
        """One of the type's answers, a sentence."""
        return sentence(rng.choice(wordings()[self.type].answers).format(**self.slots))


def object_distance(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """How far an object is from the viewer."""
    x = _one(scene, rng, scene.distance)
    return x if x is None else _about("object_distance", scene, (x,), d=quantity(scene.distance[x]))


def pair_distance(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """How far two objects are from each other, centre to centre."""
    x, y = _one(scene, rng, scene.distance), _one(scene, rng, scene.distance)
    if x is None or y is None or x == y:
        return None
    return _about("pair_distance", scene, (x, y), d=quantity(scene.pair[x][y]))


def object_place(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """In which third of the picture an object is, and how far."""
    x = _one(scene, rng, scene.distance)
    if x is None:
        return None
    return _about("object_place", scene, (x,), place=_place(scene, x), d=quantity(scene.distance[x]))


def object_facing(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """Which way an object faces, in eight directions seen from the viewer."""
    x = _one(scene, rng, scene.azimuth)
    return x if x is None else _about("object_facing", scene, (x,), **_facing(scene, x))


def object_pose(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """Place, distance and direction of an object in one sentence."""
    x = _one(scene, rng, scene.azimuth)
    if x is None or scene.distance[x] != scene.distance[x]:
        return None
    slots = _facing(scene, x) | {"place": _place(scene, x), "d": quantity(scene.distance[x])}
    return _about("object_pose", scene, (x,), **slots)


def pair_relation(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """In which of eight directions an object lies from the perspective of another."""
    x, y = _one(scene, rng, scene.azimuth), _one(scene, rng, scene.distance)
    if x is None or y is None or x == y or scene.bearing[x][y] != scene.bearing[x][y]:
        return None
    relation = words()["relation"][sector(scene.bearing[x][y])]
    return _about("pair_relation", scene, (x, y), relation=relation, d=quantity(scene.pair[x][y]))


def depth_order(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """Three or four objects from near to far, each clearly farther than the one before."""
    known = [k for k, d in enumerate(scene.distance) if d == d]
    if len(known) < 3:
        return None
    chosen = rng.sample(known, min(len(known), rng.choice((3, 4))))
    ordered = sorted(chosen, key=scene.distance.__getitem__)
    for near, far in pairwise(scene.distance[k] for k in ordered):
        if far - near < scene.closer_m or far < near * (1 + margins.closer_ratio):
            return None
    slots = {name: enumeration([f"the {scene.names[k]}" for k in group]) for name, group in
             (("objects", chosen), ("ordered", ordered))}  # fmt: skip
    return Statement("depth_order", tuple(scene.objects[k].id for k in ordered), slots)


def object_size(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """How tall an object is."""
    x = _one(scene, rng, scene.near)  # known only with dimensions
    if x is None:
        return None
    return _about("object_size", scene, (x,), h=quantity(float(required(scene.objects[x].dimensions)[1])))


def object_azimuth(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """The azimuth of an object in the steps of `words.yaml`, from 0 to below 360 as in ImageNet3D."""
    x = _one(scene, rng, scene.azimuth)
    if x is None:
        return None
    step = words()["azimuth_step_deg"]
    azimuth = str(round(scene.azimuth[x] / step) * step % 360)
    return _about("object_azimuth", scene, (x,), azimuth=azimuth, **_facing(scene, x))


def object_elevation(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """How high above an object the viewer is."""
    x = _one(scene, rng, scene.elevation)
    return x if x is None else _about("object_elevation", scene, (x,), elevation=elevation(scene.elevation[x]))


def object_width(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """How wide an object is, across its front; only where it has one."""
    turned = [near if azimuth == azimuth else azimuth for azimuth, near in zip(scene.azimuth, scene.near, strict=True)]
    x = _one(scene, rng, turned)
    if x is None:
        return None
    thing = scene.objects[x]
    front, R = required(thing.front), required(thing.R)
    lengthways = abs(front @ R[:, 0]) > abs(front @ R[:, 2])
    return _about("object_width", scene, (x,), w=quantity(float(required(thing.dimensions)[0 if lengthways else 2])))


def level_distance(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """How far two objects are from each other along the ground, centre to centre."""
    if (apart := _apart(scene, rng)) is None:
        return None
    pair, across, _ = apart
    return _about("level_distance", scene, pair, across=quantity(across))


def height_difference(scene: Layout, margins: Margins, rng: random.Random) -> Statement | None:
    """How much higher the centre of an object is than that of another, where it clearly is."""
    apart = _apart(scene, rng)
    if apart is None or apart[2] < scene.closer_m:
        return None
    pair, _, climb = apart
    return _about("height_difference", scene, pair, climb=quantity(climb))


Maker = Callable[[Layout, Margins, random.Random], Statement | None]

MAKERS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        object_distance,
        pair_distance,
        object_place,
        object_facing,
        object_pose,
        pair_relation,
        depth_order,
        object_size,
        object_azimuth,
        object_elevation,
        object_width,
        level_distance,
        height_difference,
    )
}
# What conversations draw from unless their recipe says otherwise.
SPATIAL = (
    "object_distance",
    "pair_distance",
    "object_place",
    "object_facing",
    "object_pose",
    "pair_relation",
    "depth_order",
)


def check_types(key: str, types: Sequence[str]) -> None:
    """That a recipe's `key` names statements; InputError with the nearest name where it does not."""
    if not types:
        raise InputError(f"recipe.{key}: names no type of statement; there are {', '.join(MAKERS)}")
    for name in types:
        if name not in MAKERS:
            raise InputError(f"recipe.{key}: {name!r}: unknown, {nearest(name, MAKERS)}")


def several(scene: Layout, wanted: int, types: Sequence[str], rng: random.Random, margins: Margins) -> list[Statement]:
    """Up to `wanted` different statements of a scene; fewer where it has no more to say."""
    statements: dict[tuple, Statement] = {}
    for _ in range(6 * wanted):
        if len(statements) == wanted:
            break
        statement = MAKERS[rng.choice(types)](scene, margins, rng)
        if statement is not None:
            # One order of depth says it all: a second one would repeat most of it.
            about = () if statement.type == "depth_order" else statement.objects
            statements.setdefault((statement.type, about), statement)
    return list(statements.values())


def _one(scene: Layout, rng: random.Random, needs: list[float]) -> int | None:
    known = [k for k, value in enumerate(needs) if value == value]
    return rng.choice(known) if known else None


def _apart(scene: Layout, rng: random.Random) -> tuple[tuple[int, int], float, float] | None:
    """Two objects, and how far the first is from the second: metres along the ground, and metres up."""
    x, y, up = _one(scene, rng, scene.distance), _one(scene, rng, scene.distance), scene.scene.camera.up
    if x is None or y is None or x == y or up is None:
        return None
    way = required(scene.objects[x].center) - required(scene.objects[y].center)
    climb = float(way @ up)
    return (x, y), math.sqrt(max(float(way @ way) - climb**2, 0)), climb


def _about(type_: str, scene: Layout, chosen: tuple[int, ...], **slots: str) -> Statement:
    names = {role: f"the {scene.names[k]}" for role, k in zip("xy", chosen, strict=False)}
    return Statement(type_, tuple(scene.objects[k].id for k in chosen), names | slots)


def _place(scene: Layout, x: int) -> str:
    box = scene.objects[x].bbox
    third = int(3 * (box[0] + box[2]) / 2 / scene.scene.camera.width)
    return words()["place"][min(max(third, 0), 2)]


def _facing(scene: Layout, x: int) -> dict[str, str]:
    direction = sector(scene.azimuth[x])
    return {"facing": words()["facing"][direction], "seen": words()["seen"][direction]}
