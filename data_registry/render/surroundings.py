"""Draws what surrounds the objects: ground, walls, sky and light.
Dimensions in metres, colours RGB in 0..1, angles in radians."""

import colorsys
import math
from random import Random

from data_registry.render.world import Light, Setting, Surface, Vec3


def setting(rng: Random, kind: str) -> Setting:
    """Ground, walls and sky of a street, a room (the camera stands inside) or a table (in a room)."""
    room = table = None
    yaw = 0.0
    if kind == "room":
        half, yaw = rng.uniform(2.6, 5.0), rng.uniform(-0.5, 0.5)
        room = (-half, half, rng.uniform(-2.0, -0.6), rng.uniform(5.0, 8.5), 0.0, rng.uniform(2.4, 3.0))
    elif kind == "table":
        half, yaw = rng.uniform(0.55, 1.1), rng.uniform(-0.25, 0.25)
        table = (-half, half, rng.uniform(0.2, 0.3), rng.uniform(1.2, 1.7))
        room = (-half - rng.uniform(0.7, 2), half + rng.uniform(0.7, 2), -1.5, rng.uniform(1.9, 3.5), -0.75, 1.9)
    return Setting(_ground(rng, kind), _wall(rng), _ground(rng, "room"), room, table, yaw, _sky(rng))


def light(rng: Random, kind: str) -> Light:
    around = rng.uniform(0, 2 * math.pi)
    height = math.radians(rng.uniform(28, 70) if kind == "street" else rng.uniform(50, 80))
    direction = (math.cos(around) * math.cos(height), math.sin(around) * math.cos(height), math.sin(height))
    warm, sun, sky = rng.gauss(0, 0.04), rng.uniform(0.5, 0.8), rng.uniform(0.46, 0.6)
    return Light(direction, ((1 + warm) * sun, sun, (1 - warm) * sun), ((1 - warm) * sky, sky, (1 + warm) * sky))


def _sky(rng: Random) -> tuple[Vec3, Vec3]:
    if rng.random() < 0.75:
        top, low = rng.uniform(0.8, 1.1), rng.uniform(0.85, 1.05)
        return (0.42 * top, 0.60 * top, 0.87 * top), (0.82 * low, 0.87 * low, 0.92 * low)
    gray = rng.uniform(0.8, 1.1)
    return ((0.70 * gray, 0.72 * gray, 0.75 * gray),) * 2


def _wall(rng: Random) -> Surface:
    pattern = rng.choice(("plain", "plain", "plain", "tiles", "stripes"))
    base = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.02, 0.35), rng.uniform(0.6, 0.95))
    second = _scaled(base, rng.uniform(0.82, 0.96))
    return Surface(pattern, base, second, rng.uniform(0.3, 0.7), 0.0, rng.getrandbits(31))


def _ground(rng: Random, kind: str) -> Surface:
    if kind == "street":
        pattern = rng.choice(("asphalt", "asphalt", "grass", "tiles", "sand"))
        period = rng.uniform(0.8, 1.4)
        base = {
            "grass": _scaled((0.28, 0.42, 0.16), rng.uniform(0.8, 1.3)),
            "sand": _scaled((0.72, 0.62, 0.44), rng.uniform(0.8, 1.15)),
        }.get(pattern, _scaled((1.0, 1.0, 1.03), rng.uniform(0.28, 0.55)))
    else:
        others = ("tiles", "checker") if kind == "room" else ("stripes", "checker")
        pattern = rng.choice(("planks", "planks", "carpet", "plain", *others))
        if pattern == "planks":
            base = _scaled((0.61, 0.43, 0.26), rng.uniform(0.6, 1.3))
            period = rng.uniform(0.1, 0.18) if kind == "room" else rng.uniform(0.06, 0.12)
        else:
            base = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.04, 0.42), rng.uniform(0.42, 0.88))
            period = rng.uniform(0.3, 0.6) if kind == "room" else rng.uniform(0.06, 0.12)
    contrast = {"checker": (0.6, 0.9), "tiles": (0.6, 0.85), "plain": (0.85, 0.85), "stripes": (0.65, 0.9)}
    second = _scaled(base, rng.uniform(*contrast.get(pattern, (0.62, 0.62))))
    return Surface(pattern, base, second, period, rng.uniform(0, math.pi), rng.getrandbits(31))


def _scaled(color: Vec3, factor: float) -> Vec3:
    red, green, blue = (min(1.0, c * factor) for c in color)
    return red, green, blue
