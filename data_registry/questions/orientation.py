"""Claims of the class "orientation": which way an object faces, seen from the viewer or relative to other objects."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from data_registry.questions.facts import Claim, between, which
from data_registry.questions.geometry import Layout, Margins

SIDES = ("front", "left side", "back", "right side")  # by azimuth: 0, 90, 180 and 270 degrees


def claims(scene: Layout, margins: Margins, drops: Counter[str]) -> Iterator[Claim]:
    """Every clear direction of an object with a semantic front."""
    n = len(scene.objects)
    for x in range(n):
        azimuth = scene.azimuth[x]
        if azimuth != azimuth:
            drops["orientation: no front"] += 1
            continue
        if abs(scene.elevation[x]) > margins.steep_deg:
            drops["side_to_viewer: seen from above or below"] += 1
        else:
            yield from _to_viewer(scene, x, azimuth, margins, drops)
        for i, j in combinations([k for k in range(n) if k != x], 2):
            a, b = abs(scene.bearing[x][i]), abs(scene.bearing[x][j])
            if a != a or b != b:
                drops["facing_object: one above the other"] += 1
            elif min(a, b) > margins.facing_deg or abs(a - b) < margins.facing_lead_deg:
                drops["facing_object: margin"] += 1
            else:
                yield between("facing_object", scene, i, j, i if a < b else j, (x,))
    for x, y in combinations(range(n), 2):
        turn = scene.turn[x][y]
        if turn != turn:
            continue  # counted above, once per object
        if margins.same_deg <= turn <= margins.different_deg:
            drops["same_direction: margin"] += 1
        else:
            answer, other = ("same", "different") if turn < margins.same_deg else ("different", "same")
            yield which("same_direction", scene, (x, y), answer, other)


def _to_viewer(scene: Layout, x: int, azimuth: float, margins: Margins, drops: Counter[str]) -> Iterator[Claim]:
    quarter = round(azimuth / 90) % 4
    if abs((azimuth - 90 * quarter + 180) % 360 - 180) > margins.axis_deg:
        drops["side_to_viewer: margin"] += 1
        return
    for other in SIDES:
        if other != SIDES[quarter]:
            yield which("side_to_viewer", scene, (x,), SIDES[quarter], other)
    if quarter in (0, 2):
        yield which("towards_viewer", scene, (x,), *(("towards", "away")[:: 1 if quarter == 0 else -1]))
    else:
        yield which("pointing", scene, (x,), *(("left", "right")[:: 1 if quarter == 1 else -1]))
