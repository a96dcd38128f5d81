"""Scenes of any reader as an Omni3D file, which is what later stages read: objects, those dropped, regions left out."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_registry.readers import omni3d
from data_registry.scene import Scene, SceneObject

_AXES = {"+x": (0, 1), "-x": (0, -1), "+y": (1, 1), "-y": (1, -1), "+z": (2, 1), "-z": (2, -1)}
_ALONG = 0.999  # cosine between a front and the axis of the box that it is written as


def write(scenes: Callable[[], Iterator[Scene]], path: Path, drops: Counter[str]) -> int:
    """Write an Omni3D file; returns how many scenes it has.

    Args:
        scenes: reads them from their source; called twice, since the file begins with the names that occur.
        drops: counts what the form cannot hold: objects without a 3D box, fronts along no axis of their box.
    """
    names = sorted({name for scene in scenes() for name in _names(scene)})
    numbers = {name: k for k, name in enumerate(names)}
    info = {"id": 0, "source": "given", "name": path.stem, "split": "", "version": "1", "url": ""}
    categories = [{"id": k, "name": name, "supercategory": ""} for name, k in numbers.items()]
    count = last = 0
    with omni3d.Writer(path, info, categories) as file:
        for count, scene in enumerate(scenes(), 1):
            records = [*_objects(scene, drops), *_others(scene)]
            for record in records:
                record |= {"id": last, "image_id": count, "dataset_id": 0, "category_id": numbers[record[_NAME]]}
                last += 1
            file.add(_image(scene, count), records)
    return count


_NAME = "category_name"
_NO_BOX: dict[str, Any] = {
    "valid3D": False, "behind_camera": False, "center_cam": [-1.0] * 3, "dimensions": [-1.0] * 3,
    "R_cam": np.eye(3).tolist(), "bbox3D_cam": [[-1.0] * 3] * 8, "bbox2D_tight": [-1.0] * 4,
    "bbox2D_trunc": [-1.0] * 4, "bbox2D_proj": [-1.0] * 4, "visibility": -1, "truncation": -1, "depth_error": -1,
    "lidar_pts": -1, "segmentation_pts": -1, "front_axis": None,
}  # fmt: skip


def _names(scene: Scene) -> Iterator[str]:
    yield from (thing.name for thing in scene.objects)
    yield from scene.others
    yield from (region.name for region in scene.ignored)


def _image(scene: Scene, number: int) -> dict[str, Any]:
    camera = scene.camera
    image = {
        "id": number, "dataset_id": 0, "width": camera.width, "height": camera.height, "file_path": scene.image,
        "K": camera.K.tolist(), "src_90_rotate": 0, "src_flagged": False, "source": scene.source,
    }  # fmt: skip
    known = {"up_cam": None if camera.up is None else camera.up.tolist(), "scene": scene.kind or None}
    return image | {key: value for key, value in known.items() if value is not None}


def _objects(scene: Scene, drops: Counter[str]) -> Iterator[dict[str, Any]]:
    for thing in scene.objects:
        record = _NO_BOX | {_NAME: thing.name}
        if thing.center is None or thing.dimensions is None or thing.R is None:
            drops["no 3D box"] += 1
            yield record
            continue
        axis = _front_axis(thing)
        if thing.front is not None and axis is None:
            drops["front along no axis of the box"] += 1
        yield record | {
            "valid3D": True,
            "center_cam": thing.center.tolist(),
            "dimensions": thing.dimensions.tolist(),
            "R_cam": thing.R.tolist(),
            "bbox3D_cam": thing.corners().tolist(),
            "bbox2D_tight": thing.bbox.tolist(),
            "visibility": -1 if thing.visibility is None else thing.visibility,
            "truncation": -1 if thing.truncation is None else thing.truncation,
            "front_axis": axis,
            **({} if thing.color is None else {"color": thing.color}),
        }


def _front_axis(thing: SceneObject) -> str | None:
    if thing.front is None or thing.R is None:
        return None
    along = thing.front @ thing.R  # cosines with the three axes
    return next((name for name, (k, sign) in _AXES.items() if sign * along[k] > _ALONG), None)


def _others(scene: Scene) -> Iterator[dict[str, Any]]:
    """What questions must know to be there: objects that were dropped, and regions that were left out."""
    for name in scene.others:
        yield _NO_BOX | {_NAME: name}
    for region in scene.ignored:
        yield _NO_BOX | {_NAME: region.name, "bbox2D_tight": region.bbox.tolist()}
