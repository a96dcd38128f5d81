"""Materials of the rendered objects and the colours they are painted in.
A colour is drawn by its name, from hues that nobody would call otherwise, so that questions may rely on it."""

import colorsys
from random import Random

import numpy as np

RGB = tuple[float, float, float]

# name -> (diffuse or None where it is painted per object, highlight, own light)
_MATERIALS: dict[str, tuple[RGB | None, float, float]] = {
    "body": (None, 0.18, 0.0),
    "shade": (None, 0.12, 0.0),  # the body's colour, lighter or darker
    "trim": (None, 0.12, 0.0),  # white, gray or black
    "accent": (None, 0.15, 0.0),  # any colour, on small parts
    "skin": (None, 0.05, 0.0),
    "hair": (None, 0.08, 0.0),
    "trousers": (None, 0.03, 0.0),
    "wood": (None, 0.08, 0.0),
    "leaf": (None, 0.0, 0.0),
    "wall": (None, 0.0, 0.0),
    "screen": (None, 0.15, 0.6),
    "dark": ((0.17, 0.17, 0.18), 0.1, 0.0),
    "black": ((0.06, 0.06, 0.07), 0.2, 0.0),
    "rubber": ((0.10, 0.10, 0.11), 0.05, 0.0),
    "glass": ((0.15, 0.21, 0.29), 0.5, 0.0),
    "metal": ((0.66, 0.67, 0.70), 0.4, 0.0),
    "white": ((0.92, 0.92, 0.91), 0.12, 0.0),
    "lamp": ((1.0, 0.96, 0.70), 0.3, 0.6),
    "taillight": ((0.82, 0.06, 0.06), 0.3, 0.25),
    "orange": ((0.97, 0.50, 0.07), 0.2, 0.0),
    "pink": ((0.88, 0.47, 0.48), 0.1, 0.0),
}

MATERIALS = tuple(_MATERIALS)
SLOT = {name: i for i, name in enumerate(MATERIALS)}
HIGHLIGHT = np.array([m[1] for m in _MATERIALS.values()], np.float32)
GLOW = np.array([m[2] for m in _MATERIALS.values()], np.float32)
_FIXED = np.array([m[0] or (0, 0, 0) for m in _MATERIALS.values()], np.float32)

_HAIR = ((0.12, 0.08, 0.06), (0.28, 0.17, 0.08), (0.62, 0.46, 0.20), (0.07, 0.07, 0.08), (0.45, 0.20, 0.10))
_CLOTH = ((0.16, 0.20, 0.36), (0.20, 0.20, 0.22), (0.50, 0.44, 0.34), (0.30, 0.36, 0.46), (0.36, 0.28, 0.22))

# The eleven basic colour terms of English: hue in degrees, saturation, value (each low..high).
_COLORS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-6, 4), (0.82, 0.96), (0.68, 0.90)),
    "orange": ((22, 30), (0.88, 0.98), (0.94, 1.0)),
    "yellow": ((50, 57), (0.78, 0.95), (0.92, 1.0)),
    "green": ((100, 145), (0.55, 0.90), (0.45, 0.78)),
    "blue": ((212, 234), (0.68, 0.92), (0.60, 0.92)),
    "purple": ((268, 284), (0.55, 0.82), (0.48, 0.72)),
    "pink": ((328, 344), (0.36, 0.52), (0.95, 1.0)),
    "brown": ((18, 28), (0.58, 0.74), (0.34, 0.48)),
    "white": ((0, 60), (0.0, 0.04), (0.90, 0.97)),
    "gray": ((200, 240), (0.0, 0.06), (0.44, 0.56)),
    "black": ((200, 240), (0.0, 0.10), (0.08, 0.14)),
}
COLORS = tuple(_COLORS)


def paint(color: str, rng: Random) -> RGB:
    """A shade of the named colour, RGB in 0..1."""
    hue, saturation, value = (rng.uniform(*span) for span in _COLORS[color])
    return colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value)


def palette(color: str, rng: Random) -> np.ndarray:
    """Diffuse colours (materials, 3) float32 of one object whose body has the named colour."""
    body = paint(color, rng)
    light = sum(body) > 1.2
    factor = rng.uniform(0.72, 0.86) if light else rng.uniform(1.2, 1.4)
    lift = 0.0 if light else 0.03
    colors = _FIXED.copy()
    skin, wood, leaf = rng.uniform(0.42, 1.0), rng.uniform(0.6, 1.05), rng.uniform(0.7, 1.25)
    neutral = rng.choice((0.90, 0.55, 0.16))
    wall = rng.uniform(0.45, 0.95)
    painted = {
        "body": body,
        "shade": tuple(min(1.0, c * factor + lift) for c in body),
        "trim": (neutral, neutral, neutral),
        "accent": paint(rng.choice(COLORS[:8]), rng),
        "skin": (0.95 * skin, 0.74 * skin, 0.60 * skin),
        "hair": rng.choice(_HAIR),
        "trousers": rng.choice(_CLOTH),
        "wood": (0.58 * wood, 0.40 * wood, 0.23 * wood),
        "leaf": (0.20 * leaf, 0.45 * leaf, 0.17 * leaf),
        "wall": (0.80 * wall * rng.uniform(0.85, 1.1), 0.74 * wall, 0.68 * wall * rng.uniform(0.85, 1.1)),
        "screen": colorsys.hsv_to_rgb(rng.uniform(0.5, 0.68), rng.uniform(0.4, 0.8), rng.uniform(0.7, 0.95)),
    }
    for name, rgb in painted.items():
        colors[SLOT[name]] = rgb
    return colors
