"""Draws triangles into a depth buffer with numpy alone: exact, headless, the same bits on every machine.
Each triangle becomes one span of samples per row; a (1/depth, triangle) key decides which one is seen."""

from dataclasses import dataclass

import numpy as np

F = np.float32


@dataclass(frozen=True, slots=True)
class Spans:
    """Runs of samples: triangle `triangle[i]` covers columns first[i] .. first[i] + count[i] of row[i]."""

    triangle: np.ndarray
    row: np.ndarray
    first: np.ndarray
    count: np.ndarray


def spans(x: np.ndarray, y: np.ndarray, width: int) -> Spans:
    """Rows of a width x width raster that triangles cover, at sample centres (i + 0.5).

    A sample belongs to the triangle whose left or upper edge it lies on, and neighbours compute their common edge from
    the same two corners: surfaces neither crack nor overlap.

    Args:
        x, y: (3, m) float32 corners in samples.
    """
    order = np.argsort(y, axis=0)
    x, y = np.take_along_axis(x, order, 0), np.take_along_axis(y, order, 0)
    top, bottom = _ceil(y[0], width), _ceil(y[2], width)
    rows = bottom - top
    seen = np.flatnonzero((rows > 0) & (x.max(0) > 0) & (x.min(0) < width))
    x, y, rows, top = x.take(seen, 1), y.take(seen, 1), rows[seen], top[seen]
    with np.errstate(divide="ignore", invalid="ignore"):  # level edges: never chosen below
        long = (x[2] - x[0]) / (y[2] - y[0])
        upper = (x[1] - x[0]) / (y[1] - y[0])
        lower = (x[2] - x[1]) / (y[2] - y[1])
    triangle = np.repeat(np.arange(len(seen), dtype=np.int32), rows)
    row = np.arange(len(triangle), dtype=np.int32) + np.repeat(top - (np.cumsum(rows, dtype=np.int32) - rows), rows)
    center = row.astype(F) + F(0.5)
    x0, y0, y1 = x[0].take(triangle), y[0].take(triangle), y[1].take(triangle)
    below = center >= y1
    along_long = x0 + (center - y0) * long.take(triangle)
    start = np.where(below, x[1].take(triangle), x0)
    slope = np.where(below, lower.take(triangle), upper.take(triangle))
    along_short = start + (center - np.where(below, y1, y0)) * slope
    first, last = _ceil(np.minimum(along_long, along_short), width), _ceil(np.maximum(along_long, along_short), width)
    keep = np.flatnonzero(last > first)
    return Spans(seen[triangle[keep]], row[keep], first[keep], (last - first)[keep])


def _ceil(v: np.ndarray, width: int) -> np.ndarray:
    """Index of the first sample centre at or after v, within 0..width."""
    return np.ceil(np.clip(v, F(-1), F(width + 1)) - F(0.5)).clip(0, width).astype(np.int32)


def covered(visible: Spans, width: int) -> np.ndarray:
    """(width * width,) bool: samples covered by any span."""
    line = width + 1
    start = visible.row * line + visible.first
    edges = np.bincount(start, minlength=width * line) - np.bincount(start + visible.count, minlength=width * line)
    return (np.cumsum(edges).reshape(width, line)[:, :width] > 0).reshape(-1)


@dataclass(frozen=True, slots=True)
class Planes:
    """What is linear in the image over each triangle: 1/depth and, divided by depth, the weights of corners 1 and 2.

    table: (m, 9) float32: x0, y0 and 1/z of corner 0, then d/dx and d/dy of 1/z, of b1/z and of b2/z.
    """

    table: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, inverse: np.ndarray) -> "Planes":
        """x, y, inverse: (3, m) float32 screen positions and 1/z of the corners."""
        ax, ay, bx, by = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
        area = ax * by - bx * ay
        with np.errstate(divide="ignore"):
            scale = np.where(np.abs(area) > F(1e-5), F(1) / area, F(0))
        b1x, b1y, b2x, b2y = by * scale, -bx * scale, -ay * scale, ax * scale
        d1, d2 = inverse[1] - inverse[0], inverse[2] - inverse[0]
        table = np.empty((x.shape[1], 9), F)
        table[:, 0], table[:, 1], table[:, 2] = x[0], y[0], inverse[0]
        table[:, 3], table[:, 4] = d1 * b1x + d2 * b2x, d1 * b1y + d2 * b2y
        table[:, 5], table[:, 6] = b1x * inverse[1], b1y * inverse[1]
        table[:, 7], table[:, 8] = b2x * inverse[2], b2y * inverse[2]
        return cls(table)

    def at(self, triangle: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth and perspective-correct weights of corners 1 and 2 of triangles at image points."""
        t = self.table.take(triangle, 0)
        dx, dy = x - t[:, 0], y - t[:, 1]
        depth = F(1) / (t[:, 2] + t[:, 3] * dx + t[:, 4] * dy)
        first = (t[:, 5] * dx + t[:, 6] * dy) * depth
        second = (t[:, 7] * dx + t[:, 8] * dy) * depth
        return depth, first, second


def draw(visible: Spans, planes: Planes, body: np.ndarray, bodies: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Resolves what is seen.

    Args:
        body: (m,) which body a triangle belongs to. bodies: how many there are.

    Returns:
        (width * width,) int32 triangle seen at each sample, -1 for none; (bodies,) samples each would fill alone.
    """
    count = visible.count
    t = planes.table.take(visible.triangle, 0)
    dx, dy = visible.first.astype(F) + F(0.5) - t[:, 0], visible.row.astype(F) + F(0.5) - t[:, 1]
    start = t[:, 2] + t[:, 3] * dx + t[:, 4] * dy
    span = np.repeat(np.arange(len(count), dtype=np.int32), count)
    step = np.arange(len(span), dtype=np.int32) - (np.cumsum(count, dtype=np.int32) - count).take(span)
    sample = (visible.row * np.int32(width) + visible.first).take(span) + step
    inverse = start.take(span) + t[:, 3].take(span) * step.astype(F)
    # positive floats order like their bits, so one integer carries nearness and triangle
    key = (inverse.view(np.int32).astype(np.int64) << 32) | visible.triangle.take(span)
    nearest = np.full(width * width, -1, np.int64)
    np.maximum.at(nearest, sample, key)
    alone = np.zeros((bodies, width * width), bool)
    alone.reshape(-1)[(body[visible.triangle] * (width * width)).take(span) + sample] = True
    seen = (nearest & 0xFFFFFFFF).astype(np.int32)
    seen[nearest < 0] = -1
    return seen, np.count_nonzero(alone, axis=1)
