"""Oriented boxes around point clouds: upright where gravity is known, turned as the visible sides or the front say.
A picture shows the near sides only, so the hidden extent of a box is an estimate; see `complete`."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from data_registry.scene import box_corners

_ANGLES = np.radians(np.arange(0, 90, 1.5))


@dataclass(frozen=True, slots=True)
class OrientedBox:
    """A box as Omni3D has it: centre (3,) m, dimensions (width, height, length) m, R (3, 3) object -> camera, where
    the object's axes are x along the length, y down, z along the width."""

    center: np.ndarray
    dimensions: np.ndarray
    R: np.ndarray

    def corners(self) -> np.ndarray:
        """(8, 3) corners in metres, in Omni3D's order."""
        return box_corners(self.center, self.dimensions, self.R)


def fit(points: np.ndarray, up: np.ndarray, front: np.ndarray | None, quantile: float) -> OrientedBox:
    """The upright box of an object's visible points.

    Args:
        points: (n, 3) metres in the camera's frame.
        up: (3,) against gravity.
        front: (3,) where the object faces, if that is trusted: it turns the box. Else the visible sides do, and the
            length is the longer horizontal side.
        quantile: share of the points that may lie outside each face.
    """
    if front is not None:
        x = front - (front @ up) * up
        x /= np.linalg.norm(x)
    else:
        x = _heading(points, up)
    z = np.cross(x, -up)  # right-handed: x front, y down, z left
    axes = np.stack([x, -up, z], 1)
    local = points @ axes
    low, high = np.quantile(local, quantile, axis=0), np.quantile(local, 1 - quantile, axis=0)
    box = OrientedBox(axes @ (low + high) / 2, (high - low)[[2, 1, 0]], axes)
    return box if front is not None else _longer_side_first(box)


def complete(box: OrientedBox, name: str, faces_x: bool) -> OrientedBox:
    """The box with its hidden side as long as its category's proportions say, where those are known (`sizes.yaml`).

    Height and the horizontal side that is seen across are taken as they are. The side that runs away from the camera
    shows only what is not behind the near end; where it is shorter than its proportion to the height asks for, it is
    extended away from the camera.

    Args:
        faces_x: whether the box's x axis is the object's front, so that its length is known to lie there.
    """
    typical = sizes().get(name)
    if typical is None:
        return box
    length, width = (side / typical[2] * box.dimensions[1] for side in typical[:2])
    ray = box.center / np.linalg.norm(box.center)
    along = 0 if abs(ray @ box.R[:, 0]) > abs(ray @ box.R[:, 2]) else 2  # axis that runs away from the camera
    across_m, along_m = (box.dimensions[2 - axis] for axis in (2 - along, along))
    # else what is seen across is the length or the width, whichever it is nearer to by ratio
    across_is_length = along == 2 if faces_x else across_m**2 > length * width
    missing = (width if across_is_length else length) - along_m
    if missing <= 0:
        return box
    dimensions = box.dimensions.copy()
    dimensions[2 - along] += missing
    away = box.R[:, along] * np.sign(ray @ box.R[:, along])
    whole = OrientedBox(box.center + away * missing / 2, dimensions, box.R)
    return whole if faces_x else _longer_side_first(whole)


def _longer_side_first(box: OrientedBox) -> OrientedBox:
    """The same box with its longer horizontal side as length, where no front says which side that is."""
    if box.dimensions[2] >= box.dimensions[0]:
        return box
    x, y, z = box.R.T
    return OrientedBox(box.center, box.dimensions[[2, 1, 0]], np.stack([z, y, -x], 1))


@cache
def sizes() -> dict[str, tuple[float, float, float]]:
    """Typical (length, width, height) in metres by category name."""
    return {name: tuple(v) for name, v in yaml.safe_load(Path(__file__).with_name("sizes.yaml").read_text()).items()}


def _heading(points: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(3,) horizontal direction of one side: the turn for which points lie closest to the sides of their rectangle.

    The closeness criterion of L-shape fitting (Zhang et al., IV 2017): two visible sides of a thing are lines in the
    view from above, and the least rectangle's area, the usual criterion, misses them where one side is short.
    """
    e1 = np.cross(up, [0.0, 0.0, 1.0] if abs(up[2]) < 0.9 else [1.0, 0.0, 0.0])
    e1 /= np.linalg.norm(e1)
    e2 = np.cross(up, e1)
    flat = points @ np.stack([e1, e2], 1)
    cos, sin = np.cos(_ANGLES), np.sin(_ANGLES)
    a = flat[:, :1] * cos + flat[:, 1:] * sin
    b = flat[:, 1:] * cos - flat[:, :1] * sin
    to_side = [np.minimum(v - v.min(0), v.max(0) - v) for v in (a, b)]
    size = np.maximum(np.ptp(flat, axis=0).max(), 1e-9)
    closeness = (1 / np.maximum(np.minimum(*to_side), 0.01 * size)).sum(0)
    best = int(np.argmax(closeness))
    return cos[best] * e1 + sin[best] * e2
