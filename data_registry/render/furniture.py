"""Furniture. Front: the side it is used from (a bed's foot end, a cabinet's drawers, a television's screen).
Each function draws one shape variant: parts in metres, x = front, y = left, z = up."""

from random import Random

from data_registry.render.mesh import Part, about_y, box, cylinder, ellipsoid

SIDES = (-1, 1)


def chair(rng: Random) -> list[Part]:
    width, depth = rng.uniform(0.42, 0.5), rng.uniform(0.42, 0.5)
    seat, height = rng.uniform(0.43, 0.48), rng.uniform(0.9, 1.08)
    leg, r = rng.choice(("wood", "metal")), rng.uniform(0.02, 0.028)
    lean = about_y(-0.1)
    parts = [box("body", depth, width, 0.07).at(0, 0, seat)]
    for x in (depth / 2 - r, r - depth / 2):
        for side in SIDES:
            parts.append(box(leg, 2 * r, 2 * r, seat).at(x, side * (width / 2 - r), seat / 2))
    back = -depth / 2
    if rng.random() < 0.5:
        parts.append(box("body", 0.05, width, height - seat).turned(lean).at(back, 0, (seat + height) / 2))
    else:
        for y in (-width / 2 + 0.03, 0, width / 2 - 0.03):
            parts.append(box(leg, 0.04, 0.045, height - seat).turned(lean).at(back, y, (seat + height) / 2))
        parts += [
            box("body", 0.055, width, 0.2).turned(lean).at(back - 0.02, 0, height - 0.1),
            box("body", 0.05, width, 0.09).turned(lean).at(back + 0.01, 0, seat + 0.2),
        ]
    if rng.random() < 0.35:
        for side in SIDES:
            parts += [
                box(leg, depth * 0.9, 0.05, 0.04).at(0.02, side * width / 2, seat + 0.23),
                box(leg, 0.04, 0.04, 0.23).at(depth / 2 - 0.06, side * width / 2, seat + 0.115),
            ]
    return parts


def sofa(rng: Random) -> list[Part]:
    width, depth, height = rng.uniform(1.5, 2.2), rng.uniform(0.86, 0.98), rng.uniform(0.78, 0.92)
    arm = 0.2
    seats = 2 if width < 1.9 else 3
    cushion = (width - 2 * arm) / seats
    parts = [
        box("body", depth - 0.06, width, 0.2).at(0.03, 0, 0.2),
        box("body", 0.2, width, height - 0.1).at(-depth / 2 + 0.1, 0, height / 2 + 0.05),
    ]
    for i in range(seats):
        y = -width / 2 + arm + cushion * (i + 0.5)
        parts += [
            box("shade", depth - 0.24, cushion - 0.03, 0.17).at(0.11, y, 0.37),
            box("shade", 0.16, cushion - 0.04, 0.36).turned(about_y(-0.2)).at(-depth / 2 + 0.27, y, 0.61),
        ]
    for side in SIDES:
        y = side * (width / 2 - arm / 2)
        parts += [
            box("body", depth - 0.06, arm, 0.5).at(0.03, y, 0.35),
            cylinder("body", (-depth / 2 + 0.06, y, 0.6), (depth / 2 + 0.01, y, 0.6), arm / 2 + 0.012, sides=10),
        ]
        for x in (-depth / 2 + 0.1, depth / 2 - 0.1):
            parts.append(box("wood", 0.07, 0.07, 0.12).at(x, side * (width / 2 - 0.12), 0.06))
    if rng.random() < 0.6:
        y = rng.choice(SIDES) * (width / 2 - arm - 0.2)
        parts.append(box("accent", 0.12, 0.32, 0.32).turned(about_y(-0.4)).at(-0.05, y, 0.57))
    return parts


def bed(rng: Random) -> list[Part]:
    """The named colour is the blanket's; pillows and the high headboard mark the back."""
    width, length = rng.uniform(1.0, 1.7), rng.uniform(1.95, 2.15)
    end = length / 2
    parts = [
        box("wood", length, width, 0.16).at(0, 0, 0.2),
        box("white", length - 0.12, width - 0.06, 0.2).at(-0.02, 0, 0.36),
        box("body", length - 0.62, width + 0.04, 0.22).at(0.27, 0, 0.39),
        box("shade", 0.24, width + 0.05, 0.23).at(-0.42, 0, 0.395),
        box("wood", 0.08, width + 0.06, 0.95).at(-end, 0, 0.5),
        box("wood", 0.06, width, 0.3).at(end, 0, 0.28),
    ]
    for x in (-end + 0.08, end - 0.08):
        for side in SIDES:
            parts.append(box("wood", 0.1, 0.1, 0.16).at(x, side * (width / 2 - 0.08), 0.08))
    pillows = 1 if width < 1.3 else 2
    for i in range(pillows):
        y = (i - (pillows - 1) / 2) * width * 0.47
        parts.append(ellipsoid("white", 0.2, 0.32, 0.11, up=5).at(-end + 0.28, y, 0.52))
    return parts


def television(rng: Random) -> list[Part]:
    """The named colour is the frame's."""
    width = rng.uniform(0.8, 1.4)
    height, foot = 0.58 * width, 0.13
    middle = foot + height / 2
    return [
        box("body", 0.07, width, height).at(0, 0, middle),
        box("screen", 0.006, width * 0.9, height * 0.82).at(0.036, 0, middle + 0.01),
        box("white", 0.004, width * 0.28, height * 0.22).at(0.041, width * 0.2, foot + height * 0.66),
        box("accent", 0.004, width * 0.34, height * 0.3).at(0.041, -width * 0.18, foot + height * 0.36),
        box("dark", 0.09, width * 0.55, height * 0.55).at(-0.07, 0, foot + height * 0.42),
        box("metal", 0.05, 0.12, 0.2).at(-0.02, 0, foot - 0.02),
        box("metal", 0.28, width * 0.45, 0.03).at(0, 0, 0.015),
    ]


def cabinet(rng: Random) -> list[Part]:
    width, depth, height = rng.uniform(0.6, 1.2), rng.uniform(0.4, 0.55), rng.uniform(0.8, 1.3)
    drawers = rng.randint(2, 4)
    step = (height - 0.14) / drawers
    parts = [
        box("body", depth, width, height - 0.08).at(0, 0, height / 2 + 0.04),
        box("dark", depth - 0.08, width - 0.06, 0.08).at(-0.02, 0, 0.04),
        box("body", depth + 0.04, width + 0.04, 0.04).at(0.01, 0, height),
    ]
    for i in range(drawers):
        z = 0.11 + step * (i + 0.5)
        parts.append(box("shade", 0.03, width - 0.08, step - 0.05).at(depth / 2 + 0.01, 0, z))
        for y in (0.0,) if width < 0.8 else (-width * 0.22, width * 0.22):
            parts.append(box("metal", 0.04, 0.16, 0.035).at(depth / 2 + 0.04, y, z))
    return parts
