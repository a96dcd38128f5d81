"""Which objects of an Omni3D file are dropped, and why: Omni3D's own ignore rules, and records that cannot be true."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_registry.readers.omni3d import agreement, sources
from data_registry.readers.omni3d.images import Image

IGNORED, UNNAMED = "a region left out of the annotation", "no name to ask for"


@dataclass(frozen=True, slots=True)
class Rules:
    """Which objects are dropped; heights are shares of the image's height, the others as in the file.

    Attributes:
        center_shift: how far the principal point of an image may lie from its middle, as a share of the image's size;
            more means that K is that of another size.
        max_side_m, max_distance_m: what is longer or farther off is not in metres.
    """

    min_height: float = 0.05
    max_height: float = 1.5
    max_truncation: float = 0.75
    min_visibility: float = 0.25
    max_depth_error: float = 0.5
    center_shift: float = 0.3
    max_side_m: float = 100.0
    max_distance_m: float = 500.0


@dataclass(frozen=True, slots=True)
class Measures:
    """What an object's record says, its values checked one by one; boxes are None where unavailable.

    Attributes:
        flags: valid3D, behind_camera.
        points: lidar_pts, segmentation_pts; -1 where unavailable, as the three after it.
        corners: 24 numbers.
    """

    name: str
    flags: tuple[bool, bool]
    center: list[float]
    dimensions: list[float]
    rotation: list[float]
    corners: list[float] | None
    tight: list[float] | None
    truncated: list[float] | None
    projected: list[float] | None
    points: tuple[float, float]
    depth_error: float
    visibility: float
    truncation: float

    @property
    def boxes(self) -> list[list[float]]:
        """The 2D boxes there are, from the tightest to the whole."""
        return [box for box in (self.tight, self.truncated, self.projected) if box is not None]


def reason(thing: Measures, image: Image, rules: Rules) -> str | None:
    """Why an object is dropped, or None."""
    return _by_name(thing) or _by_box(thing, rules) or _by_image(thing, image, rules) or _by_share(thing, rules)


def _by_name(thing: Measures) -> str | None:
    if sources.ignored(thing.name):
        return IGNORED
    return UNNAMED if sources.unnamed(thing.name) else None


def _by_box(thing: Measures, rules: Rules) -> str | None:
    """Of the 3D box alone."""
    valid, behind = thing.flags
    if behind:
        return "behind the camera"
    if not valid:
        return "no valid 3D box"
    if min(thing.dimensions) <= 0:
        return "a dimension is not positive"
    if not agreement.is_rotation(thing.rotation):
        return "R_cam is no rotation"
    if thing.center[2] <= 0:
        return "its box is behind its image"
    if max(thing.dimensions) > rules.max_side_m or thing.center[2] > rules.max_distance_m:
        return "its size or distance is not in metres"
    if thing.points[0] == 0:
        return "no lidar points"
    if thing.points[1] == 0:
        return "no segmentation points"
    return "depth error" if thing.depth_error > rules.max_depth_error else None


def _by_image(thing: Measures, image: Image, rules: Rules) -> str | None:
    """Of the 3D box beside the 2D boxes."""
    boxes, size = thing.boxes, (image.width, image.height)
    if not boxes:
        return "no 2D box"
    if not all(x1 > x0 and y1 > y0 for x0, y0, x1, y1 in (boxes[0], boxes[-1])):
        return "its 2D box has no area"
    if fault := _contradiction(thing, image, size):
        return fault
    if agreement.elsewhere(thing.center, boxes[-1], image.K, size):
        return agreement.PLACE
    height = (boxes[-1][3] - boxes[-1][1]) / image.height
    if height <= rules.min_height:
        return "too small in the image"
    return "too large for the image" if height >= rules.max_height else None


def _contradiction(thing: Measures, image: Image, size: tuple[int, int]) -> str | None:
    points = agreement.corners(thing.center, thing.dimensions, thing.rotation)
    return agreement.contradiction(points, image.K, size, thing.corners, thing.tight, thing.truncated, thing.projected)


def _by_share(thing: Measures, rules: Rules) -> str | None:
    if thing.truncation >= rules.max_truncation:
        return "truncated"
    return "hidden" if 0 <= thing.visibility <= rules.min_visibility else None


def clipped(box: Sequence[float], image: Image) -> list[float]:
    """A 2D box's part inside its image."""
    limits = (image.width, image.height) * 2
    return [min(max(v, 0.0), limit) for v, limit in zip(box, limits, strict=True)]


def region(thing: Measures, image: Image) -> list[float]:
    """Where a region that was left out lies, in pixels; the whole image where its record does not say."""
    inside = clipped(thing.boxes[0], image) if thing.boxes else [0.0] * 4
    return inside if inside[2] > inside[0] and inside[3] > inside[1] else [0.0, 0.0, image.width, image.height]
