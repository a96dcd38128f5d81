"""Vehicles. Front: the way they drive; told apart from behind by lamps, windscreens, bonnets and propellers.
Each function draws one shape variant: parts in metres, x = front, y = left, z = up."""

import math
from random import Random

from data_registry.render.mesh import Part, about_x, about_y, box, cylinder, ellipsoid, frustum, lathe, prism, wing

SIDES = (-1, 1)


def _wheel(x: float, y: float, radius: float, width: float) -> list[Part]:
    """A wheel standing on the ground with a hub cap on the outer side (the sign of y)."""
    side = math.copysign(1, y)
    inner, outer = y - side * width / 2, y + side * width / 2
    return [
        cylinder("rubber", (x, inner, radius), (x, outer, radius), radius, sides=12),
        cylinder("metal", (x, outer - side * 0.02, radius), (x, outer + side * 0.02, radius), radius * 0.58, sides=8),
    ]


def car(rng: Random) -> list[Part]:
    length, width, height = rng.uniform(3.9, 4.8), rng.uniform(1.7, 1.9), rng.uniform(1.4, 1.62)
    end, belt, sill = length / 2, 0.6 * height, 0.24
    outline = [
        (-end, sill + 0.1), (-end + 0.05, belt - 0.02), (-end + 0.4, belt + 0.05), (end - 1.2, belt + 0.03),
        (end - 0.2, belt - 0.16), (end, belt - 0.34), (end, sill + 0.08), (end - 0.1, sill), (-end + 0.1, sill),
    ]  # fmt: skip
    parts = [prism("body", outline, -width / 2, width / 2)]
    tail, roof_tail = rng.choice(((-end + 0.75, -end + 1.35), (-end + 0.15, -end + 0.35), (-end + 0.3, -end + 0.85)))
    front, roof_front = end - 1.3, end - 2.1
    low, high = width / 2 - 0.07, width / 2 - 0.24
    parts += [
        frustum("glass", (tail, front, -low, low), (roof_tail, roof_front, -high, high), belt, height - 0.06),
        frustum(
            "body",
            (roof_tail - 0.07, roof_front + 0.07, -high - 0.02, high + 0.02),
            (roof_tail, roof_front, -high + 0.05, high - 0.05),
            height - 0.08,
            height,
        ),
        box("black", 0.06, width * 0.5, 0.17).at(end, 0, belt - 0.5),
        box("black", 0.1, width * 0.98, 0.12).at(end - 0.02, 0, sill + 0.1),
        box("black", 0.1, width * 0.98, 0.14).at(-end + 0.02, 0, sill + 0.14),
        box("white", 0.06, 0.5, 0.13).at(-end, 0, belt - 0.3),
    ]
    pillars = ((tail, roof_tail), ((tail + front) / 2, (roof_tail + roof_front) / 2), (front, roof_front))
    for side in SIDES:
        for foot, top in pillars:
            parts.append(
                cylinder("body", (foot, side * low, belt), (top, side * high, height - 0.05), 0.05, sides=5, caps=False)
            )
        parts += [
            box("body", 0.13, 0.18, 0.13).at(front - 0.25, side * (width / 2 + 0.05), belt + 0.12),
            box("lamp", 0.14, 0.42, 0.17).at(end - 0.05, side * (width / 2 - 0.25), belt - 0.38),
            box("taillight", 0.1, 0.3, 0.22).at(-end + 0.03, side * (width / 2 - 0.19), belt - 0.16),
        ]
        for x in (end - 0.82, -end + 0.82):
            arch = side * (width / 2 - 0.03), side * (width / 2 + 0.004)
            parts.append(cylinder("dark", (x, arch[0], 0.35), (x, arch[1], 0.35), 0.4, sides=10))
            parts += _wheel(x, side * (width / 2 - 0.09), 0.33, 0.22)
    return parts


def bus(rng: Random) -> list[Part]:
    length, width, height = rng.uniform(8.6, 11.5), rng.uniform(2.4, 2.6), rng.uniform(2.9, 3.3)
    end, floor, pane = length / 2, 0.36, 0.62 * height
    outline = [
        (-end, floor), (-end, height - 0.1), (-end + 0.2, height), (end - 0.4, height), (end - 0.06, height - 0.4),
        (end, floor + 0.9), (end, floor),
    ]  # fmt: skip
    parts = [
        prism("body", outline, -width / 2, width / 2),
        box("trim", length - 0.3, width + 0.04, 0.26).at(0, 0, floor + 0.5),
        box("glass", 0.2, width * 0.92, 0.46 * height).at(end - 0.06, 0, pane - 0.14),
        box("black", 0.34, width * 0.7, 0.3).at(end - 0.14, 0, height - 0.26),
        box("orange", 0.06, width * 0.56, 0.18).at(end + 0.04, 0, height - 0.26),
        box("black", 0.12, width * 0.96, 0.2).at(end, 0, floor + 0.1),
        box("glass", 0.06, width * 0.62, 0.24 * height).at(-end, 0, pane + 0.12),
        box("dark", 0.06, width * 0.56, 0.55).at(-end, 0, floor + 0.55),
    ]
    panes = int(length / 1.3)
    for i in range(panes):
        x = -end + 0.85 + (length - 2.6) * i / (panes - 1)
        parts.append(box("glass", 1.0, width + 0.05, 0.3 * height).at(x, 0, pane))
    parts.append(box("dark", 0.85, 0.06, 0.66 * height).at(end - 0.75, -width / 2, floor + 0.34 * height))  # the door
    for side in SIDES:
        parts += [
            box("lamp", 0.1, 0.5, 0.3).at(end, side * (width / 2 - 0.38), floor + 0.38),
            box("taillight", 0.1, 0.26, 0.6).at(-end, side * (width / 2 - 0.2), floor + 0.6),
            box("dark", 0.2, 0.16, 0.5).at(end + 0.14, side * (width / 2 + 0.12), pane + 0.28),
        ]
        for x in (end - 1.9, -end + 2.2):
            parts += _wheel(x, side * (width / 2 - 0.12), 0.48, 0.3)
    return parts


def truck(rng: Random) -> list[Part]:
    length, width, height = rng.uniform(6.2, 8.5), rng.uniform(2.2, 2.5), rng.uniform(2.9, 3.5)
    end, frame, cab = length / 2, 0.46, 1.9
    roof = 0.76 * height
    sill, brow = (end - 0.06, frame + 1.0), (end - 0.5, roof)
    outline = [(end - cab, frame), (end - cab, roof), brow, sill, (end, frame + 0.85), (end, frame)]
    slope = (sill[0] - brow[0], sill[1] - brow[1])
    glass = [(brow[0] + slope[0] * t, brow[1] + slope[1] * t) for t in (0.1, 0.92)]
    cargo = (length - cab - 0.15, height - frame - 0.3)
    middle = -end + cargo[0] / 2
    parts = [
        box("dark", length - 0.2, width * 0.5, 0.3).at(0, 0, frame + 0.15),
        prism("body", outline, -width / 2, width / 2),
        prism(
            "glass",
            [glass[0], glass[1], (glass[1][0] + 0.05, glass[1][1] + 0.03), (glass[0][0] + 0.05, glass[0][1] + 0.03)],
            -width * 0.43,
            width * 0.43,
        ),
        box("body", cargo[0], width, cargo[1]).at(middle, 0, frame + 0.3 + cargo[1] / 2),
        box("black", 0.08, width * 0.66, 0.34).at(end, 0, frame + 0.58),
        box("metal", 0.14, width, 0.22).at(end + 0.02, 0, frame + 0.02),
        box("dark", 0.05, 0.07, cargo[1] - 0.2).at(-end, 0, frame + 0.3 + cargo[1] / 2),
    ]
    for z in (frame + 0.42, height - 0.1):
        parts.append(box("trim", cargo[0] + 0.04, width + 0.04, 0.13).at(middle, 0, z))
    for side in SIDES:
        parts += [
            box("glass", 0.8, 0.06, 0.62).at(end - 1.1, side * width / 2, frame + 1.35),
            box("lamp", 0.1, 0.42, 0.26).at(end, side * (width / 2 - 0.28), frame + 0.27),
            box("taillight", 0.1, 0.34, 0.24).at(-end, side * (width / 2 - 0.2), frame + 0.2),
            box("black", 0.16, 0.14, 0.5).at(end - 0.3, side * (width / 2 + 0.14), frame + 1.5),
            box("metal", 0.04, 0.05, 0.5).at(-end, side * 0.16, frame + 0.9),
        ]
        for x in (end - 0.95, -end + 1.0, -end + 2.05):
            parts += _wheel(x, side * (width / 2 - 0.16), 0.48, 0.3)
    return parts


def motorcycle(rng: Random) -> list[Part]:
    reach, r = rng.uniform(0.68, 0.78), 0.32
    parts = [
        ellipsoid("body", 0.34, 0.18, 0.18).turned(about_y(0.12)).at(0.12, 0, 0.82),
        box("black", 0.64, 0.27, 0.12).turned(about_y(0.08)).at(-0.4, 0, 0.85),
        prism("body", [(-0.98, 0.98), (-0.62, 0.72), (-0.3, 0.75), (-0.55, 0.9)], -0.12, 0.12),
        box("metal", 0.5, 0.3, 0.36).at(0, 0, 0.45),
        box("dark", 0.7, 0.16, 0.2).at(-0.1, 0, 0.62),
        ellipsoid("body", 0.15, 0.19, 0.24).at(reach - 0.24, 0, 0.98),
        ellipsoid("lamp", 0.09, 0.13, 0.13, around=8).at(reach - 0.1, 0, 0.97),
        prism("glass", [(-0.3, 1.12), (-0.14, 1.1), (-0.34, 1.42), (-0.4, 1.42)], -0.13, 0.13).at(reach, 0, 0),
        box("taillight", 0.07, 0.22, 0.12).at(-0.98, 0, 0.9),
        box("white", 0.03, 0.18, 0.12).at(-1.0, 0, 0.72),
        prism("body", [(reach - 0.3, 0.6), (reach, 0.72), (reach + 0.3, 0.6), (reach, 0.66)], -0.1, 0.1),
    ]
    for x in (-reach, reach):
        parts += [
            cylinder("rubber", (x, -0.07, r), (x, 0.07, r), r, sides=14),
            cylinder("metal", (x, -0.08, r), (x, 0.08, r), r * 0.6, sides=9),
        ]
    for side in SIDES:
        parts += [
            cylinder("metal", (reach, side * 0.09, r), (reach - 0.3, side * 0.12, 1.0), 0.035, sides=6, caps=False),
            cylinder("dark", (reach - 0.34, side * 0.1, 1.06), (reach - 0.5, side * 0.42, 1.09), 0.032, sides=6),
            ellipsoid("metal", 0.03, 0.08, 0.06, around=6, up=4).at(reach - 0.34, side * 0.34, 1.24),
            cylinder("dark", (-reach, side * 0.1, r), (-0.05, side * 0.12, 0.45), 0.035, sides=6, caps=False),
        ]
    parts.append(cylinder("metal", (-reach - 0.15, -0.17, 0.38), (0.1, -0.17, 0.33), 0.06, sides=7))
    return parts


def airplane(rng: Random) -> list[Part]:
    """A single-engine plane: nose with spinner and propeller, canopy ahead of the middle, tall fin behind."""
    length, span = rng.uniform(7.0, 8.4), rng.uniform(8.2, 10.0)
    axis, belly = 1.4, rng.uniform(0.62, 0.72)
    profile = [
        (0, -0.5), (0.1, -0.5), (belly * 0.4, -0.25), (belly, 0.06), (belly, 0.28), (belly * 0.86, 0.4),
        (belly * 0.5, 0.45),
    ]  # fmt: skip
    nose = [(belly * 0.5, 0.45), (belly * 0.28, 0.48), (0, 0.5)]
    forward = about_y(math.pi / 2)
    parts = [
        lathe("body", [(r, x * length) for r, x in profile]).turned(forward).at(0, 0, axis),
        lathe("white", [(r, x * length) for r, x in nose], sides=9).turned(forward).at(0, 0, axis),
        ellipsoid("glass", 0.95, 0.5, 0.55).at(length * 0.17, 0, axis + 0.42),
        box("dark", 0.07, 0.22, 2.1).turned(about_x(rng.uniform(0, math.pi))).at(length * 0.47, 0, axis),
        prism(
            "accent",
            [(length * x, axis + z) for x, z in ((-0.33, 0.1), (-0.45, 1.55), (-0.52, 1.55), (-0.49, 0.05))],
            -0.07,
            0.07,
        ),
        cylinder("metal", (length * 0.36, 0, axis - 0.4), (length * 0.36, 0, 0.2), 0.06, sides=5, caps=False),
        cylinder("rubber", (length * 0.36, -0.09, 0.24), (length * 0.36, 0.09, 0.24), 0.24, sides=9),
    ]
    for side in SIDES:
        root = (length * 0.24, side * 0.3, axis - 0.15), (length * 0.03, side * 0.3, axis - 0.15)
        tip = (length * 0.17, side * span / 2, axis + 0.18), (length * 0.04, side * span / 2, axis + 0.18)
        tail = (length * -0.36, side * 0.1, axis + 0.1), (length * -0.48, side * 0.1, axis + 0.1)
        tail_tip = (length * -0.43, side * span * 0.19, axis + 0.16), (length * -0.5, side * span * 0.19, axis + 0.16)
        wheel = length * 0.1
        parts += [
            wing("body", root, tip, 0.17),
            wing("body", tail, tail_tip, 0.1),
            box("accent", length * 0.14, 0.28, 0.2).at(wheel, side * (span / 2), axis + 0.18),
            cylinder("metal", (wheel, side * 0.9, axis), (wheel, side, 0.28), 0.06, sides=5, caps=False),
            cylinder("rubber", (wheel, side - 0.09, 0.27), (wheel, side + 0.09, 0.27), 0.27, sides=9),
        ]
    return parts
