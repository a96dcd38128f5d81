"""Point clouds of single objects: cut out of a depth map by a mask, and cleaned of what does not belong to them.
Points are (n, 3) in metres in the camera's frame (+x right, +y down, +z forward)."""

import numpy as np

from data_registry.annotate.filters import CloudFilters

_PAIRS = 1 << 22  # most distances in memory at once


def unproject(depth: np.ndarray, K: np.ndarray, offset: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """(h, w, 3) points in metres of a depth map (h, w) of z in metres.

    Args:
        K: (3, 3) intrinsics in pixels.
        offset: where in its pixel (x, y) each depth was measured; a network's is the centre.
    """
    height, width = depth.shape
    x = (np.arange(width) + offset[0] - K[0, 2]) / K[0, 0]
    y = (np.arange(height) + offset[1] - K[1, 2]) / K[1, 1]
    return np.stack([np.broadcast_to(x, depth.shape) * depth, y[:, None] * depth, depth], -1)


def smeared(depth: np.ndarray, ratio: float) -> np.ndarray:
    """(h, w) bool: pixels on a slope between two surfaces, whose depth differs by more than this share from the pixel
    before and, in the same sense, from the one after.

    Networks smear depth across outlines, so such pixels lie on neither object; a sharp outline loses none.
    """
    between = np.zeros(depth.shape, bool)
    with np.errstate(invalid="ignore"):
        for across, out in ((depth, between), (depth.T, between.T)):
            step = np.diff(across, axis=1) / np.minimum(across[:, 1:], across[:, :-1])
            before, after = step[:, :-1], step[:, 1:]
            out[:, 1:-1] |= (np.minimum(np.abs(before), np.abs(after)) > ratio) & (before * after > 0)
    return between


def clean(points: np.ndarray, filters: CloudFilters, spacing: float, seed: int = 0) -> tuple[np.ndarray, str | None]:
    """The points of the object itself, or why there are none.

    In the order of `wufeim/SpatialReasonerDataGen`: outliers, voxels, clusters; of the clusters the largest is kept.

    Args:
        points: (n, 3) all that the mask covers.
        spacing: metres between neighbouring pixels at the object's depth; clusters and voxels are never finer.
        seed: of the choice where there are more points than `filters.most_points`.

    Returns:
        The points, and None or the reason of the drop ("too few points", "no cluster").
    """
    points = points[np.isfinite(points).all(1)]
    if len(points) < filters.min_points:
        return points[:0], "too few points"
    if len(points) > filters.most_points:
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(points), filters.most_points, replace=False)
        spacing *= float(np.sqrt(len(points) / filters.most_points))  # thinned, so neighbours are further apart
        points = points[np.sort(chosen)]
    points = voxels(without_outliers(points, filters.neighbours, filters.outlier_deviations), filters.voxel_m)
    labels = dbscan(points, max(filters.cluster_m, filters.cluster_spacings * spacing), filters.cluster_points)
    if not (labels >= 0).any():
        return points[:0], "no cluster"
    kept = points[labels == np.bincount(labels[labels >= 0]).argmax()]
    return (kept, None) if len(kept) >= filters.min_cluster else (kept[:0], "too few points")


def without_outliers(points: np.ndarray, neighbours: int, deviations: float) -> np.ndarray:
    """Points whose mean distance to their nearest neighbours is within so many deviations of the cloud's mean."""
    if len(points) <= neighbours:
        return points
    mean = np.concatenate([
        np.sqrt(np.partition(d, neighbours, 1)[:, 1 : neighbours + 1]).mean(1) for _, d in _squared_distances(points)
    ])  # fmt: skip
    return points[mean <= mean.mean() + deviations * mean.std()]


def voxels(points: np.ndarray, size_m: float) -> np.ndarray:
    """One point per cube of this side, the mean of those in it, so that what is near does not outweigh what is far."""
    if size_m <= 0:
        return points
    cells = np.floor(points / size_m).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    count = np.bincount(cell)
    return np.stack([np.bincount(cell, points[:, k]) / count for k in range(3)], 1)


def dbscan(points: np.ndarray, radius_m: float, min_points: int) -> np.ndarray:
    """Cluster number of each point, -1 for noise (Ester et al. 1996).

    A point with `min_points` in its radius, itself included, is a core; cores in reach of each other are one cluster,
    which the points in their reach join: the first cluster, where there are several.
    """
    near = (
        np.concatenate([d <= radius_m**2 for _, d in _squared_distances(points)]) if len(points) else np.zeros((0, 0))
    )
    core = near.sum(1) >= min_points
    labels = np.full(len(points), -1)
    current = 0
    for start in np.flatnonzero(core):
        if labels[start] >= 0:
            continue
        front = np.zeros(len(points), bool)
        front[start] = True
        while front.any():
            labels[front] = current
            front = near[front & core].any(0) & (labels < 0)
        current += 1
    return labels


def _squared_distances(points: np.ndarray):
    """(start, distances of some rows to all points), as many rows at a time as memory allows."""
    rows = max(1, _PAIRS // max(1, len(points)))
    square = (points**2).sum(1)
    for start in range(0, len(points), rows):
        part = points[start : start + rows]
        yield start, np.maximum(square[start : start + rows, None] + square[None] - 2 * part @ points.T, 0)
