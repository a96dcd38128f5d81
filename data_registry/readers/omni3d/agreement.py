"""Whether the numbers of one object's record agree: its corners with its box, and its 2D boxes with the projection.
Plain Python: a tenth of numpy's time on eight points.

Thresholds, by the ten real records at hand (Omni3D's form of three KITTI frames, and the label files themselves):
corners differ from the box by 0, projected boxes by 0 pixels; of a hand-drawn box 96 to 100 % lies in the projected
one, 89 to 98 % is their intersection over union. What has to be caught is far off: a heading off by a right angle moves
corners by a third of the diagonal, width and length exchanged by a tenth of it, a bottom face's centre by a fifth;
intrinsics for a picture a quarter larger move a projection by a quarter of its distance from the origin.
"""

from collections.abc import Sequence

CORNERS, BOXES, PLACE = (
    "bbox3D_cam is not the box of center_cam, dimensions and R_cam",
    "its 2D boxes are not where K projects its 3D box",
    "its 3D box is not where its 2D box is",
)
_CORNER = 0.02  # of the box's diagonal, and 1 mm for files that round to millimetres
_PROJECTED = 0.02  # of the projected box's longer side, and a pixel for those that count pixels from another corner
_TIGHT = 0.25  # share of a hand-drawn box inside the projected one: of what hides behind others it shows the rest
_ALONE = 0.4  # intersection over union of the two where there is nothing else to compare
_SIGNS = ((-1, -1, -1), (1, -1, -1), (1, 1, -1), (-1, 1, -1), (-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1))

Point = tuple[float, float, float]
Extent = tuple[float, float, float, float]


def is_rotation(matrix: Sequence[float], tolerance: float = 2e-2) -> bool:
    """Whether nine numbers, row by row, are a rotation: orthonormal and right-handed, as far as two decimals can be."""
    a, b, c, d, e, f, g, h, i = matrix
    lengths = (a * a + b * b + c * c, d * d + e * e + f * f, g * g + h * h + i * i)
    angles = (a * d + b * e + c * f, a * g + b * h + c * i, d * g + e * h + f * i)
    right_handed = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) > 0
    return right_handed and all(abs(v - 1) < tolerance for v in lengths) and all(abs(v) < tolerance for v in angles)


def corners(center: Sequence[float], dimensions: Sequence[float], rotation: Sequence[float]) -> list[Point]:
    """The eight corners in metres, as `scene.box_corners` has them; rotation: nine numbers, row by row."""
    w, h, l = (v / 2 for v in dimensions)
    x, y, z = center
    a, b, c, d, e, f, g, i, j = rotation
    return [
        (
            x + sx * a * l + sy * b * h + sz * c * w,
            y + sx * d * l + sy * e * h + sz * f * w,
            z + sx * g * l + sy * i * h + sz * j * w,
        )
        for sx, sy, sz in _SIGNS
    ]


def project(points: Sequence[Point], K: Sequence[float]) -> Extent | None:
    """x0, y0, x1, y1 of the points in pixels, or None where one of them is not before the camera."""
    if min(p[2] for p in points) <= 0:
        return None
    fx, skew, cx, _, fy, cy = K[:6]
    u = [(fx * x + skew * y) / z + cx for x, y, z in points]
    v = [fy * y / z + cy for _, y, z in points]
    return min(u), min(v), max(u), max(v)


def same_corners(points: Sequence[Point], stated: Sequence[float]) -> bool:
    """Whether `bbox3D_cam`, 24 numbers, is the box with these corners, in Omni3D's order."""
    low, high = points[0], points[6]  # opposite each other
    diagonal = sum((a - b) ** 2 for a, b in zip(low, high, strict=True)) ** 0.5
    limit = _CORNER * diagonal + 1e-3
    flat = (value for point in points for value in point)
    return all(abs(a - b) <= limit for a, b in zip(flat, stated, strict=True))


def contradiction(
    points: Sequence[Point],
    K: Sequence[float],
    size: tuple[int, int],
    stated: Sequence[float] | None,
    tight: Sequence[float] | None,
    truncated: Sequence[float] | None,
    projected: Sequence[float] | None,
) -> str | None:
    """Why a record contradicts itself, or None.

    Args:
        points: the corners by centre, dimensions and rotation.
        K: nine numbers; size: width and height of the image in pixels.
        stated: `bbox3D_cam`; tight, truncated, projected: the 2D boxes; each None where the record has none.
    """
    if stated is not None and not same_corners(points, stated):
        return CORNERS
    extent = project(points, K)
    if extent is None:  # a corner is behind the camera, so the box has no outline in the image
        return None
    inside = _clipped(extent, size)
    for box, reference in ((projected, extent), (truncated, inside)):
        if box is not None and not _same(box, reference, extent):
            return BOXES
    if tight is None:
        return None
    if stated is None and projected is None and truncated is None:
        return None if covers(tight, extent, size) else PLACE
    return None if _common(tight, inside) >= _TIGHT * _area(tight) else PLACE


def covers(tight: Sequence[float], extent: Sequence[float], size: tuple[int, int]) -> bool:
    """Whether the hand-drawn box of an object that nothing hides is about where its 3D box projects to."""
    inside = _clipped(extent, size)
    common = _common(tight, inside)
    return common >= _ALONE * (_area(tight) + _area(inside) - common)


def elsewhere(center: Sequence[float], box: Sequence[float], K: Sequence[float], size: tuple[int, int]) -> bool:
    """Whether the middle of a 3D box is seen more than its 2D box's own size beside that box.

    A 2D box that ends at the image's edge says nothing of where the middle is.
    """
    x0, y0, x1, y1 = box
    if x0 <= 1 or y0 <= 1 or x1 >= size[0] - 1 or y1 >= size[1] - 1:
        return False
    fx, _, cx, _, fy, cy = K[:6]
    x, y = fx * center[0] / center[2] + cx, fy * center[1] / center[2] + cy
    return not (2 * x0 - x1 <= x <= 2 * x1 - x0 and 2 * y0 - y1 <= y <= 2 * y1 - y0)


def _clipped(box: Sequence[float], size: tuple[int, int]) -> Extent:
    x0, y0, x1, y1 = (min(max(v, 0.0), limit) for v, limit in zip(box, size * 2, strict=True))
    return x0, y0, x1, y1


def _same(box: Sequence[float], reference: Extent, extent: Extent) -> bool:
    limit = 1 + _PROJECTED * max(extent[2] - extent[0], extent[3] - extent[1])
    return all(abs(a - b) <= limit for a, b in zip(box, reference, strict=True))


def _common(box: Sequence[float], other: Extent) -> float:
    """Area of what two boxes share, square pixels."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
