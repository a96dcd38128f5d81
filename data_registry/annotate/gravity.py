"""The direction against gravity, from a depth map: most pictures show something level, a floor, a road or a table.
No source of in-the-wild pictures states it, and no questions of height or of sides should be asked without it."""

import numpy as np

from data_registry.annotate.filters import GravityFilters

_CANDIDATES, _ROUNDS = 400, 8


def normals(points: np.ndarray, step: int, edge_ratio: float) -> np.ndarray:
    """(h, w, 3) unit normals towards the camera of a point map; NaN at outlines and where there is no depth."""
    by_pixel = np.full(points.shape, np.nan)
    a, b = points[:, 2 * step :] - points[:, : -2 * step], points[2 * step :] - points[: -2 * step]
    inner = (slice(step, -step), slice(step, -step))
    across, down = a[step:-step], b[:, step:-step]
    with np.errstate(invalid="ignore", divide="ignore"):
        normal = np.cross(down, across)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        depth = points[inner][..., 2]
        jump = np.maximum(np.abs(across[..., 2]), np.abs(down[..., 2])) > 2 * step * edge_ratio * depth
    normal[jump] = np.nan
    normal *= np.where((normal * points[inner]).sum(-1) > 0, -1, 1)[..., None]
    by_pixel[inner] = normal
    return by_pixel


def up(points: np.ndarray, ignore: np.ndarray | None, filters: GravityFilters, edge_ratio: float) -> np.ndarray | None:
    """(3,) unit vector against gravity in the camera's frame, or None where no level surface shows.

    The direction within `max_tilt_deg` of the picture's up that most normals share: floor, road and table tops vote
    together, walls are too far from up to take part.

    Args:
        points: (h, w, 3) metres.
        ignore: (h, w) bool, pixels that do not vote: those of objects, whose sides may slant.
    """
    all_normals = normals(points, filters.step_px, edge_ratio)
    if ignore is not None:
        all_normals[ignore] = np.nan
    flat = all_normals.reshape(-1, 3)
    flat = flat[np.isfinite(flat).all(1)]
    level = flat[flat @ [0.0, -1.0, 0.0] > np.cos(np.radians(filters.max_tilt_deg))]
    if not len(level):
        return None
    close = np.cos(np.radians(filters.spread_deg))
    votes = [(level @ candidate > close).sum() for candidate in level[:: max(1, len(level) // _CANDIDATES)]]
    best = level[:: max(1, len(level) // _CANDIDATES)][int(np.argmax(votes))]
    for _ in range(_ROUNDS):
        mean = level[level @ best > close].mean(0)
        best = mean / np.linalg.norm(mean)
    voters = ~np.isnan(points[..., 2]) if ignore is None else ~np.isnan(points[..., 2]) & ~ignore
    return best if (level @ best > close).sum() >= filters.min_share * voters.sum() else None
