"""A sampled world: bodies on the ground, light, surfaces and a camera, with the exact boxes they have in an image.
World frame: x right, y forward, z up, metres, ground (or table top) at z = 0. Nothing here knows of pixels."""

import math
from dataclasses import dataclass

import numpy as np

from data_registry.render.mesh import Mesh

Vec3 = tuple[float, float, float]
Mat3 = tuple[Vec3, Vec3, Vec3]


@dataclass(frozen=True, slots=True)
class View:
    """A square pinhole camera.

    Attributes:
        focal: focal length in image widths; the principal point is the image's centre.
        position: in the world.
        rotation: world -> camera; its rows are the camera's right, down and forward axes.
    """

    focal: float
    position: Vec3
    rotation: Mat3

    @property
    def pitch(self) -> float:
        """How far the camera looks down, radians."""
        return math.asin(max(-1.0, min(1.0, -self.rotation[2][2])))

    @property
    def roll(self) -> float:
        """Turn about the viewing direction, radians."""
        return math.atan2(self.rotation[0][2], -self.rotation[1][2])


@dataclass(frozen=True, slots=True)
class Body:
    """A shape that stands in the world, its foot at position.

    rotation: model frame (x front, y left, z up) -> world.
    """

    name: str
    color: str
    mesh: Mesh
    palette: np.ndarray
    scale: float
    rotation: Mat3
    position: Vec3

    @property
    def dimensions(self) -> Vec3:
        """Width, height, length in metres (Omni3D's order)."""
        length, width, height = self.mesh.size
        return width * self.scale, height * self.scale, length * self.scale


@dataclass(frozen=True, slots=True)
class Light:
    """direction: unit vector towards the sun; sun, sky: RGB strength of direct and ambient light."""

    direction: Vec3
    sun: Vec3
    sky: Vec3


@dataclass(frozen=True, slots=True)
class Surface:
    """A pattern on a plane. period: its size in metres; angle: its turn in radians; lattice: seed of its grain."""

    pattern: str
    first: Vec3
    second: Vec3
    period: float
    angle: float
    lattice: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What surrounds the bodies.

    Attributes:
        ground: surface of the plane z = 0 (street, floor of a room, table top).
        wall, floor: surfaces of the room's walls, and of the floor below a table.
        room: x0, x1, y0, y1, z0, z1 of the room's inside in its own axes, or None outdoors.
        table: x0, x1, y0, y1 of the table top in the room's axes, or None.
        yaw: turn of the room's axes, radians.
        sky: RGB overhead and at the horizon.
    """

    ground: Surface
    wall: Surface
    floor: Surface
    room: tuple[float, ...] | None
    table: tuple[float, ...] | None
    yaw: float
    sky: tuple[Vec3, Vec3]


@dataclass(frozen=True, slots=True)
class World:
    """Image `index` of set `seed`, before any pixel is drawn.

    Attributes:
        kind: "street", "room" or "table".
        bodies: labelled objects first, then scenery.
        labelled: how many of the bodies are labelled.
        grain: standard deviation of the pixel noise, in 0..1.
    """

    seed: int
    index: int
    kind: str
    view: View
    bodies: tuple[Body, ...]
    labelled: int
    light: Light
    setting: Setting
    grain: float


@dataclass(frozen=True, slots=True)
class Box:
    """A body's box as a camera sees it, in Omni3D's frame: +x right, +y down, +z forward, metres.

    Attributes:
        center: of the box. rotation: object (x front, y down, z left) -> camera.
        corners: v0..v7 in Omni3D's order.
        extent: x0, y0, x1, y1 of the projected corners in image widths; None unless all are before the camera.
    """

    center: Vec3
    rotation: Mat3
    corners: tuple[Vec3, ...]
    extent: tuple[float, float, float, float] | None

    @property
    def clipped(self) -> tuple[float, float, float, float]:
        """The extent's part inside the image; zero width or height where there is none."""
        x0, y0, x1, y1 = (min(max(v, 0.0), 1.0) for v in self._projected)
        return x0, y0, x1, y1

    @property
    def truncation(self) -> float:
        """Share of the projected box outside the image."""
        x0, y0, x1, y1 = self._projected
        a0, b0, a1, b1 = self.clipped
        return 1 - (a1 - a0) * (b1 - b0) / ((x1 - x0) * (y1 - y0))

    @property
    def _projected(self) -> tuple[float, float, float, float]:
        if self.extent is None:
            raise ValueError("a box that is not all before the camera has no extent")
        return self.extent


def box_in_view(view: View, dimensions: Vec3, rotation: Mat3, position: Vec3) -> Box:
    """The box of a body of these dimensions (w, h, l) and pose, seen from view.

    Plain Python: on single boxes it is several times as fast as numpy, and it rounds alike on every processor.
    """
    width, height, length = dimensions
    camera = product(view.rotation, rotation)
    half = height / 2
    up = (rotation[0][2] * half, rotation[1][2] * half, rotation[2][2] * half)
    x, y, z = (p + u - c for p, u, c in zip(position, up, view.position, strict=True))
    center = apply(view.rotation, (x, y, z))
    first, second, third = ((row[0], -row[2], row[1]) for row in camera)
    turned = (first, second, third)
    fx, fy, fz = (row[0] * length / 2 for row in turned)
    dx, dy, dz = (row[1] * height / 2 for row in turned)
    lx, ly, lz = (row[2] * width / 2 for row in turned)
    cx, cy, cz = center
    corners = tuple(
        (cx + a * fx + b * dx + c * lx, cy + a * fy + b * dy + c * ly, cz + a * fz + b * dz + c * lz)
        for a, b, c in _CORNERS
    )
    extent = None
    if min(corner[2] for corner in corners) > 0:
        u = [0.5 + view.focal * x / z for x, _, z in corners]
        v = [0.5 + view.focal * y / z for _, y, z in corners]
        extent = (min(u), min(v), max(u), max(v))
    return Box(center, turned, corners, extent)


def body_box(view: View, body: Body) -> Box:
    return box_in_view(view, body.dimensions, body.rotation, body.position)


# ---------------------------------------------------------------- small vectors

_CORNERS = ((-1, -1, -1), (1, -1, -1), (1, 1, -1), (-1, 1, -1), (-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1))


def product(a: Mat3, b: Mat3) -> Mat3:
    columns = transpose(b)
    first, second, third = (apply(columns, row) for row in a)
    return first, second, third


def apply(m: Mat3, v: Vec3) -> Vec3:
    x, y, z = v
    first, second, third = (r[0] * x + r[1] * y + r[2] * z for r in m)
    return first, second, third


def transpose(m: Mat3) -> Mat3:
    first, second, third = zip(*m, strict=True)
    return first, second, third


def turn(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Mat3:
    """Model -> world: roll about the front, pitch (nose up), then yaw about the vertical, radians."""
    c, s = math.cos(yaw), math.sin(yaw)
    around: Mat3 = ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0))
    if pitch == 0 and roll == 0:
        return around
    cp, sp, cr, sr = math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll)
    raised: Mat3 = ((cp, 0.0, -sp), (0.0, 1.0, 0.0), (sp, 0.0, cp))
    rolled: Mat3 = ((1.0, 0.0, 0.0), (0.0, cr, -sr), (0.0, sr, cr))
    return product(around, product(raised, rolled))


def look(yaw: float, pitch: float, roll: float) -> Mat3:
    """World -> camera for a camera that looks along +y turned by yaw, down by pitch, with roll, radians."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    right, down = (cy, sy, 0.0), (sy * sp, -cy * sp, -cp)
    forward = (-sy * cp, cy * cp, -sp)
    cr, sr = math.cos(roll), math.sin(roll)
    across: Vec3 = (cr * right[0] + sr * down[0], cr * right[1] + sr * down[1], cr * right[2] + sr * down[2])
    below: Vec3 = (cr * down[0] - sr * right[0], cr * down[1] - sr * right[1], cr * down[2] - sr * right[2])
    return across, below, forward
