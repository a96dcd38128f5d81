"""Records of Omni3D whose numbers agree with each other, as those of its authors do."""

import numpy as np

from data_registry.scene import box_corners

K = [[80.0, 0, 50], [0, 80, 50], [0, 0, 1]]
TOWARDS = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # the front, +x, comes towards the camera


def record(size: int = 100, camera: list | None = None, **changes) -> dict:
    """A sound KITTI car in the image `images()[0]`; corners and 2D boxes follow from what is changed."""
    car = {
        "id": 1,
        "image_id": 5,
        "category_name": "car",
        "valid3D": True,
        "center_cam": [0.5, 1.0, 12.0],
        "dimensions": [1.7, 1.5, 4.0],
        "R_cam": TOWARDS,
        "behind_camera": False,
        "visibility": 0.9,
        "truncation": 0.1,
        "segmentation_pts": 200,
        "lidar_pts": 30,
        "depth_error": 0.1,
    }
    car |= {key: changes[key] for key in ("center_cam", "dimensions", "R_cam") if key in changes}
    try:
        derived = boxes(car["center_cam"], car["dimensions"], car["R_cam"], size, camera or K)
    except (TypeError, ValueError):  # it is to be broken
        derived = boxes([0.5, 1.0, 12.0], [1.7, 1.5, 4.0], TOWARDS, size, K)
    return car | derived | changes


def boxes(center: list, dimensions: list, rotation: list, size: int = 100, camera: list | None = None) -> dict:
    """The corners and 2D boxes of a 3D box, in Omni3D's keys."""
    corners = box_corners(np.array(center, float), np.array(dimensions, float), np.array(rotation, float))
    if corners[:, 2].min() <= 0:
        missing = dict.fromkeys(("bbox2D_tight", "bbox2D_trunc", "bbox2D_proj"), [-1] * 4)
        return missing | {"bbox3D_cam": corners.tolist()}
    pixels = corners @ np.array(camera or K, float).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    whole = np.concatenate([pixels.min(0), pixels.max(0)])
    inside = np.clip(whole, 0, size)
    shrink = 0.02 * (inside[2:] - inside[:2])  # a car is no box
    tight = np.concatenate([inside[:2] + shrink, inside[2:] - shrink])
    return {
        "bbox3D_cam": corners.tolist(),
        "bbox2D_proj": whole.tolist(),
        "bbox2D_trunc": inside.tolist(),
        "bbox2D_tight": tight.tolist(),
    }
