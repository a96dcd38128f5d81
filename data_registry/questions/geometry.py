"""Where the objects of a scene are, how far from each other and which way they face, as plain tables.
Angles are measured on the ground plane where gravity is known, and in the object's own frame where it is not."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_registry import ranges
from data_registry.questions.names import complete, references
from data_registry.scene import Scene, SceneObject

MOST = 64  # objects of a picture that are asked about: claims grow with their third power


@dataclass(frozen=True, slots=True)
class Margins:
    """How clear a fact must be to be asked about (params.yaml: data.*.margins). What a margin drops is counted.

    Attributes:
        closer_ratio, closer_m: of two distances the larger exceeds the smaller by this share and by this much.
        closer_share: the metres are at most this share of the median distance, so that a table-top has questions too.
        same_deg, different_deg: two fronts are the same direction below, different ones above.
        facing_deg, facing_lead_deg: an object faces another within this angle, and the loser is this much further off.
        axis_deg: left, right, front, behind, towards and away lie within this angle of their axis.
        opposite_deg: of two objects, the one that is *not* on the asked side lies within this angle of the other side.
        steep_deg: no direction on the ground is told between objects seen this steeply above each other.
        next_to, not_next_to: one thing is next to another within the one share of the other's longest side, and is not
            beyond the other share.
        parallel_deg: two fronts are parallel, or perpendicular, within this angle.
        larger_ratio: one size exceeds another by this share.
        min_visibility, max_truncation, min_height: visible share of an object that is asked about, its share outside
            the image, and its height as a share of the image's; a source that does not know the first two passes.
        picture_side: of two things the middles of their 2D boxes are so far apart, as a share of the image's width.
    """

    closer_ratio: ranges.NotNegative = 0.1
    closer_m: ranges.NotNegative = 0.25
    closer_share: ranges.NotNegative = 0.05
    same_deg: ranges.Degrees = 30.0
    different_deg: ranges.Degrees = 60.0
    facing_deg: ranges.Degrees = 45.0
    facing_lead_deg: ranges.Degrees = 20.0
    axis_deg: ranges.Degrees = 30.0
    opposite_deg: ranges.Degrees = 60.0
    steep_deg: ranges.Degrees = 60.0
    next_to: ranges.NotNegative = 0.5
    not_next_to: ranges.NotNegative = 1.5
    parallel_deg: ranges.Degrees = 20.0
    larger_ratio: ranges.NotNegative = 0.2
    min_visibility: ranges.Share = 0.5
    max_truncation: ranges.Share = 0.5
    min_height: ranges.Share = 0.1
    picture_side: ranges.Share = 0.15


@dataclass(frozen=True, slots=True)
class Layout:
    """The nameable, clearly visible objects of a scene with their geometry; every table is indexed by their order.

    Attributes:
        scene: what it was computed from.
        objects: (n) the objects, sorted by category and name: the canonical order of options.
        names: (n) unique words for each, see `references`.
        categories: (n) their category names.
        distance: (n) metres from the camera to the centre; NaN where the position is unavailable.
        near: (n) metres from the camera to the nearest point of the box.
        pair: (n, n) metres between centres.
        gap: (n, n) metres between surfaces, 0 where boxes overlap; exact but for crossing edges, where it is an upper
            bound.
        bearing: (n, n) degrees in (-180, 180] from row's front to column's centre, on row's ground: 0 ahead, 90 to its
            left; NaN without a front, or where the two are one steeply above the other.
        turn: (n, n) degrees in [0, 180] between the fronts.
        azimuth: (n) degrees in (-180, 180] from the object's front to the camera: 0 the front faces the camera, 90 its
            left side (and it points to the picture's left); ImageNet3D's azimuth.
        elevation: (n) degrees the camera is seen above the object's horizon.
        closer_m: `Margins.closer_m`, or `Margins.closer_share` of the objects' median distance where that is less.
    """

    scene: Scene
    objects: tuple[SceneObject, ...]
    names: tuple[str, ...]
    categories: tuple[str, ...]
    distance: list[float]
    near: list[float]
    pair: list[list[float]]
    gap: list[list[float]]
    bearing: list[list[float]]
    turn: list[list[float]]
    azimuth: list[float]
    elevation: list[float]
    closer_m: float


def layout(scene: Scene, margins: Margins, drops: Counter[str]) -> Layout:
    """The geometry of a scene's objects that may be asked about; the others are counted by reason in `drops`."""
    clear = _clear(scene, margins, drops)
    if not clear:
        return Layout(scene, (), (), (), [], [], [], [], [], [], [], [], margins.closer_m)
    categories, names, objects = zip(*clear, strict=True)
    center = np.array([_NAN if o.center is None else o.center for o in objects])
    rotation = np.array([_NAN_3 if o.R is None else o.R for o in objects])
    half = np.array([_NAN if o.dimensions is None else o.dimensions for o in objects])[:, ::-1] / 2  # to length, h, w
    with np.errstate(invalid="ignore", divide="ignore"):
        # The camera joins the objects as the last point, so one table serves bearings to objects and to the camera.
        delta = np.concatenate([center, _ORIGIN])[None] - center[:, None]
        pair = np.sqrt(np.einsum("ijk,ijk->ij", delta, delta))
        bearing, turn, azimuth, elevation = _directions(
            objects, rotation, scene.camera.up, delta, pair[:, -1], margins.steep_deg
        )
    n = len(objects)
    to_boxes = _distance_to_boxes(_with_camera(center, half, rotation), center, rotation, half)
    one_way = to_boxes[:-1].reshape(n, -1, n).min(axis=1)
    distance = pair[:, n].tolist()
    known = sorted(d for d in distance if d == d)
    return Layout(
        scene,
        objects,
        names,
        categories,
        distance,
        to_boxes[-1].tolist(),
        pair[:, :n].tolist(),
        np.minimum(one_way, one_way.T).tolist(),
        bearing.tolist(),
        turn.tolist(),
        azimuth.tolist(),
        elevation.tolist(),
        min(margins.closer_m, margins.closer_share * known[len(known) // 2]) if known else margins.closer_m,
    )


def largest(objects: Sequence[SceneObject]) -> list[int]:
    """Indexes of those that questions are made of, in their order: all, or the `MOST` with the largest 2D boxes."""
    if len(objects) <= MOST:
        return list(range(len(objects)))
    area = [(o.bbox[2] - o.bbox[0]) * (o.bbox[3] - o.bbox[1]) for o in objects]
    return sorted(sorted(range(len(objects)), key=lambda k: -area[k])[:MOST])


def _clear(scene: Scene, margins: Margins, drops: Counter[str]) -> list[tuple[str, str, SceneObject]]:
    """Category, name and record of each object that may be asked about, in the canonical order."""
    clear = []
    unnamed = "name not unique" if complete(scene) else "in a picture with regions left out"
    for obj, name in zip(scene.objects, references(scene), strict=True):
        reason = _unclear(obj, scene.camera.height, margins)
        if reason or name is None:
            drops[f"object: {reason or unnamed}"] += 1
        else:
            clear.append((obj.name, name, obj))
    kept = largest([obj for *_, obj in clear])
    if len(kept) < len(clear):
        drops[f"object: beyond the {MOST} largest"] += len(clear) - len(kept)
    return sorted((clear[k] for k in kept), key=lambda entry: entry[:2])


def _directions(
    objects: Sequence[SceneObject], rotation: np.ndarray, up: np.ndarray | None, delta: np.ndarray,
    distance: np.ndarray, steep_deg: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Bearing (n, n), turn (n, n), azimuth (n) and elevation (n) of a layout, in degrees.

    Args:
        rotation: (n, 3, 3); up: (3,) of the scene, or None: each object's own.
        delta: (n, n + 1, 3) from each object to each, and to the camera; distance: (n) to the camera.
    """
    n = len(objects)
    front = np.array([_NAN if o.front is None else o.front for o in objects])
    up = -rotation[:, :, 1] if up is None else np.broadcast_to(up, (n, 3))
    front = front - up * _dot(front, up)[:, None]
    length = np.sqrt(_dot(front, front))[:, None]
    front = np.where(length > 0.5, front / length, np.nan)  # pointing up or down: no heading
    axes = np.stack([front, _cross(up, front), up], axis=2)
    ahead, aside, rise = np.moveaxis(delta @ axes, 2, 0)
    # Without a position a pose is that seen by a camera which looks straight at the object (ImageNet3D).
    lost = np.array([o.center is None for o in objects])
    ahead[lost, n], aside[lost, n], rise[lost, n] = -axes[lost, 2].T
    bearing = np.degrees(np.arctan2(aside, ahead))
    azimuth = bearing[:, n].copy()  # before the next line: seen from above, a thing still shows a side
    bearing[np.abs(rise) > math.tan(math.radians(steep_deg)) * np.hypot(ahead, aside)] = np.nan
    turn = np.degrees(np.arccos(np.clip(front @ front.T, -1, 1)))
    turn[lost] = turn[:, lost] = np.nan  # such a camera is each object's own: their fronts do not compare
    elevation = np.degrees(np.arcsin(np.clip(rise[:, n] / np.where(lost, 1, distance), -1, 1)))
    return bearing[:, :n], turn, azimuth, elevation


def _unclear(obj: SceneObject, image_height: int, margins: Margins) -> str:
    if obj.visibility is not None and obj.visibility < margins.min_visibility:
        return "mostly hidden"
    if obj.truncation is not None and obj.truncation > margins.max_truncation:
        return "mostly outside the image"
    if obj.bbox[3] - obj.bbox[1] < margins.min_height * image_height:
        return "too small"
    return ""


_NAN, _NAN_3, _ORIGIN = np.full(3, np.nan), np.full((3, 3), np.nan), np.zeros((1, 3))

# Corners, edge midpoints, face centres and the centre: boxes that touch anywhere are at most half an edge away.
_STEPS = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], [-1, 0, 1], indexing="ij"), -1).reshape(-1, 3).astype(float)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """np.cross for (n, 3), ten times as fast on a handful of rows."""
    return a[:, _NEXT] * b[:, _LAST] - a[:, _LAST] * b[:, _NEXT]


_NEXT, _LAST = [1, 2, 0], [2, 0, 1]


def _with_camera(center: np.ndarray, half: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """(27 n + 1, 3) points of the boxes' surfaces (`_STEPS`), and the camera."""
    surface = center[:, None] + (half[:, None] * _STEPS) @ rotation.transpose(0, 2, 1)
    return np.concatenate([surface.reshape(-1, 3), _ORIGIN])


def _distance_to_boxes(points: np.ndarray, center: np.ndarray, rotation: np.ndarray, half: np.ndarray) -> np.ndarray:
    """(m, n) distances from points (m, 3) to the nearest point of each of n oriented boxes; 0 inside."""
    local = (points[None] - center[:, None]) @ rotation  # (n, m, 3)
    outside = np.maximum(np.abs(local) - half[:, None], 0)
    return np.sqrt(np.einsum("nml,nml->mn", outside, outside))
