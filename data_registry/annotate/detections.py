"""Detections of a picture, as a detector and a segmenter give them, and which of them are objects."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_registry.annotate.filters import DetectionFilters


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing in a picture.

    Attributes:
        name: the tag it was found by.
        score: of its box, 0..1.
        box: (4,) x1, y1, x2, y2 in pixels.
        mask: (h, w) bool, once it is known.
        mask_score: the segmenter's estimate of the mask's quality, 0..1.
    """

    name: str
    score: float
    box: np.ndarray
    mask: np.ndarray | None = None
    mask_score: float = 0.0

    @property
    def shape(self) -> np.ndarray:
        """The mask; ValueError before it is known."""
        if self.mask is None:
            raise ValueError(f"{self.name}: no mask yet")
        return self.mask


def select(detections: Sequence[Detection], filters: DetectionFilters, drops: Counter[str]) -> list[Detection]:
    """Confident boxes, each thing once, the most confident first; the others are counted in `drops`."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: (-d.score, d.name, *d.box.tolist())):
        if detection.score < filters.box_score:
            drops["box: not confident"] += 1
        elif any(_iou(detection.box, other.box) > filters.nms_iou for other in kept):
            drops["box: another one of the same thing"] += 1
        elif len(kept) == filters.most_objects:
            drops["box: too many in one picture"] += 1
        else:
            kept.append(detection)
    return kept


def mask_fault(detection: Detection, filters: DetectionFilters) -> str | None:
    """Why an object cannot be placed in space by its mask, or None."""
    height, width = detection.shape.shape
    share = detection.shape.mean()
    if detection.mask_score < filters.mask_score:
        return "mask: not confident"
    if share < filters.min_area:
        return "mask: too small"
    if share > filters.max_area:
        return "mask: too large"
    x1, y1, x2, y2 = extent(detection.shape)
    near = filters.edge_px
    if x1 < near or y1 < near or x2 > width - near or y2 > height - near:
        return "mask: cut by the image's edge"
    return None


def extent(mask: np.ndarray) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 in pixels around a mask; all 0 where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.maximum(high - low, 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common
    return float(common / union) if union > 0 else 0.0
