"""Claims of the class "spatial relation": where an object is from the perspective of another one with a front."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from data_registry.questions.facts import Claim, between, which
from data_registry.questions.geometry import Layout, Margins

SIDES = ("front", "left", "behind", "right")  # by bearing: 0, 90, 180 and 270 degrees
OPPOSITE = {"left": "right", "right": "left", "front": "behind", "behind": "front"}


def claims(scene: Layout, margins: Margins, drops: Counter[str]) -> Iterator[Claim]:
    """Every object that lies clearly on one side of another, and every pair that lies on opposite sides of it."""
    n = len(scene.objects)
    for x in range(n):
        if scene.azimuth[x] != scene.azimuth[x]:
            drops["relation: no front"] += 1
            continue
        others = [k for k in range(n) if k != x]
        bearings = scene.bearing[x]
        quarters = [quarter(bearing, margins.axis_deg) for bearing in bearings]
        for y in others:
            if bearings[y] != bearings[y]:
                drops["left_or_right, front_or_behind: one above the other"] += 1
            elif (toward := quarters[y]) is None:
                drops["left_or_right, front_or_behind: margin"] += 1
            else:
                side = SIDES[toward]
                type_ = "left_or_right" if toward % 2 else "front_or_behind"
                yield which(type_, scene, (x, y), side, OPPOSITE[side])
        for i, j in combinations(others, 2):
            if bearings[i] != bearings[i] or bearings[j] != bearings[j]:
                drops["object_on_side, object_ahead: one above the other"] += 1
                continue
            clear = False
            for winner, loser in ((i, j), (j, i)):
                at = quarters[winner]
                if at is not None and _off(bearings[loser], at + 2) <= margins.opposite_deg:
                    clear = True
                    type_ = "object_on_side" if at % 2 else "object_ahead"
                    yield between(type_, scene, i, j, winner, (x,), SIDES[at])
            if not clear:
                drops["object_on_side, object_ahead: margin"] += 1


def quarter(bearing: float, axis_deg: float) -> int | None:
    """Which of the four axes a bearing is close to (0 ahead, 1 left, 2 behind, 3 right), or None."""
    if bearing != bearing:
        return None
    quarter = round(bearing / 90) % 4
    return quarter if _off(bearing, quarter) <= axis_deg else None


def _off(bearing: float, quarter: int) -> float:
    """Degrees between a bearing and an axis, 0..180."""
    return abs((bearing - 90 * quarter + 180) % 360 - 180)
