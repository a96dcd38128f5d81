"""Renders a world: RGB pixels with soft edges and shadows, and on request ground truth per pixel.
numpy only; the same world and size give the same bits in every process."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from data_registry.render import raster
from data_registry.render.backdrop import backdrop
from data_registry.render.catalog import NAMES
from data_registry.render.palette import GLOW, HIGHLIGHT
from data_registry.render.world import Mat3, Vec3, World, apply, body_box, product, transpose

F = np.float32
_SUB = 2  # samples per pixel and axis
_NEAR = 0.05  # metres; triangles that come closer are not drawn
CONTACT = {"street": 0.5, "room": 0.25, "table": 0.03}  # metres above the ground that receive less skylight


@dataclass(frozen=True, slots=True)
class Maps:
    """Ground truth of each pixel, taken a quarter pixel right of and below its centre (where a sample lies).

    Attributes:
        body: (s, s) int16, index of the seen object in `world.bodies`; -1 where none or scenery is seen.
        category: (s, s) int16, index into `catalog.NAMES`, -1 where no labelled object is seen.
        depth: (s, s) float32 z in metres, inf in the sky; surroundings and scenery included.
        nocs: (s, s, 3) float32, the seen point in its object's own box, -1..1 along front, down and left; 0 elsewhere.
    """

    body: np.ndarray
    category: np.ndarray
    depth: np.ndarray
    nocs: np.ndarray


@dataclass(frozen=True, slots=True)
class Picture:
    """A rendered image.

    Attributes:
        rgb: (s, s, 3) uint8.
        visible, alone: (bodies,) float64, pixels each body fills, and would fill if nothing stood before it.
        tight: (bodies, 4) float64, x0, y0, x1, y1 of the visible pixels; -1 where nothing is visible.
        maps: ground truth per pixel, if asked for.
    """

    rgb: np.ndarray
    visible: np.ndarray
    alone: np.ndarray
    tight: np.ndarray
    maps: Maps | None = None


def render(world: World, size: int = 96, maps: bool = False) -> Picture:
    """Draws a world at size x size pixels."""
    width = size * _SUB
    geometry = _project(world, width)
    spans = raster.spans(geometry.x, geometry.y, width)
    planes = raster.Planes.of(geometry.x, geometry.y, geometry.inverse)
    seen, alone = raster.draw(spans, planes, geometry.body, len(world.bodies), width)
    shadow = raster.covered(raster.spans(*geometry.shadow, width), width) & (seen < 0)
    pixels = _resolve(world, geometry, planes, seen, shadow, size)
    body_at = np.where(seen >= 0, geometry.body[seen], -1)
    visible, tight = _extents(body_at, len(world.bodies), width)
    truth = _maps(world, planes, seen, body_at, size) if maps else None
    return Picture(pixels, visible / _SUB**2, alone / _SUB**2, tight, truth)


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Triangles that face the camera, in samples; shadow: x, y of all shadow triangles on the ground."""

    x: np.ndarray
    y: np.ndarray
    inverse: np.ndarray
    normals: np.ndarray
    slot: np.ndarray
    body: np.ndarray
    shadow: tuple[np.ndarray, np.ndarray]


def _project(world: World, width: int) -> _Geometry:
    view, light = world.view, world.light.direction
    focal, middle = F(view.focal * width), F(width / 2)
    points, normals, slots, bodies, shadows = [], [], [], [], []
    for index, body in enumerate(world.bodies):
        mesh, scale = body.mesh, body.scale
        inward = transpose(body.rotation)
        x, y, z = offset = _minus(view.position, body.position)
        eye = [F(v / scale) for v in apply(inward, offset)]
        facing = np.flatnonzero(_dot(mesh.plane, eye) > mesh.plane[3])
        turned = product(view.rotation, body.rotation)
        foot = apply(view.rotation, (-x, -y, -z))
        points.append(_place(mesh.points.take(facing, -1), turned, scale, foot))
        normals.append(mesh.normals.take(facing, -1))
        slots.append(mesh.slot[facing])
        bodies.append(np.full(len(facing), index, np.intp))
        sun = [F(v) for v in apply(inward, light)]
        lit = np.flatnonzero(_dot(mesh.plane, sun) > 0)
        # the shadow of p is p - light * (height of p / light's height): linear in p, so one matrix does it
        flat = _flattened(body.rotation, light)
        drop = (
            -x - light[0] / light[2] * body.position[2],
            -y - light[1] / light[2] * body.position[2],
            -z - light[2] / light[2] * body.position[2],
        )
        shadows.append(
            _place(mesh.points.take(lit, -1), product(view.rotation, flat), scale, apply(view.rotation, drop))
        )
    xyz, cast = np.concatenate(points, -1), np.concatenate(shadows, -1)
    body_of, slot, normal = np.concatenate(bodies), np.concatenate(slots), np.concatenate(normals, -1)
    near = xyz[2].min(0) < _NEAR
    if near.any():
        xyz, body_of, slot, normal = xyz[..., ~near], body_of[~near], slot[~near], normal[..., ~near]
    cast = cast[..., cast[2].min(0) > _NEAR]
    inverse = F(1) / xyz[2]
    shadow = (cast[0] * focal / cast[2] + middle, cast[1] * focal / cast[2] + middle)
    return _Geometry(
        xyz[0] * inverse * focal + middle, xyz[1] * inverse * focal + middle, inverse, normal, slot, body_of, shadow
    )


def _minus(a: Vec3, b: Vec3) -> Vec3:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _flattened(rotation: Mat3, light: Vec3) -> Mat3:
    """A rotation followed by the fall along the light onto the ground."""
    first, second, third = (
        (
            row[0] - light[i] / light[2] * rotation[2][0],
            row[1] - light[i] / light[2] * rotation[2][1],
            row[2] - light[i] / light[2] * rotation[2][2],
        )
        for i, row in enumerate(rotation)
    )
    return first, second, third


def _place(points: np.ndarray, rotation: Mat3, scale: float, offset: Vec3) -> np.ndarray:
    """rotation @ points * scale + offset, by elementwise products: BLAS rounds differently on other processors."""
    x, y, z = points
    out = np.empty(points.shape, F)
    for row, (a, b, c), shift in zip(out, rotation, offset, strict=True):
        np.multiply(x, F(a * scale), out=row)
        row += y * F(b * scale)
        row += z * F(c * scale)
        row += F(shift)
    return out


def _resolve(
    world: World, geometry: _Geometry, planes: raster.Planes, seen: np.ndarray, shadow: np.ndarray, size: int
) -> np.ndarray:
    """(size, size, 3) uint8 pixels. A pixel that one triangle fills is shaded once, any other per sample."""
    width, samples = size * _SUB, _SUB * _SUB
    quads = _quads(seen, size)
    count = reduce(np.add, [(q >= 0).view(np.int8) for q in quads])
    whole = (quads[0] >= 0) & np.logical_and.reduce([q == quads[0] for q in quads[1:]])
    places = [np.flatnonzero(whole)]
    places += [np.flatnonzero((q >= 0) & ~whole) for q in quads]
    triangle = np.concatenate([q.take(i) for q, i in zip((quads[0], *quads), places, strict=True)])
    column, row = _pixel_places(size)
    shifts = [(_SUB / 2, _SUB / 2)] + [(i % _SUB + 0.5, i // _SUB + 0.5) for i in range(samples)]
    x = np.concatenate([column.take(i) + F(dx) for i, (dx, _) in zip(places, shifts, strict=True)])
    y = np.concatenate([row.take(i) + F(dy) for i, (_, dy) in zip(places, shifts, strict=True)])
    color = _shade(world, geometry, planes, triangle, x, y, width)
    ends = np.cumsum([len(i) for i in places])
    image = np.zeros((3, size * size), F)
    image[:, places[0]] = color[:, : ends[0]] * F(samples)
    for i, start, end in zip(places[1:], ends[:-1], ends[1:], strict=True):
        image[:, i] += color[:, start:end]
    behind = np.flatnonzero(count < samples)
    left = (samples - count[behind]).astype(F)
    dark = reduce(np.add, [q.astype(F) for q in _quads(shadow, size)])[behind] / left
    rays = _world_rays(world, size).take(behind, 1)
    around, _ = backdrop(world, rays, 1 / (world.view.focal * size), dark)
    image[:, behind] += np.minimum(around, F(1)) * left
    image *= F(1 / samples)
    image += _noise(world, image.size).reshape(image.shape) * F(world.grain)
    return (np.clip(image.T, 0, 1) * F(255) + F(0.5)).astype(np.uint8, order="C").reshape(size, size, 3)


def _noise(world: World, count: int) -> np.ndarray:
    """Pixel noise of mean 0 and deviation 1: sums of four random bytes, a tenth of the time of normal numbers."""
    words = np.random.PCG64([world.seed, world.index]).random_raw((count + 1) // 2)
    values = words.view(np.int8).reshape(4, -1)[:, :count].sum(0, dtype=np.int16)
    return (values.astype(F) + F(2)) * F(1 / 147.8)


def _shade(
    world: World,
    geometry: _Geometry,
    planes: raster.Planes,
    triangle: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    width: int,
) -> np.ndarray:
    """(3, n) colours of triangles at image points: Lambert, skylight, a highlight, and own light (lamps, screens)."""
    depth, b1, b2 = planes.at(triangle, x, y)
    body, slot = geometry.body.take(triangle), geometry.slot.take(triangle)
    first, second, third = (geometry.normals[:, k].take(triangle, -1) for k in range(3))
    local = first + b1 * (second - first) + b2 * (third - first)
    rotation = np.array([b.rotation for b in world.bodies], F).reshape(-1, 9).T.take(body, 1)
    normal = _unit(np.stack([_dot(rotation[3 * i : 3 * i + 3], local) for i in range(3)]))
    light = np.array(world.light.direction, F)[:, None]
    r = world.view.rotation
    dx, dy = (x - F(width / 2)) / F(world.view.focal * width), (y - F(width / 2)) / F(world.view.focal * width)
    ray = np.stack([dx * F(r[0][i]) + dy * F(r[1][i]) + F(r[2][i]) for i in range(3)])
    half = _unit(light - _unit(ray))
    direct = np.maximum(_dot(normal, light), 0)
    shine = np.maximum(_dot(normal, half), 0)
    for _ in range(4):
        shine *= shine  # to the 16th power
    height = F(world.view.position[2]) + ray[2] * depth
    contact = F(0.72) + F(0.28) * np.clip(height * F(1 / CONTACT[world.kind]), 0, 1)
    sky = (F(0.78) + F(0.22) * normal[2]) * contact
    own = GLOW[slot] * F(2)
    diffuse = np.concatenate([b.palette for b in world.bodies]).T.take(body * len(GLOW) + slot, 1)
    shine *= HIGHLIGHT[slot]
    ambient, sun = np.array(world.light.sky, F)[:, None], np.array(world.light.sun, F)[:, None]
    return np.minimum(diffuse * np.maximum(ambient * sky + sun * direct, own) + sun * shine, F(1))


def _extents(body_at: np.ndarray, bodies: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples each body is seen at, and the tight box around them in pixels."""
    sample = np.flatnonzero(body_at >= 0)
    body, x, y = body_at[sample], sample % width, sample // width
    low, high = np.full((2, bodies), width), np.full((2, bodies), -1)
    for axis, v in enumerate((x, y)):
        np.minimum.at(low[axis], body, v)
        np.maximum.at(high[axis], body, v)
    tight = np.stack([low[0], low[1], high[0] + 1, high[1] + 1], -1) / _SUB
    tight[high[0] < 0] = -1
    return np.bincount(body, minlength=bodies), tight


def _maps(world: World, planes: raster.Planes, seen: np.ndarray, body_at: np.ndarray, size: int) -> Maps:
    width, off = size * _SUB, _SUB // 2
    seen, body_at = (a.reshape(width, width)[off::_SUB, off::_SUB].reshape(-1) for a in (seen, body_at))
    place = np.arange(size, dtype=F) * _SUB + off + F(0.5)
    x, y = np.tile(place, size), np.repeat(place, size)
    _, depth = backdrop(world, _world_rays(world, size), 0.0, None)
    hit = np.flatnonzero(seen >= 0)
    depth[hit] = planes.at(seen[hit], x[hit], y[hit])[0]
    body = np.where((body_at >= 0) & (body_at < world.labelled), body_at, -1).astype(np.int16)
    nocs, category = np.zeros((3, size * size), F), np.full(size * size, -1, np.int16)
    focal = F(world.view.focal * width)
    for index, thing in enumerate(world.bodies[: world.labelled]):
        mine = np.flatnonzero(body == index)
        box = body_box(world.view, thing)
        w, h, l = thing.dimensions
        category[mine] = NAMES.index(thing.name)
        z = depth[mine]
        point = (x[mine] - F(width / 2)) / focal * z, (y[mine] - F(width / 2)) / focal * z, z
        gone = [p - F(c) for p, c in zip(point, box.center, strict=True)]
        for axis, extent in enumerate((l, h, w)):
            column = [F(row[axis] * 2 / extent) for row in box.rotation]
            nocs[axis, mine] = gone[0] * column[0] + gone[1] * column[1] + gone[2] * column[2]
    square = (size, size)
    coordinates = nocs.T.reshape(size, size, 3).copy()
    return Maps(body.reshape(square), category.reshape(square), depth.reshape(square), coordinates)


def _quads(samples: np.ndarray, size: int) -> list[np.ndarray]:
    """The samples of all pixels by their place in the pixel: (size * size,) each, row by row."""
    grid = samples.reshape(size, _SUB, size, _SUB)
    return [grid[:, i, :, j].reshape(-1) for i in range(_SUB) for j in range(_SUB)]


@lru_cache(maxsize=8)
def _pixel_places(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each pixel's first sample."""
    place = np.arange(size, dtype=F) * _SUB
    return np.tile(place, size), np.repeat(place, size)


@lru_cache(maxsize=8)
def _pixel_centers(size: int) -> tuple[np.ndarray, np.ndarray]:
    offset = np.arange(size, dtype=F) + F(0.5 - size / 2)
    return np.tile(offset, size), np.repeat(offset, size)


def _world_rays(world: World, size: int) -> np.ndarray:
    """(3, size * size) world directions through pixel centres, of depth 1."""
    x, y = _pixel_centers(size)
    k = 1 / (world.view.focal * size)
    r = world.view.rotation
    return np.stack([x * F(r[0][i] * k) + y * F(r[1][i] * k) + F(r[2][i]) for i in range(3)])


def _dot(a: Sequence | np.ndarray, b: Sequence | np.ndarray) -> np.ndarray:
    """Of the first three components; on arrays, elementwise over the rest."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.sqrt(_dot(v, v) + F(1e-12))
