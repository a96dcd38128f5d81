"""Triangle meshes and the primitives that the rendered objects are made of.
A primitive is a `Part`; an object is a list of parts that `assemble` makes into one `Mesh`."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_registry.render.palette import SLOT

Vector = Sequence[float]


class Part(NamedTuple):
    """Triangles of one material in the object's frame: x = front, y = left, z = up, metres.

    corners, normals: (m, 3, 3) float64, counter-clockwise seen from outside. slot: index of the material.
    """

    corners: np.ndarray
    normals: np.ndarray
    slot: int

    def at(self, x: float, y: float, z: float) -> "Part":
        return Part(self.corners + np.array([x, y, z]), self.normals, self.slot)

    def turned(self, rotation: np.ndarray) -> "Part":
        return Part(_rotate(self.corners, rotation), _rotate(self.normals, rotation), self.slot)


@dataclass(frozen=True, slots=True)
class Mesh:
    """A rigid object resting on z = 0, its ground rectangle centred on the origin.

    Attributes:
        points: (3 axes, 3 corners, m) float32 corners of the triangles; by axis, because that is how they are used.
        normals: (3 axes, 3 corners, m) float32 unit normals at the corners.
        plane: (4, m) float32; a triangle faces point p where plane[:3] . p > plane[3].
        slot: (m,) intp, index of each triangle's material.
        size: length (x), width (y), height (z) in metres.
    """

    points: np.ndarray
    normals: np.ndarray
    plane: np.ndarray
    slot: np.ndarray
    size: tuple[float, float, float]


def assemble(parts: Iterable[Part], scale: float = 1.0) -> Mesh:
    """One mesh of all parts, scaled, centred in x and y, standing on z = 0."""
    parts = list(parts)
    corners = np.concatenate([p.corners for p in parts]) * scale
    normals = np.concatenate([p.normals for p in parts])
    low, high = corners.min((0, 1)), corners.max((0, 1))
    corners = corners - np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    face = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    offset = (face * corners[:, 0]).sum(1)
    length, width, height = (float(v) for v in high - low)
    return Mesh(
        points=np.ascontiguousarray(corners.transpose(2, 1, 0), np.float32),
        normals=np.ascontiguousarray(normals.transpose(2, 1, 0), np.float32),
        plane=np.ascontiguousarray(np.column_stack([face, offset]).T, np.float32),
        slot=np.repeat([p.slot for p in parts], [len(p.corners) for p in parts]).astype(np.intp),
        size=(length, width, height),
    )


# ---------------------------------------------------------------- rotations


def about_x(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def about_y(angle: float) -> np.ndarray:
    """Positive angles dip the front (x towards -z)."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1.0, 0], [-s, 0, c]])


# ---------------------------------------------------------------- primitives


def flat(material: str, triangles: np.ndarray | Sequence) -> Part:
    """Triangles (m, 3, 3) with the normals of their faces; triangles without area are left out."""
    corners = np.asarray(triangles, float)
    face = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.sqrt((face * face).sum(1))
    keep = length > 1e-12
    normals = np.repeat((face[keep] / length[keep, None])[:, None], 3, 1)
    return Part(corners[keep], normals, SLOT[material])


def frustum(material: str, bottom: Vector, top: Vector, z0: float, z1: float) -> Part:
    """A box whose bottom and top are the rectangles (x0, x1, y0, y1) at heights z0 < z1."""
    ring = [[(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)] for (x0, x1, y0, y1), z in ((bottom, z0), (top, z1))]
    corners = np.array(ring[0] + ring[1])
    return flat(material, corners[_BOX_FACES])


def box(material: str, length: float, width: float, height: float) -> Part:
    """A box along x, y, z, centred on the origin."""
    x, y = length / 2, width / 2
    return frustum(material, (-x, x, -y, y), (-x, x, -y, y), -height / 2, height / 2)


def prism(material: str, outline: Sequence[Vector], y0: float, y1: float) -> Part:
    """An (x, z) outline, star-shaped about its mean, drawn out from y0 to y1."""
    points = np.asarray(outline, float)
    following = np.roll(points, -1, 0)
    if (points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum() < 0:
        points, following = following, points
    middle = np.broadcast_to(points.mean(0), points.shape)

    def at(p: np.ndarray, y: float) -> np.ndarray:
        return np.stack([p[:, 0], np.full(len(p), y), p[:, 1]], -1)

    a0, b0, a1, b1 = at(points, y0), at(following, y0), at(points, y1), at(following, y1)
    triangles = [(a0, a1, b1), (a0, b1, b0), (at(middle, y0), a0, b0), (at(middle, y1), b1, a1)]
    return flat(material, np.concatenate([np.stack(t, 1) for t in triangles]))


def lathe(material: str, profile: Sequence[Vector], sides: int = 12) -> Part:
    """A (radius, z) profile turned about z; the outside is on the right of the profile's direction."""
    outline = np.asarray(profile, float)
    step = np.diff(outline, axis=0)
    out = np.stack([step[:, 1], -step[:, 0]], -1)
    out /= np.sqrt((out * out).sum(1, keepdims=True))
    circle = _circle(sides)
    ring = np.stack([outline[:-1], outline[1:]], 1)  # (segments, 2, 2)
    points = _revolve(ring, circle)
    normals = _revolve(np.repeat(out[:, None], 2, 1), circle)
    return _sheets(material, points, normals)


def cylinder(
    material: str, start: Vector, end: Vector, r0: float, r1: float | None = None, sides: int = 10, caps: bool = True
) -> Part:
    """A cylinder or cone from start (radius r0) to end (radius r1, default r0)."""
    r1 = r0 if r1 is None else r1
    axis = np.asarray(end, float) - np.asarray(start, float)
    length = math.sqrt((axis * axis).sum())
    profile = [(r0, 0.0), (r1, length)]
    if caps:
        profile = [(0.0, 0.0)] * (r0 > 0) + profile + [(0.0, length)] * (r1 > 0)
    x, y, z = start
    return lathe(material, profile, sides).turned(_frame(axis / length)).at(x, y, z)


def ellipsoid(
    material: str, rx: float, ry: float, rz: float, around: int = 10, up: int = 6, low: float = -1.0, high: float = 1.0
) -> Part:
    """An ellipsoid about the origin, cut to the heights low..high in units of rz (the cuts are open)."""
    first, last = math.asin(low), math.asin(high)
    profile = _arc(first + (last - first) * i / up for i in range(up + 1))
    unit = _revolve(profile[None], _circle(around))
    radii = np.array([rx, ry, rz])
    normals = unit / radii
    normals /= np.sqrt((normals * normals).sum(-1, keepdims=True))
    return _sheets(material, unit * radii, normals)


def tube(material: str, path: Sequence[Vector], radius: float, sides: int = 6) -> Part:
    """A round tube along a path of (x, z) points in the plane y = 0; its ends are open."""
    points = np.asarray(path, float)
    tangent = np.asarray(np.gradient(points, axis=0))
    tangent /= np.sqrt((tangent * tangent).sum(1, keepdims=True))
    normal = np.stack([-tangent[:, 1], np.zeros(len(points)), tangent[:, 0]], -1)[:, None]
    circle = _circle(sides)
    normals = circle[None, :, :1] * np.array([0.0, 1, 0]) + circle[None, :, 1:] * normal
    centre = np.stack([points[:, 0], np.zeros(len(points)), points[:, 1]], -1)[:, None]
    return _sheets(material, (centre + radius * normals)[None], normals[None])


def wing(material: str, root: Sequence[Vector], tip: Sequence[Vector], thickness: float) -> Part:
    """A flat slab between a root edge and a tip edge, each (front point, back point)."""
    corners = np.array([root[0], root[1], tip[1], tip[0]], float)
    half = np.array([0, 0, thickness / 2])
    both = np.concatenate([corners - half, corners + half])
    part = flat(material, both[_BOX_FACES])
    middle = both.mean(0)
    if ((part.corners[:, 0] - middle) * part.normals[:, 0]).sum() < 0:
        part = flat(material, part.corners[:, ::-1])
    return part


# ---------------------------------------------------------------- helpers

_BOX_FACES = np.array(
    [[0, 3, 2], [0, 2, 1], [4, 5, 6], [4, 6, 7]]
    + [t for i in range(4) for t in ([i, (i + 1) % 4, (i + 1) % 4 + 4], [i, (i + 1) % 4 + 4, i + 4])]
)


def _circle(sides: int) -> np.ndarray:
    """(sides + 1, 2) points of the unit circle; the last is exactly the first, so that seams close."""
    return _arc([i % sides * (2 * math.pi / sides) for i in range(sides + 1)])


def _arc(angles: Iterable[float]) -> np.ndarray:
    """(n, 2) cosines and sines; from math, because numpy's depend on the processor's vector unit."""
    return np.array([(math.cos(a), math.sin(a)) for a in angles])


def _revolve(profile: np.ndarray, circle: np.ndarray) -> np.ndarray:
    """(radius, z) profiles (s, k, 2) around z: points (s, k, n, 3)."""
    r, z = profile[..., None, 0], profile[..., None, 1]
    x, y = r * circle[:, 0], r * circle[:, 1]
    return np.stack([x, y, np.broadcast_to(z, x.shape)], -1)


def _sheets(material: str, points: np.ndarray, normals: np.ndarray) -> Part:
    """Triangles of smooth sheets: points and normals (s, k, n, 3), k upwards and n counter-clockwise."""
    triangles = []
    for grid in (points, normals):
        a, b, c, d = grid[:, :-1, :-1], grid[:, :-1, 1:], grid[:, 1:, 1:], grid[:, 1:, :-1]
        both = np.stack([np.stack([a, b, c], -2), np.stack([a, c, d], -2)], -3)
        triangles.append(both.reshape(-1, 3, 3))
    corners, normals = triangles
    face = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    keep = (face * face).sum(1) > 1e-20
    return Part(corners[keep], normals[keep], SLOT[material])


def _frame(axis: np.ndarray) -> np.ndarray:
    """A rotation that takes z to the unit vector axis."""
    side = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.9 else np.array([0, 1.0, 0])
    u = _cross(side, axis)
    u /= math.sqrt((u * u).sum())
    return np.stack([u, _cross(axis, u), axis], -1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """np.cross, five times as fast on the small arrays of this module."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def _rotate(vectors: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Rotate the last axis by elementwise products: BLAS rounds differently on other processors."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in rotation.tolist()], -1)
