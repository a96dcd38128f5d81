"""Worlds imagined in words: things on the ground around a narrator, with where they are and where their fronts point.
Names and colours are drawn apart from the geometry, so that nothing can be guessed from a name."""

import math
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np

from data_registry.render.catalog import NAMES
from data_registry.render.palette import COLORS
from data_registry.scene import Camera, Scene, SceneObject

# kind: nearest and farthest range in metres, smallest gap between things, word for the unit and metres per unit.
KINDS = {
    "street": (4.0, 30.0, 1.8, "feet", 0.3048),
    "room": (1.5, 7.0, 0.5, "hands", 0.1016),
    "table": (0.4, 1.3, 0.1, "cm", 0.01),
}
SURROUNDINGS = {
    "street": ("asphalt", "grass", "sky", "pavement", "sand", "houses"),
    "room": ("floor", "wall", "carpet", "planks", "ceiling", "tiles"),
    "table": ("tabletop", "wood", "wall", "cloth", "board", "floor"),
}
# Things with a front that only the text knows, beside the eighteen that are also rendered.
OTHER_NAMES = (
    "boat", "cat", "clock", "desk", "drone", "fridge", "goat", "lamp", "lion", "oven", "piano", "robot", "scooter",
    "sheep", "stove", "tractor", "train", "van", "woman", "man", "child", "printer", "mirror", "bicycle", "horse",
    "cow",
)  # fmt: skip
FIELD_OF_VIEW_DEG = 72.0
SLICES = 12  # the field of view, cut from left to right


@dataclass(frozen=True)
class Thing:
    """One thing of a world as its narrator sees it.

    Attributes:
        name, color: words.
        label: words that single it out in its world ("red car", or "car" where there is one car).
        east, north: metres on the ground to the narrator's right and straight ahead.
        range_m: metres from the narrator's eye.
        heading: degrees clockwise from north of the way its front points: 0 away from the narrator, 90 to the right.
    """

    name: str
    color: str
    label: str
    east: float
    north: float
    range_m: float
    heading: float

    @cached_property
    def bearing(self) -> float:
        """Degrees clockwise from the narrator's straight ahead."""
        return math.degrees(math.atan2(self.east, self.north))

    def toward(self, other: "Thing") -> float:
        """Degrees clockwise from this thing's front to the other thing, in (-180, 180]: 90 is its right hand."""
        return wrap(math.degrees(math.atan2(other.east - self.east, other.north - self.north)) - self.heading)

    def shown(self) -> float:
        """Degrees clockwise from this thing's front to the narrator: 0 shows the front, 90 its right side."""
        return wrap(math.degrees(math.atan2(-self.east, -self.north)) - self.heading)

    def apart(self, other: "Thing") -> float:
        """Metres on the ground between the centres."""
        return math.hypot(other.east - self.east, other.north - self.north)


def wrap(degrees: float) -> float:
    """The same angle in (-180, 180]."""
    return 180.0 - (180.0 - degrees) % 360.0


def imagine(rng: Random, most: int = 6) -> Scene:
    """A scene that nobody rendered: two to `most` things at random, as a `Scene` record without an image."""
    kind = rng.choice(list(KINDS))
    near, far, gap, _, _ = KINDS[kind]
    eye_m = rng.uniform(0.15, 0.5) * near
    names = _draw_names(rng, rng.randint(2, most))
    spots: list[tuple[float, float]] = []
    objects: list[SceneObject] = []
    for name in names:
        for _ in range(20):
            ground = math.exp(rng.uniform(math.log(near), math.log(far)))
            angle = math.radians(rng.uniform(-FIELD_OF_VIEW_DEG / 2, FIELD_OF_VIEW_DEG / 2))
            spot = ground * math.sin(angle), ground * math.cos(angle)
            if all(math.dist(spot, other) > gap for other in spots):
                break
        else:
            continue  # a crowded corner: this thing stays out of the world
        spots.append(spot)
        objects.append(_object(len(objects), name, rng.choice(COLORS), spot, eye_m, rng.uniform(-180, 180)))
    camera = Camera(96, 96, np.array([[96.0, 0, 48], [0, 96, 48], [0, 0, 1]]), np.array([0.0, -1, 0]))
    return Scene("imagined", "", camera, tuple(objects), kind=kind)


def things(scene: Scene) -> list[Thing]:
    """The things of a scene that words can single out, in the narrator's ground coordinates.

    Objects without a position, a front or a colour are left out, and so is whatever shares name and colour with
    another. Fronts are projected on the ground; where gravity is unknown the camera is taken as level.
    """
    up = np.array([0.0, -1.0, 0.0]) if scene.camera.up is None else scene.camera.up
    north = np.array([0.0, 0.0, 1.0]) - up[2] * up
    north /= np.linalg.norm(north)
    east = np.cross(north, up)
    names = [o.name for o in scene.objects] + list(scene.others)
    looks = [(o.name, o.color) for o in scene.objects]
    described = []
    for obj in scene.objects:
        if obj.center is None or obj.front is None or obj.color is None:
            continue
        single = names.count(obj.name) == 1
        if not single and (looks.count((obj.name, obj.color)) > 1 or obj.name in scene.others):
            continue
        described.append(
            Thing(
                obj.name,
                obj.color,
                obj.name if single else f"{obj.color} {obj.name}",
                float(obj.center @ east),
                float(obj.center @ north),
                float(np.linalg.norm(obj.center)),
                math.degrees(math.atan2(obj.front @ east, obj.front @ north)),
            )
        )
    return described


def _draw_names(rng: Random, count: int) -> list[str]:
    pool = [rng.choice(OTHER_NAMES if rng.random() < 0.25 else NAMES) for _ in range(count)]
    if rng.random() < 0.8:  # mostly one of each, as a name is then enough to refer to it
        pool = list(dict.fromkeys(pool))
    return pool


def _object(
    index: int, name: str, color: str, spot: tuple[float, float], eye_m: float, heading_deg: float
) -> SceneObject:
    heading = math.radians(heading_deg)
    front = np.array([math.sin(heading), 0.0, math.cos(heading)])
    down = np.array([0.0, 1.0, 0.0])
    rotation = np.stack([front, down, np.cross(front, down)], axis=1)
    center = np.array([spot[0], eye_m, spot[1]])
    return SceneObject(index, name, center, None, rotation, front, np.zeros(4), color)
