"""What can stand in a rendered scene: 18 categories with a front, and scenery without.
Shapes come in variants drawn from (seed, name, variant), so that sets of different seeds share no shape."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from data_registry.render import creatures, furniture, scenery, tabletop, vehicles
from data_registry.render.mesh import Mesh, Part, assemble
from data_registry.render.palette import COLORS

VARIANTS = 24
KINDS = ("street", "room", "table")

_CHROMATIC = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
_DEVICES = ("black", "gray", "white")


@dataclass(frozen=True, slots=True)
class Category:
    """A named kind of object: how it is drawn, where it is found, and the colours it comes in."""

    draw: Callable[[Random], list[Part]]
    supercategory: str
    kinds: tuple[str, ...]
    colors: tuple[str, ...]
    size: tuple[float, float] = (0.92, 1.08)


_STREET, _ROOM, _TABLE = ("street",), ("room",), ("table",)

CATEGORIES: dict[str, Category] = {
    "car": Category(vehicles.car, "vehicle", _STREET, COLORS),
    "bus": Category(vehicles.bus, "vehicle", _STREET, COLORS),
    "truck": Category(vehicles.truck, "vehicle", _STREET, COLORS),
    "motorcycle": Category(vehicles.motorcycle, "vehicle", _STREET, COLORS),
    "airplane": Category(vehicles.airplane, "vehicle", _STREET, (*_CHROMATIC, "white", "gray")),
    "person": Category(creatures.person, "person", ("street", "room"), COLORS, (0.88, 1.06)),
    "dog": Category(creatures.dog, "animal", ("street", "room"), ("brown", "white", "gray", "black"), (0.78, 1.15)),
    "chair": Category(furniture.chair, "furniture", _ROOM, COLORS),
    "sofa": Category(furniture.sofa, "furniture", _ROOM, COLORS),
    "bed": Category(furniture.bed, "furniture", _ROOM, COLORS),
    "television": Category(furniture.television, "electronics", _ROOM, _DEVICES),
    "cabinet": Category(furniture.cabinet, "furniture", _ROOM, COLORS),
    "laptop": Category(tabletop.laptop, "electronics", _TABLE, (*_DEVICES, "red", "blue", "pink")),
    "mug": Category(tabletop.mug, "kitchen", _TABLE, COLORS),
    "duck": Category(tabletop.duck, "toy", _TABLE, ("yellow", "yellow", "white", "brown", "pink", "blue"), (0.8, 1.25)),
    "teapot": Category(tabletop.teapot, "kitchen", _TABLE, COLORS, (0.85, 1.15)),
    "shoe": Category(tabletop.shoe, "clothing", _TABLE, COLORS),
    "camera": Category(tabletop.camera, "electronics", _TABLE, COLORS),
}
NAMES = tuple(CATEGORIES)
NAMES_OF_KIND = {kind: tuple(n for n, c in CATEGORIES.items() if kind in c.kinds) for kind in KINDS}

_SCENERY: dict[str, Callable[[Random], list[Part]]] = {
    "tree": scenery.tree,
    "lamp post": scenery.lamp_post,
    "cone": scenery.cone,
    "parcel": scenery.parcel,
    "ball": scenery.ball,
    "vase": scenery.vase,
    "building": scenery.building,
}
SCENERY_OF_KIND = {
    "street": ("tree", "lamp post", "cone", "parcel"),
    "room": ("parcel", "ball", "vase"),
    "table": ("ball", "parcel", "vase"),
}


@lru_cache(maxsize=4096)
def shape(seed: int, name: str, variant: int) -> Mesh:
    """The mesh of a variant of a category or of scenery; the same in every process."""
    draw = CATEGORIES[name].draw if name in CATEGORIES else _SCENERY[name]
    return assemble(draw(Random(f"shape {seed} {name} {variant}")))
