"""Angles and rotations are each other's inverse, and bins give back what was put in."""

import math

import numpy as np
import pytest

from data_registry import render
from data_registry.annotate import pose_bins

BINS = 40


def test_rotations_of_rendered_objects_come_back():
    for index in range(20):
        for obj in render.scene(render.sample(5, index)).objects:
            angles = pose_bins.angles_of(obj.R, obj.center)
            found = pose_bins.box_rotation(pose_bins.Pose(*angles, (1, 1, 1)), obj.center)
            np.testing.assert_allclose(found, obj.R, atol=1e-9)
            assert -math.pi / 2 <= angles[1] <= math.pi / 2


@pytest.mark.parametrize(("front", "azimuth_deg"), [
    ((0, 0, -1), 0), ((-1, 0, 0), 90), ((0, 0, 1), 180), ((1, 0, 0), 270),
])  # fmt: skip
def test_azimuth_is_imagenet3ds(front, azimuth_deg):
    """0: faces the camera; 90: points to the image's left (REFERENCE, section 3)."""
    x, y = np.array(front, float), np.array([0.0, 1.0, 0.0])
    R = np.stack([x, y, np.cross(x, y)], 1)
    azimuth, elevation, theta = np.degrees(pose_bins.angles_of(R, np.array([0.0, 0.0, 7.0])))
    assert azimuth % 360 == pytest.approx(azimuth_deg)
    assert elevation == pytest.approx(0, abs=1e-6)
    assert theta == pytest.approx(0, abs=1e-6)


def test_seen_from_above_the_elevation_is_positive():
    """A thing that stands upright and lies below the optical axis is looked down on."""
    R = np.stack([[0.0, 0, -1], [0.0, 1, 0], [1.0, 0, 0]], 1)
    _, elevation, _ = np.degrees(pose_bins.angles_of(R, np.array([0.0, 5.0, 5.0])))
    assert elevation == pytest.approx(45)


def test_bins_give_back_angles_within_their_precision():
    rng = np.random.default_rng(0)
    angles = np.stack([rng.uniform(0, 2 * np.pi, 500), rng.uniform(-1.5, 1.5, 500), rng.uniform(-np.pi, np.pi, 500)], 1)
    coded = pose_bins.encode(angles, BINS)
    np.testing.assert_allclose(coded.sum(-1), 1)
    assert ((coded > 0).sum(-1) <= 2).all()
    found = np.array([p[:3] for p in pose_bins.decode(coded)])
    off = (found - angles + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(off).max() < 0.05, "two neighbouring bins share an angle, so it comes back; at the ends nearly"
    assert np.abs(off[:, 0]).max() < 1e-6
    assert all(c == pytest.approx(1) for p in pose_bins.decode(coded) for c in p.confidence)


def test_confidence_is_the_share_around_the_peak():
    flat = np.full((1, 3, BINS), 1 / BINS)
    assert pose_bins.decode(flat)[0].confidence[0] == pytest.approx(3 / BINS)
    two = np.zeros((1, 3, BINS))
    two[..., 4], two[..., 24] = 0.6, 0.4  # front or back
    found = pose_bins.decode(two)[0]
    assert found.confidence[0] == pytest.approx(0.6)
    assert found.azimuth == pytest.approx(4.5 / BINS * 2 * math.pi)
