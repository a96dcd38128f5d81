"""Claims of the class "distance": which of two objects is closer to, or farther from, the viewer or a third object."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from data_registry.questions.facts import Claim, between
from data_registry.questions.geometry import Layout, Margins


def claims(scene: Layout, margins: Margins, drops: Counter[str]) -> Iterator[Claim]:
    """Every clear comparison of two distances, asked both ways."""
    n = len(scene.objects)
    for i, j in combinations(range(n), 2):
        closer = _closer(scene.distance[i], scene.distance[j], scene.near[i], scene.near[j], scene, margins)
        if isinstance(closer, str):
            drops[f"closer_to_viewer: {closer}"] += 1
        else:
            winner, loser = (i, j) if closer else (j, i)
            yield between("closer_to_viewer", scene, i, j, winner)
            yield between("farther_from_viewer", scene, i, j, loser)
    for c in range(n):
        pair, gap = scene.pair[c], scene.gap[c]
        for i, j in combinations([k for k in range(n) if k != c], 2):
            closer = _closer(pair[i], pair[j], gap[i], gap[j], scene, margins)
            if isinstance(closer, str):
                drops[f"closer_to_object: {closer}"] += 1
            else:
                winner, loser = (i, j) if closer else (j, i)
                yield between("closer_to_object", scene, i, j, winner, (c,))
                yield between("farther_from_object", scene, i, j, loser, (c,))


def _closer(a: float, b: float, near_a: float, near_b: float, scene: Layout, margins: Margins) -> bool | str:
    """Whether the first is closer, or why that is not clear.

    Centres decide, by both margins, and surfaces must say the same: the far end of a bus may be beyond a person that
    its near end has long passed, and of two things that touch a third neither is the closer.
    """
    if a != a or b != b:
        return "no metric position"
    low, high = (a, b) if a < b else (b, a)
    if high - low < scene.closer_m or high < low * (1 + margins.closer_ratio):
        return "margin"
    if (near_a - near_b) * (a - b) <= 0:
        return "centres and surfaces disagree"
    return a < b
