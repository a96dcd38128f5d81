"""Claims of the question types of 3DSRBench and SpatialRGPT-Bench that the paper's three classes leave out."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from data_registry.questions.facts import Claim, between, which
from data_registry.questions.geometry import Layout, Margins
from data_registry.questions.orientation import SIDES
from data_registry.questions.relation import quarter
from data_registry.scene import required

# Both questions of a comparison, and what it compares of (width, height, length): each value has to be the larger one.
_SIZES: tuple[tuple[str, str, Callable[[np.ndarray], tuple[float, ...]]], ...] = (
    ("taller", "shorter", lambda d: (d[1],)),
    ("wider", "narrower", lambda d: (min(d[0], d[2]), max(d[0], d[2]))),  # which is its width is often unknown
    ("bigger", "smaller", lambda d: (float(np.prod(d)) ** (1 / 3),)),
)


def next_to(scene: Layout, margins: Margins, drops: Counter[str]) -> Iterator[Claim]:
    """By the gap between surfaces: one is next to the thing, the other clearly is not."""
    n = len(scene.objects)
    for x in range(n):
        dimensions = scene.objects[x].dimensions
        if dimensions is None:
            continue
        near, far = (share * float(max(dimensions)) for share in (margins.next_to, margins.not_next_to))
        for i, j in combinations([k for k in range(n) if k != x], 2):
            a, b = scene.gap[x][i], scene.gap[x][j]
            if min(a, b) <= near and max(a, b) >= far:
                yield between("next_to", scene, i, j, i if a < b else j, (x,))
            else:
                drops["next_to: margin"] += 1


def side_to_object(scene: Layout, margins: Margins, drops: Counter[str]) -> Iterator[Claim]:
    """Which side of an object another one sees."""
    n = len(scene.objects)
    for x, y in ((x, y) for x in range(n) for y in range(n) if x != y):
        seen = quarter(scene.bearing[x][y], margins.axis_deg)
        if seen is None:
            drops["side_to_object: margin, or no direction"] += 1
            continue
        for other in SIDES:
            if other != SIDES[seen]:
                yield which("side_to_object", scene, (x, y), SIDES[seen], other)


def parallel(scene: Layout, margins: Margins, drops: Counter[str]) -> Iterator[Claim]:
    """Whether two fronts are parallel (either way) or perpendicular."""
    for x, y in combinations(range(len(scene.objects)), 2):
        turn = scene.turn[x][y]
        off = min(turn, 180 - turn)  # NaN without two fronts
        if off <= margins.parallel_deg:
            yield which("parallel", scene, (x, y), "parallel", "perpendicular")
        elif off >= 90 - margins.parallel_deg:
            yield which("parallel", scene, (x, y), "perpendicular", "parallel")
        else:
            drops["parallel: margin, or no front"] += 1


def heights(scene: Layout, margins: Margins, drops: Counter[str]) -> Iterator[Claim]:
    """Higher: with its bottom and its top. Above: besides steeply so, and not beside it."""
    up = scene.scene.camera.up
    known = [k for k, o in enumerate(scene.objects) if o.center is not None and o.dimensions is not None]
    if up is None:
        drops["higher, above_or_below: gravity unknown"] += len(known)
        return
    extents = {k: scene.objects[k].corners() @ up for k in known}
    bottom, top = ({k: float(pick(v)) for k, v in extents.items()} for pick in (np.min, np.max))
    steep = math.tan(math.radians(margins.steep_deg))
    for i, j in combinations(known, 2):
        rise = min(bottom[i] - bottom[j], top[i] - top[j]), min(bottom[j] - bottom[i], top[j] - top[i])
        if max(rise) < scene.closer_m:
            drops["higher: margin"] += 1
            continue
        upper, lower = (i, j) if rise[0] > rise[1] else (j, i)
        yield between("higher", scene, i, j, upper)
        yield between("lower", scene, i, j, lower)
        across = required(scene.objects[upper].center) - required(scene.objects[lower].center)
        climb = float(across @ up)
        if bottom[upper] < top[lower] - scene.closer_m or climb < steep * np.linalg.norm(across - climb * up):
            drops["above_or_below: margin"] += 1
        else:
            yield which("above_or_below", scene, (upper, lower), "above", "below")
            yield which("above_or_below", scene, (lower, upper), "below", "above")


def sizes(scene: Layout, margins: Margins, drops: Counter[str]) -> Iterator[Claim]:
    """Every comparison of two sizes, asked both ways."""
    known = [k for k, o in enumerate(scene.objects) if o.dimensions is not None]
    for i, j in combinations(known, 2):
        for more, less, measures in _SIZES:
            first_sizes, second_sizes = (measures(required(scene.objects[k].dimensions)) for k in (i, j))
            pairs = list(zip(first_sizes, second_sizes, strict=True))
            if all(a >= b * (1 + margins.larger_ratio) for a, b in pairs):
                larger, other = i, j
            elif all(b >= a * (1 + margins.larger_ratio) for a, b in pairs):
                larger, other = j, i
            else:
                drops[f"{more}: margin"] += 1
                continue
            yield between(more, scene, i, j, larger)
            yield between(less, scene, i, j, other)
