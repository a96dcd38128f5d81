"""ImageNet3D's poses as Scene records: fronts from azimuth, elevation and theta, and nothing metric.
Reads the plain table of `imagenet3d_pickles`. Meaning of the angles: `wufeim/imagenet3d:render_utils.py`."""

import math
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_registry.errors import InputError, nearest
from data_registry.readers.imagenet3d_pickles import ANGLES, NO_STATUS, SCHEMA, check_angles
from data_registry.scene import Camera, Provenance, Scene, SceneObject
from data_registry.storage import parquet

SOURCE = "ImageNet3D"
STATUSES = ("status_good", "status_partially", "status_barely", "status_bad")
KEPT = ("status_good", "status_partially")
_DROPS = {"status_barely": "barely visible", "status_bad": "bad quality", "status_partially": "partially visible"}
_BATCH = 5000
_REMEDY = "convert the annotations again"
# Columns: the axes of an object's box (x front, y down, z left) in the CAD frame (front -y, up +z)
BOX_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def rotation(azimuth: float, elevation: float, theta: float) -> np.ndarray:
    """(3, 3) rotation from the CAD frame (front -y, up +z) to a camera that looks straight at the object.

    The camera's axes are ours: x right, y down, z forward. Azimuth 0: the front faces the camera; 90°: it points to
    the image's left; 180°: away; 270°: to the right. Elevation above 0: the camera looks down on it. Theta turns the
    picture counter-clockwise. The mirror image has azimuth 2π - a and theta -t.

    Args:
        azimuth, elevation, theta: radians.
    """
    sa, ca = math.sin(azimuth), math.cos(azimuth)
    se, ce = math.sin(elevation), math.cos(elevation)
    st, ct = math.sin(theta), math.cos(theta)
    forward = np.array([-ce * sa, ce * ca, -se])  # from the camera's place to the object
    right = np.array([ca, sa, 0.0])
    down = np.cross(forward, right)
    # the picture turned counter-clockwise by theta: what was right goes up
    return np.stack([ct * right + st * down, ct * down - st * right, forward])


def read(path: str | Path, drops: Counter[str] | None = None, statuses: tuple[str, ...] = KEPT) -> Iterator[Scene]:
    """Scenes of a converted table in its order, a batch of rows in memory at a time.

    `center` and `dimensions` are None, since the data set's distances are in units of CAD models. The intrinsics are
    unknown: K is NaN, so nothing can be projected by mistake. `front` and `R` are in the frame of a camera that looks
    straight at the object: what azimuth means in this data set, wherever in the picture the object is. Categories
    without a meaningful azimuth (`imagenet3d.yaml`) have neither.

    Args:
        path: Parquet file of `imagenet3d_pickles.convert_trusted`.
        drops: filled with counts by reason, under "objects" and "images" with how many there were.
        statuses: which values of object_status are kept.

    Raises:
        InputError: no such table, an unknown status, an image whose rows are not together.
    """
    path = Path(path)
    drops = Counter() if drops is None else drops
    for status in statuses:
        if status not in STATUSES:
            raise InputError(f"{status}: no object_status, {nearest(status, STATUSES)}")
    seen: set[str] = set()
    for key, rows in groupby(_rows(path), key=lambda row: row["image"]):
        if not key:
            raise InputError(f"{path}: a row has no image; {_REMEDY}")
        if key in seen:
            raise InputError(f"{path}: the rows of image {key} are not together; convert the annotations again")
        seen.add(key)
        yield _scene(key, list(rows), drops, statuses, path)


def scenes(annotations: Path, pictures: Path, drops: Counter[str]) -> Iterator[Scene]:
    """`read` as every reader is called (`reader.Reader`): annotations is the converted table."""
    return read(annotations, drops)


def _scene(key: str, rows: list[dict[str, Any]], drops: Counter[str], statuses: tuple[str, ...], path: Path) -> Scene:
    width, height = rows[0]["width"], rows[0]["height"]
    if not (width and height and width > 0 and height > 0):
        raise InputError(f"{path}: image {key} is {width}×{height} pixels; convert the annotations again")
    drops["images"] += 1
    objects, others = [], []
    for number, row in enumerate(rows):
        drops["objects"] += 1
        if not row["class"] or (row["width"], row["height"]) != (width, height):
            raise InputError(f"{path}: image {key}: a row has no class, or another size than the first; {_REMEDY}")
        box = np.array(row["bbox"] or (), dtype=float)
        reason = _reason(row, box, statuses, f"{path}: image {key}")
        if reason:
            drops[reason] += 1
            others.append(_spoken(row["class"]))
        else:
            objects.append(_object(number, row, np.clip(box, 0, [width, height] * 2)))
    unknown = np.full((3, 3), np.nan)
    return Scene(SOURCE, key, Camera(width, height, unknown), tuple(objects), tuple(others))


def _reason(row: dict[str, Any], box: np.ndarray, statuses: tuple[str, ...], where: str) -> str | None:
    status = row["object_status"]
    if status is None:
        return NO_STATUS
    if status not in STATUSES:
        raise InputError(f"{where}: object_status {status!r}: unknown, {nearest(str(status), STATUSES)}")
    if status not in statuses:
        return _DROPS.get(status, status)
    if any(row[angle] is None or not math.isfinite(row[angle]) for angle in ANGLES):
        return "an angle is not a number"
    check_angles(row, where)
    if row["distance"] is None or not row["distance"] > 0:
        return "no pose"  # as the authors' own preprocessing does
    inside = np.clip(box, 0, [row["width"], row["height"]] * 2) if box.shape == (4,) else box
    if box.shape != (4,) or not np.isfinite(box).all() or inside[2] <= inside[0] or inside[3] <= inside[1]:
        return "no 2D box"
    return None


def _object(number: int, row: dict[str, Any], box: np.ndarray) -> SceneObject:
    turned: np.ndarray | None = None
    if row["class"] not in _table()["no_azimuth"]:
        turned = rotation(row["azimuth"], row["elevation"], row["theta"]) @ BOX_AXES
    pose: Provenance = "unavailable" if turned is None else "human"
    return SceneObject(
        id=number,
        name=_spoken(row["class"]),
        center=None,
        dimensions=None,
        R=turned,
        front=None if turned is None else turned[:, 0],
        bbox=box,
        provenance={
            "center": "unavailable",
            "dimensions": "unavailable",
            "R": pose,
            "front": pose,
            "bbox": "human",
            "color": "unavailable",
        },
    )


def _spoken(name: str) -> str:
    return _table()["names"].get(name, name.replace("_", " "))


@cache
def _table() -> dict[str, Any]:
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".npz":
        raise InputError(f"{path}: a pickle, which is never read here; convert trusted ones with imagenet3d_pickles")
    with parquet.opened(path, SCHEMA, "converted annotations", _REMEDY) as file:
        yield from parquet.rows(file, path, SCHEMA.names, _BATCH, _REMEDY)
