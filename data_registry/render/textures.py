"""Patterns of ground and walls, computed at the points that pixels show.
Detail fades where a pixel spans more than a period, so that distance blurs it and does not make it flicker."""

import math
from functools import lru_cache

import numpy as np

from data_registry.render.world import Surface

F = np.float32
_CELLS = 64


def color_at(surface: Surface, x: np.ndarray, y: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Diffuse colours (3, n) float32 of a surface at metric points; footprint: metres per pixel there."""
    c, s = F(math.cos(surface.angle)), F(math.sin(surface.angle))
    u, v = (c * x + s * y) * F(1 / surface.period), (c * y - s * x) * F(1 / surface.period)
    coarse = footprint * F(1 / surface.period)
    grain = _lattice(surface.lattice)
    mix = np.clip(_PATTERNS[surface.pattern](u, v, coarse, grain), 0, 1)
    first, second = np.array(surface.first, F)[:, None], np.array(surface.second, F)[:, None]
    color = first + (second - first) * mix
    if surface.pattern == "asphalt":
        color += (F(0.85) - color) * _lane_marks(u, v, coarse)
    return color


def _fade(coarse: np.ndarray, period: float = 1.0) -> np.ndarray:
    return np.clip(F(1.4) - coarse * F(2 / period), 0, 1)


def _line(distance: np.ndarray, half: float, coarse: np.ndarray) -> np.ndarray:
    """Share of a pixel that a line of the given half width covers, its middle at a distance (all in periods)."""
    span = np.maximum(coarse, F(0.01))
    return np.clip((F(half) + span * F(0.5) - distance) / span, 0, np.minimum(F(2 * half) / span, F(1)))


def _plain(u: np.ndarray, v: np.ndarray, coarse: np.ndarray, grain: np.ndarray) -> np.ndarray:
    return F(0.35) + F(0.35) * _noise(grain, u * F(0.43), v * F(0.43))


def _checker(u: np.ndarray, v: np.ndarray, coarse: np.ndarray, grain: np.ndarray) -> np.ndarray:
    odd = ((np.floor(u) + np.floor(v)).astype(np.int32) & 1).astype(F)
    return F(0.5) + (odd - F(0.5)) * _fade(coarse)


def _tiles(u: np.ndarray, v: np.ndarray, coarse: np.ndarray, grain: np.ndarray) -> np.ndarray:
    fu, fv = np.floor(u), np.floor(v)
    du, dv = u - fu, v - fv
    edge = np.minimum(np.minimum(du, 1 - du), np.minimum(dv, 1 - dv))
    tone = grain[fv.astype(np.int32) % _CELLS, fu.astype(np.int32) % _CELLS] - F(0.5)
    return F(0.25) + F(0.3) * tone * _fade(coarse) + F(0.75) * _line(edge, 0.045, coarse)


def _planks(u: np.ndarray, v: np.ndarray, coarse: np.ndarray, grain: np.ndarray) -> np.ndarray:
    board = np.floor(u)
    row = board.astype(np.int32) % _CELLS
    along = v * F(1 / 6) + grain[row, 0] * F(7)
    joint = np.floor(along)
    tone = grain[row, joint.astype(np.int32) % _CELLS] - F(0.5)
    across, lengthwise = u - board, along - joint
    gap = np.minimum(np.minimum(across, 1 - across), np.minimum(lengthwise, 1 - lengthwise) * F(6))
    streak = _noise(grain, u * F(8), v * F(0.6)) - F(0.5)
    return F(0.4) + (F(0.55) * tone + F(0.22) * streak) * _fade(coarse) + F(0.6) * _line(gap, 0.04, coarse)


def _stripes(u: np.ndarray, v: np.ndarray, coarse: np.ndarray, grain: np.ndarray) -> np.ndarray:
    return F(0.5) + ((u - np.floor(u) < F(0.5)) - F(0.5)) * _fade(coarse)


def _rough(u: np.ndarray, v: np.ndarray, coarse: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Asphalt, grass, sand, carpet: noise of two sizes."""
    large = _noise(grain, u * F(0.9), v * F(0.9)) - F(0.5)
    fine = _noise(grain, u * F(5.9) + 11, v * F(5.9)) - F(0.5)
    return F(0.5) + F(0.8) * large * _fade(coarse, 2.0) + F(0.7) * fine * _fade(coarse, 0.17)


_PATTERNS = {
    "plain": _plain,
    "checker": _checker,
    "tiles": _tiles,
    "planks": _planks,
    "stripes": _stripes,
    "asphalt": _rough,
    "grass": _rough,
    "sand": _rough,
    "carpet": _rough,
}


def _lane_marks(u: np.ndarray, v: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Opacity of dashed white lines every 3.5 periods."""
    lane = u * F(1 / 3.5)
    off = np.abs(lane - np.floor(lane + F(0.5)))
    dash = v * F(1 / 3)
    mark = (off < F(0.025)) & (dash - np.floor(dash) < F(0.55))
    return mark * np.clip(F(1.3) - coarse * F(4), 0, 1)


@lru_cache(maxsize=16)
def _lattice(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((_CELLS, _CELLS), dtype=F)


def _noise(grain: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear noise in 0..1 with one lattice cell per unit."""
    fx, fy = np.floor(x), np.floor(y)
    column, row = fx.astype(np.int32) % _CELLS, fy.astype(np.int32) % _CELLS
    fx, fy = x - fx, y - fy
    flat, here = grain.reshape(-1), row * _CELLS
    below, right = (row + 1) % _CELLS * _CELLS, (column + 1) % _CELLS
    a, b, c, d = (flat.take(i) for i in (here + column, here + right, below + column, below + right))
    near = a + (b - a) * fx
    return near + (c + (d - c) * fx - near) * fy
