"""Words for single facts: numbers, slices of the view, compass directions and a thing's whole description.
Each fact has words of its own kind (cardinals for range, ordinals for place, winds for heading), so that even the mere
set of a description's words, in no order, says everything."""

import math
from random import Random

from data_registry.text.worlds import FIELD_OF_VIEW_DEG, KINDS, SLICES, Thing

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
WINDS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")
# A wind of sixteen holds its main wind twice: the sum of its words' directions is about its own direction.
FINE_WINDS = (
    "north", "north-north-east", "north-east", "east-north-east", "east", "east-south-east", "south-east",
    "south-south-east", "south", "south-south-west", "south-west", "west-south-west", "west", "west-north-west",
    "north-west", "north-north-west",
)  # fmt: skip
# The same as a narrator would say who has no compass.
TURNS = (
    "away", "away and right", "right", "towards the viewer and right",
    "towards the viewer", "towards the viewer and left", "left", "away and left",
)  # fmt: skip


def the(thing: Thing) -> str:
    """What singles a thing out in its world, with its article."""
    return f"the {thing.label}"


def number(value: int) -> str:
    """0..999 in words: 'one hundred and five'."""
    if value < 20:
        return _ONES[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    hundreds, rest = divmod(value, 100)
    return f"{_ONES[hundreds]} hundred" + (f" and {number(rest)}" if rest else "")


def whole(value: float) -> int:
    """A number rounded as people say it: the coarser, the larger."""
    step = 1 if value < 20 else 2 if value < 30 else 5 if value < 70 else 10
    return max(1, round(value / step) * step)


def in_units(range_m: float, kind: str) -> int:
    """A range in whole units of its kind of scene: feet in a street, hands in a room, centimetres on a table."""
    return whole(range_m / KINDS[kind][4])


def distance(range_m: float, kind: str, digits: bool = False) -> str:
    """A range with its unit, in words or in digits ('forty feet', '12.4 m')."""
    if digits:
        return f"{range_m:.1f} m" if range_m >= 2 else f"{range_m:.2f} m"
    return f"{number(in_units(range_m, kind))} {KINDS[kind][3]}"


def slice_of(bearing_deg: float) -> str:
    """Which of the twelve slices of the view, 'first' at the left edge (things beyond an edge count to it)."""
    index = math.floor((bearing_deg / FIELD_OF_VIEW_DEG + 0.5) * SLICES)
    return ORDINALS[min(max(index, 0), SLICES - 1)]


def wind(degrees: float, fine: bool = False) -> str:
    """The nearest of eight (or sixteen) winds to an angle clockwise from north."""
    names = FINE_WINDS if fine else WINDS
    return names[round(degrees / (360 / len(names))) % len(names)]


def turn(heading: float) -> str:
    """A heading in eight steps, told from the narrator's place."""
    return TURNS[round(heading / 45) % 8]


def azimuth(heading: float) -> int:
    """A heading in steps of ten degrees, 0 where the front faces the narrator and 90 where it points to the left."""
    return round((heading - 180) / 10) * 10 % 360


def attributes(thing: Thing, kind: str, digits: bool = False) -> str:
    """Colour, range, place in the view and heading, in this order and always in the same words."""
    far = distance(thing.range_m, kind, digits)
    return f"{thing.color}, {far} off, {slice_of(thing.bearing)} slice, nose {wind(thing.heading, fine=True)}"


def portrait(thing: Thing, kind: str, rng: Random, digits: bool = False) -> str:
    """All of a thing in one phrase, now and then in another order or without a compass."""
    color, *parts = attributes(thing, kind, digits).split(", ")
    if rng.random() < 0.3:
        parts[-1] = f"nose {turn(thing.heading)}"
    if rng.random() < 0.3:
        rng.shuffle(parts)
    return f"{color} {thing.name}, " + ", ".join(parts)
