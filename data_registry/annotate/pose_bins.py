"""Poses in bins: azimuth, elevation and theta as distributions, and as the directions they mean in the picture.
ImageNet3D's angles (`data_registry.readers.imagenet3d.rotation`): of a camera that looks straight at the object."""

import math
from typing import NamedTuple

import numpy as np

from data_registry.readers.imagenet3d import BOX_AXES, rotation

ANGLES = ("azimuth", "elevation", "theta")
_LOW = np.array([0.0, -math.pi / 2, -math.pi])  # where each angle's bins begin
_SPAN = np.array([2 * math.pi, math.pi, 2 * math.pi])
_CIRCULAR = np.array([True, False, True])


class Pose(NamedTuple):
    """Angles in radians, and how sure each is: the share of its distribution in the best bin and its two neighbours."""

    azimuth: float
    elevation: float
    theta: float
    confidence: tuple[float, float, float]


def encode(angles: np.ndarray, bins: int) -> np.ndarray:
    """(n, 3, bins) distributions of angles (n, 3) in radians: each split between the two bins whose middles it is
    between, so that decoding gives it back."""
    place = (np.asarray(angles, float) - _LOW) % np.where(_CIRCULAR, _SPAN, np.inf) / _SPAN * bins - 0.5
    low = np.floor(place).astype(int)
    share = place - low
    bins_of = np.zeros((*place.shape, bins))
    for offset, weight in ((0, 1 - share), (1, share)):
        bin_ = low + offset
        bin_ = np.where(_CIRCULAR, bin_ % bins, np.clip(bin_, 0, bins - 1))
        np.add.at(bins_of, (*np.indices(place.shape), bin_), weight)
    return bins_of


def decode(probabilities: np.ndarray) -> list[Pose]:
    """Poses of distributions (n, 3, bins): around the best bin, the mean of it and its two neighbours."""
    bins = probabilities.shape[-1]
    best = probabilities.argmax(-1)
    around = best[..., None] + np.array([-1, 0, 1])
    inside = _CIRCULAR[:, None] | ((around >= 0) & (around < bins))
    weight = np.take_along_axis(probabilities, around % bins, -1) * inside
    confidence = weight.sum(-1)
    angles = _LOW + ((weight * around).sum(-1) / confidence + 0.5) / bins * _SPAN
    angles[:, 0] %= 2 * math.pi
    values = zip(angles.tolist(), confidence.tolist(), strict=True)
    return [Pose(a[0], a[1], a[2], (c[0], c[1], c[2])) for a, c in values]


def box_rotation(pose: Pose, center: np.ndarray) -> np.ndarray:
    """(3, 3) object -> camera of a pose seen at this place (3,): columns x front, y down, z left."""
    return _towards(center) @ rotation(pose.azimuth, pose.elevation, pose.theta) @ BOX_AXES


def angles_of(R: np.ndarray, center: np.ndarray) -> tuple[float, float, float]:
    """Azimuth, elevation and theta in radians of an object with this rotation (x front, y down, z left) and place."""
    seen = _towards(center).T @ R @ BOX_AXES.T
    forward = seen[2]
    elevation = math.asin(float(np.clip(-forward[2], -1, 1)))
    azimuth = math.atan2(-forward[0], forward[1]) % (2 * math.pi)
    right = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
    return azimuth, elevation, math.atan2(seen[0] @ np.cross(forward, right), seen[0] @ right)


def _towards(center: np.ndarray) -> np.ndarray:
    """(3, 3) rotation that turns the camera's +z to this direction, and nothing about it."""
    ray = np.asarray(center, float) / np.linalg.norm(center)
    axis = np.array([-ray[1], ray[0], 0.0])  # z × ray
    cross = np.array([[0, 0, axis[1]], [0, 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + ray[2])
