"""What is known about a world's objects: as a `Scene`, and as the records of an Omni3D file.
Both know every labelled object; which of them are fit to be asked about is the reader's decision."""

import math

import numpy as np

from data_registry.render.catalog import CATEGORIES, NAMES
from data_registry.render.picture import Picture
from data_registry.render.world import Box, World, body_box
from data_registry.scene import Camera, Provenance, Scene, SceneObject

SOURCE = "rendered"
DATASET_ID = 100
_OBJECTS_PER_IMAGE = 16  # room for ids: annotation id = image id * 16 + position


def intrinsics(world: World, size: int) -> list[list[float]]:
    focal = world.view.focal * size
    return [[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]]


def up(world: World) -> tuple[float, float, float]:
    """Unit vector against gravity in camera coordinates."""
    x, y, z = (row[2] for row in world.view.rotation)
    return x, y, z


def scene(world: World, size: int = 96, image: str = "", picture: Picture | None = None) -> Scene:
    """The world as a `Scene`, objects in the order of `world.bodies`.

    Args:
        size: of the image in pixels.
        image: its key.
        picture: if it was rendered; without one, visibility is None and nothing is rendered.

    Objects outside the image (they occur in `another_view`) are left out, as are objects of which no pixel is visible;
    their names are among `others`.
    """
    objects, others = [], []
    known = ("center", "dimensions", "R", "front", "bbox", "color")
    truth: dict[str, Provenance] = dict.fromkeys(known, "ground truth")
    for index, body in enumerate(world.bodies[: world.labelled]):
        box = body_box(world.view, body)
        hidden = picture is not None and picture.visible[index] == 0
        if box.extent is None or box.truncation >= 1 or hidden:
            others.append(body.name)
            continue
        rotation = np.array(box.rotation)
        objects.append(
            SceneObject(
                id=world.index * _OBJECTS_PER_IMAGE + index,
                name=body.name,
                center=np.array(box.center),
                dimensions=np.array(body.dimensions),
                R=rotation,
                front=rotation[:, 0].copy(),
                bbox=np.array(box.clipped) * size if picture is None else picture.tight[index].copy(),
                color=body.color,
                visibility=None if picture is None else float(picture.visible[index] / picture.alone[index]),
                truncation=box.truncation,
                provenance=truth,
            )
        )
    camera = Camera(size, size, np.array(intrinsics(world, size)), np.array(up(world)))
    return Scene(SOURCE, image, camera, tuple(objects), tuple(others), world.kind)


def categories() -> list[dict]:
    """Omni3D's list of categories."""
    return [{"id": i, "name": n, "supercategory": c.supercategory} for i, (n, c) in enumerate(CATEGORIES.items())]


def records(world: World, picture: Picture, file_path: str) -> tuple[dict, list[dict]]:
    """An Omni3D image record and its annotations.

    Beyond Omni3D's keys: image.scene, up_cam, cam_height (m), cam_pitch_deg, cam_roll_deg; annotation.color.
    """
    size = picture.rgb.shape[0]
    view = world.view
    image = {
        "id": world.index,
        "dataset_id": DATASET_ID,
        "width": size,
        "height": size,
        "file_path": file_path,
        "K": _rounded(intrinsics(world, size), 4),
        "src_90_rotate": 0,
        "src_flagged": False,
        "scene": world.kind,
        "up_cam": _rounded(up(world), 6),
        "cam_height": round(view.position[2], 4),
        "cam_pitch_deg": round(math.degrees(view.pitch), 3),
        "cam_roll_deg": round(math.degrees(view.roll), 3),
    }
    annotations = []
    for index, body in enumerate(world.bodies[: world.labelled]):
        box = body_box(view, body)
        annotations.append(_annotation(world, picture, index, box, size))
    return image, annotations


def _annotation(world: World, picture: Picture, index: int, box: Box, size: int) -> dict:
    body = world.bodies[index]
    alone = float(picture.alone[index])
    missing = [-1.0] * 4
    return {
        "id": world.index * _OBJECTS_PER_IMAGE + index,
        "image_id": world.index,
        "dataset_id": DATASET_ID,
        "category_id": NAMES.index(body.name),
        "category_name": body.name,
        "valid3D": True,
        "bbox2D_tight": _rounded(picture.tight[index].tolist(), 2),
        "bbox2D_proj": _rounded([v * size for v in box.extent], 2) if box.extent else missing,
        "bbox2D_trunc": _rounded([v * size for v in box.clipped], 2) if box.extent else missing,
        "bbox3D_cam": _rounded(box.corners, 5),
        "center_cam": _rounded(box.center, 5),
        "dimensions": _rounded(body.dimensions, 5),
        "R_cam": _rounded(box.rotation, 7),
        "behind_camera": box.extent is None,
        "visibility": round(float(picture.visible[index]) / alone, 4) if alone else 0.0,
        "truncation": round(box.truncation, 4) if box.extent else 1.0,
        "segmentation_pts": round(float(picture.visible[index])),
        "lidar_pts": -1,
        "depth_error": 0.0,
        "color": body.color,
    }


def _rounded(values, digits: int) -> list:
    return [_rounded(v, digits) if isinstance(v, (list, tuple)) else round(v, digits) for v in values]
