"""Things on a table. Front: a laptop's screen side, a mug's handle, a teapot's spout, a shoe's toe, a camera's lens.
Each function draws one shape variant: parts in metres, x = front, y = left, z = up."""

import math
from random import Random

import numpy as np

from data_registry.render.mesh import Part, about_y, box, cylinder, ellipsoid, frustum, lathe, prism, tube

SIDES = (-1, 1)


def _arch(x: float, z: float, rx: float, rz: float, first: float, last: float) -> list[tuple[float, float]]:
    """Nine (x, z) points of an elliptic arc about (x, z), from the first to the last angle in radians."""
    angles = [first + (last - first) * i / 8 for i in range(9)]
    return [(x + rx * math.cos(a), z + rz * math.sin(a)) for a in angles]


def laptop(rng: Random) -> list[Part]:
    width, depth, lean = rng.uniform(0.31, 0.38), rng.uniform(0.22, 0.26), rng.uniform(0.2, 0.5)
    height = depth * 0.98
    tilt = about_y(-lean)
    up, out = tilt[:, 2], tilt[:, 0]
    lid = np.array([-depth / 2, 0, 0.018]) + up * height / 2

    def on_lid(part: Part, forward: float, left: float = 0.0, above: float = 0.0) -> Part:
        return part.turned(tilt).at(*(lid + out * forward + np.array([0, left, 0]) + up * above))

    parts = [
        box("body", depth, width, 0.018).at(0, 0, 0.009),
        box("dark", depth * 0.5, width * 0.9, 0.004).at(-0.03, 0, 0.019),
        box("dark", depth * 0.22, width * 0.3, 0.003).at(depth * 0.33, 0, 0.019),
        on_lid(box("body", 0.011, width, height), 0),
        on_lid(box("black", 0.003, width * 0.96, height * 0.93), 0.0065),
        on_lid(box("screen", 0.003, width * 0.9, height * 0.85), 0.009),
        on_lid(box("white", 0.002, width * 0.42, height * 0.42), 0.011, width * 0.16, height * 0.12),
        on_lid(box("accent", 0.002, width * 0.24, height * 0.5), 0.011, -width * 0.26, -height * 0.08),
        on_lid(ellipsoid("white", 0.003, 0.028, 0.028, around=8, up=4), -0.0065),
    ]
    parts += [box("black", 0.018, width * 0.84, 0.003).at(-0.075 + i * 0.028, 0, 0.0215) for i in range(4)]
    return parts


def mug(rng: Random) -> list[Part]:
    r, h = rng.uniform(0.036, 0.046), rng.uniform(0.085, 0.11)
    wall = [(0, 0), (r * 0.9, 0), (r, 0.01), (r, h), (r * 0.88, h), (r * 0.86, h * 0.75), (0, h * 0.75)]
    return [
        lathe("body", wall[:5], sides=14),
        lathe("dark", wall[4:], sides=14),
        lathe("trim", [(r * 1.015, h * 0.36), (r * 1.015, h * 0.5)], sides=14),
        tube("body", _arch(r * 0.93, h / 2, 0.038, 0.036, 1.4, -1.4), 0.0085, sides=7),
    ]


def duck(rng: Random) -> list[Part]:
    tail = rng.uniform(0.5, 0.9)
    parts = [
        ellipsoid("body", 0.095, 0.07, 0.056).at(0, 0, 0.056),
        ellipsoid("body", 0.05, 0.038, 0.03, around=8, up=5).turned(about_y(tail)).at(-0.088, 0, 0.086),
        ellipsoid("body", 0.05, 0.047, 0.048).at(0.055, 0, 0.128),
        ellipsoid("orange", 0.036, 0.03, 0.01, around=9, up=4).at(0.108, 0, 0.119),
        ellipsoid("orange", 0.028, 0.025, 0.009, around=9, up=4).at(0.102, 0, 0.11),
    ]
    for side in SIDES:
        parts += [
            ellipsoid("black", 0.011, 0.009, 0.012, around=7, up=4).at(0.09, side * 0.029, 0.141),
            ellipsoid("shade", 0.056, 0.015, 0.033, around=8, up=5).turned(about_y(0.2)).at(-0.015, side * 0.064, 0.07),
        ]
    return parts


def teapot(rng: Random) -> list[Part]:
    wide, tall = rng.uniform(0.078, 0.092), rng.uniform(0.066, 0.08)
    top = 2 * tall
    return [
        ellipsoid("body", wide, wide, tall, around=14, up=8).at(0, 0, tall + 0.003),
        lathe("trim", [(0, 0), (0.05, 0), (0.05, 0.012)], sides=12),
        lathe("trim", [(0.052, top - 0.012), (0.045, top + 0.004), (0.01, top + 0.016), (0, top + 0.016)], sides=12),
        ellipsoid("accent", 0.014, 0.014, 0.013, around=8, up=5).at(0, 0, top + 0.024),
        cylinder("body", (wide * 0.7, 0, tall * 0.7), (wide + 0.04, 0, tall * 1.2), 0.028, 0.018, sides=9, caps=False),
        cylinder("body", (wide + 0.036, 0, tall * 1.14), (wide + 0.07, 0, tall * 1.95), 0.019, 0.013, sides=9),
        tube("body", _arch(-wide * 0.85, tall * 1.12, 0.062, tall * 0.7, 0.52 * math.pi, 1.46 * math.pi), 0.0105, 7),
    ]


def shoe(rng: Random) -> list[Part]:
    half, cuff = rng.uniform(0.13, 0.15), rng.uniform(0.095, 0.125)
    sole = [(-half, 0), (-half - 0.004, 0.03), (half * 0.4, 0.022), (half, 0.022), (half + 0.012, 0.012), (half, 0)]
    upper = [
        (-half + 0.004, 0.026), (-half, cuff), (-half * 0.2, cuff), (half * 0.35, 0.075), (half * 0.8, 0.02),
    ]  # fmt: skip
    parts = [
        prism("white", sole, -0.046, 0.046),
        prism("body", upper, -0.039, 0.039),
        ellipsoid("body", half * 0.5, 0.044, 0.046, low=-0.3).at(half * 0.52, 0, 0.028),
        ellipsoid("black", half * 0.36, 0.033, 0.006, up=4).at(-half * 0.6, 0, cuff),
        box("accent", 0.035, 0.081, 0.035).turned(about_y(0.5)).at(-half * 0.2, 0, 0.055),
        box("accent", 0.016, 0.044, cuff * 0.6).at(-half - 0.001, 0, cuff * 0.62),
        box("shade", 0.05, 0.06, 0.03).at(half * 0.86, 0, 0.028),
    ]
    for i in range(3):
        parts.append(box("white", 0.009, 0.058, 0.009).turned(about_y(0.6)).at(i * 0.022, 0, cuff - 0.012 - i * 0.012))
    return parts


def camera(rng: Random) -> list[Part]:
    width, height, depth = rng.uniform(0.12, 0.14), rng.uniform(0.078, 0.09), 0.05
    barrel, axis, front = rng.uniform(0.04, 0.07), height * 0.47, depth / 2
    hump = (-front + 0.008, front - 0.004, -0.017, 0.017)
    return [
        box("body", depth, width, height).at(0, 0, height / 2),
        box("black", depth + 0.003, width * 1.01, height * 0.3).at(0, 0, height * 0.45),
        frustum("body", (-front, front, -0.026, 0.026), hump, height, height + 0.024),
        cylinder("black", (front, 0, axis), (front + barrel, 0, axis), height * 0.38, sides=14),
        cylinder("metal", (front + barrel * 0.6, 0, axis), (front + barrel * 0.78, 0, axis), height * 0.4, sides=14),
        cylinder("glass", (front + barrel, 0, axis), (front + barrel + 0.003, 0, axis), height * 0.3, sides=12),
        box("taillight", 0.018, 0.018, 0.012).at(0, -width * 0.35, height + 0.006),
        box("metal", 0.026, 0.026, 0.012).at(0, width * 0.33, height + 0.005),
        box("screen", 0.006, width * 0.66, height * 0.62).at(-front - 0.002, 0, axis),
        box("lamp", 0.006, 0.024, 0.014).at(front, -width * 0.36, height * 0.84),
    ]
