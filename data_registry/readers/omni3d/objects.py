"""An object's record of an Omni3D file: its values checked, and as the row of numbers that waits for the file's end."""

from array import array
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from data_registry.errors import InputError
from data_registry.readers.omni3d import sources
from data_registry.readers.omni3d.images import Image
from data_registry.readers.omni3d.rules import Measures, clipped, region
from data_registry.readers.omni3d.values import Values
from data_registry.scene import Provenance, Region, SceneObject

KEYS = ("id", "image_id", "category_name", "valid3D", "center_cam", "dimensions", "R_cam", "behind_camera")
# numbers kept of an object: id, center 3, dimensions 3, R 9, bbox 4, visibility, truncation, name, color, and its own
# front axis: ±1 to ±3 for ±x, ±y, ±z, 0 for none, BY_TABLE where only `sources.yaml` can say. Of a region left out only
# name and bbox, of a dropped object the name, and IGNORED or DROPPED in the axis' place.
ROW = 25
BY_TABLE, DROPPED, IGNORED = 9, 8, 7
_BBOX, _NAME, _COLOR, _AXIS = slice(16, 20), 22, 23, 24

Words = dict[str, int]


def measures(record: Mapping[str, Any], values: Values, where: str) -> Measures:
    """What an object's record says. InputError where a value is not what it must be."""
    number = {
        key: values.number(record.get(key, -1), where, key) for key in ("depth_error", "lidar_pts", "segmentation_pts")
    }
    share = {key: values.share(record.get(key, -1), where, key) for key in ("visibility", "truncation")}
    tight, truncated, projected = (
        _box(record, key, values, where) for key in ("bbox2D_tight", "bbox2D_trunc", "bbox2D_proj")
    )
    return Measures(
        name=" ".join(values.name(record["category_name"], where, "category_name").split()),
        flags=(
            values.boolean(record["valid3D"], where, "valid3D"),
            values.boolean(record["behind_camera"], where, "behind_camera"),
        ),
        center=values.numbers(_spelled(record["center_cam"], [-1] * 3), 3, where, "center_cam"),
        dimensions=values.numbers(_spelled(record["dimensions"], [-1] * 3), 3, where, "dimensions"),
        rotation=values.matrix(_spelled(record["R_cam"], [[-1] * 3] * 3), 3, where, "R_cam"),
        corners=_corners(record, values, where),
        tight=tight,
        truncated=truncated,
        projected=projected,
        points=(number["lidar_pts"], number["segmentation_pts"]),
        depth_error=number["depth_error"],
        visibility=share["visibility"],
        truncation=share["truncation"],
    )


def _spelled(value: Any, unavailable: list) -> Any:
    """A value, or its numbers where a lone -1 stands for them: Omni3D's word for what is unavailable."""
    return unavailable if value == -1 else value


def _box(record: Mapping[str, Any], key: str, values: Values, where: str) -> list[float] | None:
    if key not in record:
        return None
    box = values.numbers(_spelled(record[key], [-1] * 4), 4, where, key)
    return box if box[0] != -1 or box[2] != -1 else None


def _corners(record: Mapping[str, Any], values: Values, where: str) -> list[float] | None:
    value = record.get("bbox3D_cam")
    if value is None or value == -1 or value == [-1] * 8:
        return None
    numbers = values.matrix(value, 8, where, "bbox3D_cam")
    return None if all(v == -1 for v in numbers) else numbers


def kept_row(number: int, record: Mapping[str, Any], thing: Measures, image: Image, words: Words, where: str) -> bytes:
    """The row of an object that is kept."""
    color = record.get("color")
    row = [
        number,
        *thing.center,
        *thing.dimensions,
        *thing.rotation,
        *clipped(thing.boxes[0], image),
        thing.visibility,
        thing.truncation,
        words.setdefault(thing.name, len(words)),
        words.setdefault(color, len(words)) if color else -1,
        _axis(record["front_axis"], where) if "front_axis" in record else BY_TABLE,
    ]
    return array("d", row).tobytes()


def dropped_row(thing: Measures, words: Words) -> bytes:
    """The row of an object that is dropped: its name is still one that others cannot have alone."""
    row = [*[-1] * _NAME, words.setdefault(thing.name, len(words)), -1, DROPPED]
    return array("d", row).tobytes()


def ignored_row(thing: Measures, image: Image, words: Words) -> bytes:
    """The row of a region that was left out."""
    name = words.setdefault(sources.ignored(thing.name) or thing.name, len(words))
    return array("d", [*[-1] * 16, *region(thing, image), -1, -1, name, -1, IGNORED]).tobytes()


def _axis(value: Any, where: str) -> int:
    if value is None:
        return 0
    if not isinstance(value, str) or value not in sources.AXES:
        raise InputError(f"{where}: front_axis is {value!r}; it must be one of {', '.join(sources.AXES)}, or null")
    sign, index = sources.AXES[value]
    return sign * (index + 1)


def split(
    rows: np.ndarray, words: Sequence[str], source: str, stated: Provenance | None
) -> tuple[tuple[SceneObject, ...], tuple[str, ...], tuple[Region, ...]]:
    """An image's rows (n, ROW) as its objects, the names of those dropped, and the regions left out."""
    kind = rows[:, _AXIS]
    dropped, ignored = kind == DROPPED, kind == IGNORED
    return (
        tuple(_object(row, words, source, stated) for row in rows[~dropped & ~ignored]),
        tuple(words[int(row[_NAME])] for row in rows[dropped]),
        tuple(Region(words[int(row[_NAME])], row[_BBOX]) for row in rows[ignored]),
    )


def without_table(rows: np.ndarray) -> int:
    """How many of an image's objects only `sources.yaml` could give a front."""
    return int((rows[:, _AXIS] == BY_TABLE).sum())


def _object(row: np.ndarray, words: Sequence[str], source: str, stated: Provenance | None) -> SceneObject:
    name = words[int(row[_NAME])]
    rotation = row[7:16].reshape(3, 3)
    own = int(row[_AXIS])
    by_table = sources.front_axis(source, name)
    axis = by_table if own == BY_TABLE else (np.sign(own), abs(own) - 1) if own else None
    front = None if axis is None else axis[0] * rotation[:, axis[1]]
    color = words[int(row[_COLOR])] if row[_COLOR] >= 0 else None
    return SceneObject(
        id=int(row[0]),
        name=name,
        center=row[1:4],
        dimensions=row[4:7],
        R=rotation,
        front=front,
        bbox=row[_BBOX],
        color=color,
        visibility=float(row[20]) if row[20] >= 0 else None,
        truncation=float(row[21]) if row[21] >= 0 else None,
        provenance=_provenance(source, stated, front is not None, color is not None),
    )


@cache
def _provenance(source: str, stated: Provenance | None, front: bool, color: bool) -> dict[str, Provenance]:
    made: Provenance = stated or ("ground truth" if source == "rendered" else "human")
    known = dict.fromkeys(("center", "dimensions", "R", "bbox"), made)
    return known | {"front": made if front else "unavailable", "color": made if color else "unavailable"}
