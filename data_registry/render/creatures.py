"""People and dogs. Front: where the face looks.
Each function draws one shape variant: parts in metres, x = front, y = left, z = up."""

from random import Random

from data_registry.render.mesh import Part, about_y, box, cylinder, ellipsoid, tube

SIDES = (-1, 1)


def person(rng: Random) -> list[Part]:
    """The named colour is the shirt's; face, hair, rucksack and toes tell front from back."""
    stride, swing = rng.uniform(-0.2, 0.2), rng.uniform(0.02, 0.1)
    parts = [
        ellipsoid("body", 0.15, 0.22, 0.36).at(0, 0, 1.16),
        ellipsoid("body", 0.13, 0.26, 0.12).at(0, 0, 1.37),
        ellipsoid("trousers", 0.14, 0.19, 0.13, around=8, up=4).at(0, 0, 0.87),
        cylinder("skin", (0, 0, 1.4), (0.02, 0, 1.54), 0.055, sides=7, caps=False),
        ellipsoid("skin", 0.11, 0.095, 0.14).at(0.03, 0, 1.62),
        ellipsoid("hair", 0.12, 0.108, 0.13).at(-0.025, 0, 1.67),
        ellipsoid("skin", 0.035, 0.022, 0.03, around=6, up=4).at(0.135, 0, 1.61),
        box("white", 0.06, 0.1, 0.24).at(0.125, 0, 1.24),
        box("black", 0.28, 0.36, 0.05).at(0, 0, 0.95),
    ]
    if rng.random() < 0.5:
        parts.append(box("accent", 0.18, 0.3, 0.4).at(-0.2, 0, 1.2))
    for side in SIDES:
        elbow = (-side * stride * 0.8 + 0.03, side * 0.3, 1.05)
        hand = (elbow[0] + swing + 0.05, side * 0.28, 0.82)
        foot = side * stride
        parts += [
            cylinder("trousers", (0, side * 0.1, 0.88), (foot, side * 0.11, 0.08), 0.09, 0.065, sides=8, caps=False),
            ellipsoid("black", 0.15, 0.06, 0.055, around=8, up=4).at(foot + 0.07, side * 0.11, 0.05),
            cylinder("body", (0, side * 0.23, 1.4), elbow, 0.065, 0.055, sides=7, caps=False),
            cylinder("skin", elbow, hand, 0.048, 0.042, sides=6),
            ellipsoid("black", 0.02, 0.017, 0.017, around=6, up=4).at(0.12, side * 0.036, 1.645),
        ]
    return parts


def dog(rng: Random) -> list[Part]:
    body, tail = rng.uniform(0.36, 0.44), rng.uniform(0.0, 0.12)
    parts = [
        ellipsoid("body", body, 0.14, 0.16).at(0, 0, 0.43),
        ellipsoid("body", 0.17, 0.155, 0.19).at(0.24, 0, 0.46),
        cylinder("body", (0.3, 0, 0.5), (0.46, 0, 0.7), 0.105, 0.09, sides=8, caps=False),
        ellipsoid("body", 0.14, 0.12, 0.12).at(0.48, 0, 0.74),
        cylinder("shade", (0.54, 0, 0.71), (0.71, 0, 0.68), 0.078, 0.055, sides=8),
        ellipsoid("black", 0.038, 0.038, 0.032, around=6, up=4).at(0.72, 0, 0.705),
        cylinder("taillight", (0.31, 0, 0.59), (0.36, 0, 0.55), 0.12, sides=9),
        ellipsoid("pink", 0.04, 0.03, 0.02, around=6, up=4).at(0.69, 0, 0.64),
        tube("body", [(-0.34, 0.48), (-0.46, 0.58), (-0.52 + tail, 0.7), (-0.52 + tail * 2, 0.8)], 0.035),
    ]
    for side in SIDES:
        parts += [
            ellipsoid("black", 0.024, 0.02, 0.024, around=6, up=4).at(0.585, side * 0.06, 0.785),
            ellipsoid("shade", 0.06, 0.028, 0.12, around=7, up=5).turned(about_y(0.2)).at(0.42, side * 0.125, 0.74),
        ]
        y = side * 0.08
        for x in (0.26, -0.26):
            parts += [
                cylinder("body", (x, y, 0.43), (x + 0.02, y, 0.05), 0.065, 0.045, sides=7, caps=False),
                ellipsoid("shade", 0.075, 0.048, 0.038, around=7, up=4).at(x + 0.05, y, 0.037),
            ]
    return parts
