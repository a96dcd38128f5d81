"""Things without a front that fill a scene and may hide something: never labelled, never asked about.
Each function draws one shape variant: parts in metres, z = up."""

from random import Random

from data_registry.render.mesh import Part, box, cylinder, ellipsoid, lathe


def tree(rng: Random) -> list[Part]:
    height = rng.uniform(2.6, 4.2)
    parts = [cylinder("wood", (0, 0, 0), (0, 0, height * 0.5), 0.17, 0.11, sides=7, caps=False)]
    for _ in range(3):
        rx, ry, rz = (rng.uniform(0.6, 1.0) for _ in range(3))
        spot = rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4), height * rng.uniform(0.5, 0.8)
        parts.append(ellipsoid("leaf", rx, ry, rz, around=8).at(*spot))
    return parts


def lamp_post(rng: Random) -> list[Part]:
    height = rng.uniform(3.0, 5.0)
    return [
        cylinder("metal", (0, 0, 0), (0, 0, height), 0.07, sides=7, caps=False),
        ellipsoid("lamp", 0.2, 0.2, 0.2, around=8, up=5).at(0, 0, height),
    ]


def cone(rng: Random) -> list[Part]:
    height = rng.uniform(0.6, 0.8)
    return [
        box("orange", 0.42, 0.42, 0.05).at(0, 0, 0.03),
        cylinder("orange", (0, 0, 0.04), (0, 0, height), 0.16, 0.03),
        cylinder("white", (0, 0, height * 0.45), (0, 0, height * 0.65), 0.115, 0.085, caps=False),
    ]


def parcel(rng: Random) -> list[Part]:
    x, y, z = (rng.uniform(0.3, 0.7) for _ in range(3))
    return [box("wood", x, y, z).at(0, 0, z / 2), box("white", x * 1.01, y * 0.2, z * 1.01).at(0, 0, z / 2)]


def ball(rng: Random) -> list[Part]:
    r = rng.uniform(0.2, 0.4)
    return [
        ellipsoid("body", r, r, r, around=12, up=8).at(0, 0, r),
        lathe("white", [(r * 1.01, r * 0.85), (r * 1.01, r * 1.15)]),
    ]


def vase(rng: Random) -> list[Part]:
    k = rng.uniform(0.8, 1.2)
    profile = [(0, 0), (0.12, 0), (0.2 * k, 0.2), (0.16 * k, 0.4), (0.07, 0.5), (0.1, 0.58), (0, 0.56)]
    return [lathe("body", profile, sides=14)]


def building(rng: Random) -> list[Part]:
    width, depth, height = rng.uniform(6, 16), rng.uniform(6, 12), rng.uniform(4, 14)
    parts = [box("wall", depth, width, height).at(0, 0, height / 2)]
    floors, columns = max(1, int(height / 3)), max(1, int(width / 3))
    for i in range(floors):
        for j in range(columns):
            across, z = (j + 0.5) / columns - 0.5, (i + 0.6) / floors * height
            parts.append(box("glass", depth + 0.1, 1.3, 1.4).at(0, across * width, z))
            parts.append(box("glass", 1.2, width + 0.1, 1.4).at(across * depth, 0, z))
    return parts
