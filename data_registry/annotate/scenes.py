"""From masks, depth and intrinsics to Omni3D records: gravity, clouds, boxes, fronts, and a count of what fell out.
What cannot be placed stays in the records as an object without a 3D box, so that its name is not taken for unique."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_registry.annotate import boxes, clouds, gravity
from data_registry.annotate.detections import Detection, extent, mask_fault
from data_registry.annotate.filters import BoxFilters, CloudFilters, DetectionFilters, GravityFilters, PoseFilters
from data_registry.annotate.pose_bins import Pose, box_rotation
from data_registry.errors import InputError

MOST_OBJECTS = 1024  # room for ids: annotation id = image id * 1024 + position


@dataclass(frozen=True, slots=True)
class Filters:
    """All thresholds (params.yaml: annotate.*.filters)."""

    detection: DetectionFilters = field(default_factory=DetectionFilters)
    cloud: CloudFilters = field(default_factory=CloudFilters)
    gravity: GravityFilters = field(default_factory=GravityFilters)
    box: BoxFilters = field(default_factory=BoxFilters)
    pose: PoseFilters = field(default_factory=PoseFilters)

    def __post_init__(self) -> None:
        if not 1 <= self.detection.most_objects <= MOST_OBJECTS:
            most = self.detection.most_objects
            raise InputError(f"filters.detection.most_objects: {most}: must be 1 to {MOST_OBJECTS}, as there are ids")


@dataclass(frozen=True, slots=True)
class Placed:
    """An object with its points, or the reason why it has none.

    Attributes:
        points: (n, 3) metres in the camera's frame.
    """

    detection: Detection
    points: np.ndarray
    fault: str | None


@dataclass(frozen=True, slots=True)
class Space:
    """What is known of a picture's space: intrinsics (3, 3), up (3,) against gravity or None, and the objects."""

    K: np.ndarray
    up: np.ndarray | None
    objects: list[Placed]


def place(
    detections: Sequence[Detection],
    depth: np.ndarray,
    K: np.ndarray,
    filters: Filters,
    offset: tuple[float, float] = (0.5, 0.5),
    seed: int = 0,
) -> Space:
    """Cut every object's points out of a depth map and find gravity.

    Args:
        detections: detections with masks (h, w).
        depth: (h, w) z in metres; what is not positive, not finite or beyond `filters.cloud.max_depth_m` is unknown.
        K: (3, 3) intrinsics in pixels.
        offset: see `clouds.unproject`.
    """
    rules = filters.cloud
    depth = np.where((depth > 0) & (depth <= rules.max_depth_m), depth, np.nan)
    points = clouds.unproject(depth, K, offset)
    between = clouds.smeared(depth, rules.edge_ratio)
    things = np.zeros(depth.shape, bool)
    for thing in detections:
        if thing.shape.mean() <= filters.detection.max_area:
            things |= thing.shape
    up = gravity.up(points, things, filters.gravity, rules.edge_ratio)
    placed = []
    for thing in detections:
        cloud, fault = points[:0, 0], mask_fault(thing, filters.detection)
        if fault is None and up is None:
            fault = "gravity unknown"
        if fault is None:
            own = thing.shape & ~between
            z = depth[own]
            spacing = float(np.nanmedian(z) / K[0, 0]) if np.isfinite(z).any() else 0.0
            cloud, fault = clouds.clean(points[own], rules, spacing, seed)
            fault = fault and f"cloud: {fault}"
        placed.append(Placed(thing, cloud, fault))
    return Space(K, up, placed)


def records(
    number: int,
    key: str,
    size: tuple[int, int],
    space: Space,
    poses: Sequence[Pose | None],
    categories: dict[str, int],
    filters: Filters,
    drops: Counter[str],
    dataset_id: int = 0,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An Omni3D image record and its annotations; beyond Omni3D's keys: up_cam, front_axis, score.

    Args:
        number: the image's id.
        size: width and height in pixels.
        poses: of `space.objects`, None where there is none.
        categories: ids by name.
        drops: filled with counts of dropped objects and fronts by reason; "objects" counts them all.
    """
    image: dict[str, Any] = {
        "id": number,
        "dataset_id": dataset_id,
        "width": size[0],
        "height": size[1],
        "file_path": key,
        "K": np.round(space.K, 4).tolist(),
        "src_90_rotate": 0,
        "src_flagged": False,
    }
    if space.up is not None:
        image["up_cam"] = np.round(space.up, 6).tolist()
    annotations = []
    for index, (thing, pose) in enumerate(zip(space.objects, poses, strict=True)):
        drops["objects"] += 1
        box, front, fault = None, False, thing.fault
        if fault is None and space.up is not None:
            box, front, fault = _box(thing, space.up, pose, filters, drops)
        if fault is not None:
            drops[fault] += 1
        annotations.append(
            {
                "id": number * MOST_OBJECTS + index,
                "image_id": number,
                "dataset_id": dataset_id,
                "category_id": categories[thing.detection.name],
                "category_name": thing.detection.name,
                **_measures(thing.detection, box if fault is None else None, space.K, size),
                "front_axis": "+x" if front and fault is None else None,
                "score": round(thing.detection.score, 4),
            }
        )
    return image, annotations


def _box(
    thing: Placed, up: np.ndarray, pose: Pose | None, filters: Filters, drops: Counter[str]
) -> tuple[boxes.OrientedBox, bool, str | None]:
    """The object's box, whether its x axis is the front, and why it is dropped, if it is."""
    front = _front(thing, up, pose, filters, drops)
    box = boxes.fit(thing.points, up, front, filters.box.quantile)
    box = boxes.complete(box, thing.detection.name, front is not None)
    sides = box.dimensions
    fault = None
    if sides.min() < filters.box.min_side_m:
        fault = "box: a side is too short"
    elif sides.max() > filters.box.max_side_m:
        fault = "box: a side is too long"
    elif box.center[2] <= 0:
        fault = "box: behind the camera"
    return box, front is not None, fault


def _front(
    thing: Placed, up: np.ndarray, pose: Pose | None, filters: Filters, drops: Counter[str]
) -> np.ndarray | None:
    """(3,) where the object faces, or None where that is not known well enough; counted by reason."""
    if pose is None:
        drops["front: no pose"] += 1
        return None
    if pose.confidence[0] < filters.pose.confidence:
        drops["front: not confident"] += 1
        return None
    turned = box_rotation(pose, thing.points.mean(0))
    if -turned[:, 1] @ up < np.cos(np.radians(filters.pose.upright_deg)):
        drops["front: not upright"] += 1
        return None
    return turned[:, 0]


def _measures(thing: Detection, box: boxes.OrientedBox | None, K: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """The geometric keys of an annotation; -1 throughout where there is no 3D box."""
    tight = extent(thing.shape)
    known = {
        "bbox2D_tight": list(tight),
        "valid3D": box is not None,
        "behind_camera": False,
        "visibility": -1,
        "truncation": -1,
        "segmentation_pts": int(thing.shape.sum()),
        "lidar_pts": -1,
        "depth_error": -1,
    }
    if box is None:
        missing = [-1.0] * 3
        return known | {"center_cam": missing, "dimensions": missing, "R_cam": [missing] * 3}
    corners = box.corners()
    known |= {
        "bbox3D_cam": np.round(corners, 5).tolist(),
        "center_cam": np.round(box.center, 5).tolist(),
        "dimensions": np.round(box.dimensions, 5).tolist(),
        "R_cam": np.round(box.R, 7).tolist(),
    }
    if corners[:, 2].min() > 0:
        uv = corners @ K.T
        uv = uv[:, :2] / uv[:, 2:]
        extent_ = np.concatenate([uv.min(0), uv.max(0)])
        known["bbox2D_proj"] = np.round(extent_, 2).tolist()
        known["bbox2D_trunc"] = np.round(np.clip(extent_, 0, size * 2), 2).tolist()
    return known
