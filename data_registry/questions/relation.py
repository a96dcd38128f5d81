"""Facts of the class "spatial relation": where an object is from the perspective of another one with a front."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from data_registry.questions.facts import Fact, between, which
from data_registry.questions.geometry import Layout, Margins

TYPES = ("left_or_right", "front_or_behind", "object_on_side", "object_ahead")

# Bearing of each side's axis, the type that asks for it with one object, and the one that chooses between two.
AXES = {"left": 90.0, "right": -90.0, "front": 0.0, "behind": 180.0}
SIDE_WORDS = {
    "left": {"side": "left"},
    "right": {"side": "right"},
    "front": {"side": "in front", "side_of": "in front of"},
    "behind": {"side": "behind", "side_of": "behind"},
}
OPPOSITE = {"left": "right", "right": "left", "front": "behind", "behind": "front"}


def facts(scene: Layout, margins: Margins, drops: Counter[str]) -> Iterator[Fact]:
    """Every object that lies clearly on one side of another, and every pair that lies on opposite sides of it."""
    n = len(scene.objects)
    for x in range(n):
        if scene.azimuth[x] != scene.azimuth[x]:
            drops["relation: no front"] += 1
            continue
        others = [k for k in range(n) if k != x]
        for y in others:
            bearing = scene.bearing[x][y]
            if bearing != bearing:
                drops["left_or_right, front_or_behind: one above the other"] += 1
                continue
            side = next((s for s, axis in AXES.items() if _off(bearing, axis) <= margins.axis_deg), "")
            if not side:
                drops["left_or_right, front_or_behind: margin"] += 1
                continue
            type_ = "left_or_right" if side in ("left", "right") else "front_or_behind"
            yield which(type_, scene, {"x": x, "y": y}, side, OPPOSITE[side])
        for i, j in combinations(others, 2):
            yield from _opposites(scene, x, i, j, margins, drops)


def _opposites(scene: Layout, x: int, i: int, j: int, margins: Margins, drops: Counter[str]) -> Iterator[Fact]:
    a, b = scene.bearing[x][i], scene.bearing[x][j]
    if a != a or b != b:
        drops["object_on_side, object_ahead: one above the other"] += 1
        return
    clear = False
    for side, axis in AXES.items():
        off_a, off_b = _off(a, axis), _off(b, axis)
        off_a, off_b, winner = (off_a, off_b, i) if off_a < off_b else (off_b, off_a, j)
        if off_a <= margins.axis_deg and off_b >= 180 - margins.opposite_deg:
            clear = True
            type_ = "object_on_side" if side in ("left", "right") else "object_ahead"
            yield between(type_, scene, i, j, winner, {"x": x}, SIDE_WORDS[side])
    if not clear:
        drops["object_on_side, object_ahead: margin"] += 1


def _off(bearing: float, axis: float) -> float:
    """Degrees between a bearing and an axis, 0..180."""
    return abs((bearing - axis + 180) % 360 - 180)
