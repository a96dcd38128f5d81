"""Poses of single objects: a head on DINOv2's patch features of the object's crop, with bins for each of three angles.
Angles and bins are `data_registry.annotate.pose_bins`'s; here they are distributions only."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from model.backbones.encoders import VisionEncoder
from model.backbones.images import PAD_COLOR, to_pixels

ANGLES = 3


class PoseHead(nn.Module):
    """Patch features -> a distribution over bins for azimuth, elevation and theta.

    Features are pooled to a small grid: what lies where in the crop is what tells a pose.

    Args:
        width: of a patch feature.
        bins: per angle.
        grid: side of the pooled grid.
        hidden: width of the one hidden layer.
    """

    def __init__(self, width: int, bins: int, grid: int, hidden: int, dropout: float = 0.0):
        super().__init__()
        self._arguments = {"width": width, "bins": bins, "grid": grid, "hidden": hidden, "dropout": dropout}
        self.bins = bins
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.norm = nn.LayerNorm(width)
        self.layer = nn.Linear(width * grid * grid, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, ANGLES * bins)

    def pooled(self, features: torch.Tensor) -> torch.Tensor:
        """(n, grid * grid, width) of patch features (n, side * side, width): all that training keeps of a crop."""
        n, patches, width = features.shape
        side = math.isqrt(patches)
        return self.pool(features.transpose(1, 2).reshape(n, width, side, side)).flatten(2).transpose(1, 2)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """(n, 3, bins) logits of pooled features."""
        hidden = nn.functional.gelu(self.layer(self.norm(pooled).flatten(1)))
        return self.out(self.dropout(hidden)).reshape(len(pooled), ANGLES, self.bins)

    def describe(self) -> dict[str, Any]:
        """What rebuilds this module without weights; JSON-able."""
        return self._arguments


class PoseEstimator:
    """A frozen encoder with a head.

    Args:
        margin: share of the box's longer side that a crop shows around it, on each side.
    """

    def __init__(self, encoder: VisionEncoder, head: PoseHead, margin: float):
        self.encoder, self.head, self.margin = encoder.eval(), head, margin

    def to(self, device: str) -> "PoseEstimator":
        """Both on a device."""
        self.encoder.to(device)
        self.head.to(device)
        return self

    @torch.no_grad()
    def __call__(self, crops: np.ndarray, batch: int = 64) -> np.ndarray:
        """(n, 3, bins) probabilities of crops (n, 3, s, s) uint8."""
        probabilities = [np.zeros((0, ANGLES, self.head.bins))]
        for start in range(0, len(crops), batch):
            logits = self.head(self.features(crops[start : start + batch]))
            probabilities.append(logits.softmax(-1).cpu().numpy())
        return np.concatenate(probabilities)

    @torch.no_grad()
    def features(self, crops: np.ndarray) -> torch.Tensor:
        """(n, grid * grid, width) pooled features of crops (n, 3, s, s) uint8."""
        pixels = torch.from_numpy(crops).to(self.head.out.weight.device)
        return self.head.pooled(self.encoder(pixels).float())

    def crops(self, picture: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """(n, 3, s, s) uint8 crops of boxes (n, 4) of a picture (h, w, 3), see `crop`."""
        size = self.encoder.spec.image_size
        made = np.empty((len(boxes), 3, size, size), np.uint8)
        for row, box in zip(made, boxes, strict=True):
            row[:] = crop(picture, box, size, self.margin)
        return made


def crop(picture: np.ndarray, box: np.ndarray, size: int, margin: float) -> np.ndarray:
    """(3, size, size) uint8 of the square around a box; what lies outside the picture is padding."""
    x1, y1, x2, y2 = (float(v) for v in box)
    half = max(max(x2 - x1, y2 - y1) * (0.5 + margin), 1.0)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    low = np.floor([x - half, y - half]).astype(int)
    side = int(np.ceil(2 * half))
    height, width = picture.shape[:2]
    a, b = np.maximum(low, 0), np.minimum(low + side, [width, height])
    square = np.full((side, side, 3), PAD_COLOR, np.uint8)
    square[a[1] - low[1] : b[1] - low[1], a[0] - low[0] : b[0] - low[0]] = picture[a[1] : b[1], a[0] : b[0]]
    return to_pixels(Image.fromarray(square), size)
