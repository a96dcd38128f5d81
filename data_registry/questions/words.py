"""Small words: quantities in natural units, articles, plurals, lists, names of directions (`phrasings/words.yaml`)."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "phrasings"


@cache
def words() -> dict[str, Any]:
    """`words.yaml`, read once."""
    return yaml.safe_load((FOLDER / "words.yaml").read_text(encoding="utf-8"))


def quantity(metres: float) -> str:
    """A length as a person says it.

    >>> quantity(0.43), quantity(3.21), quantity(14.4)
    ('45 cm', '3.2 m', '14 m')
    """
    for rule in words()["units"]:
        steps = round(metres * rule["scale"] / rule["step"])
        value = max(1, steps) * rule["step"]
        if value < rule["below_m"] * rule["scale"]:
            return f"{value:.1f} {rule['unit']}" if rule["step"] < 1 else f"{value} {rule['unit']}"
    raise ValueError(f"{metres} m is beyond the last rule of words.yaml: units")


def sector(degrees: float) -> int:
    """Which of eight directions, 45 degrees each, an angle falls into; 0 is centred on 0."""
    return round(degrees / 45) % 8


def elevation(degrees: float) -> str:
    """How high above an object the camera is, in words."""
    return next(rule["text"] for rule in words()["elevation"] if degrees < rule["below_deg"])


def plural(name: str) -> str:
    """The plural of a category name; the last word is inflected ("traffic cones")."""
    first, _, last = name.rpartition(" ")
    irregular = words()["plurals"].get(last)
    if irregular is None:
        irregular = f"{last}es" if last.endswith(("s", "x", "ch", "sh")) else f"{last}s"
    return f"{first} {irregular}" if first else irregular


def article(noun: str) -> str:
    """The noun with its indefinite article ("an airplane")."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def number(count: int) -> str:
    """A small count in letters, a larger one in digits."""
    names = words()["numbers"]
    return names[count] if count < len(names) else str(count)


def enumeration(things: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"


def sentence(text: str) -> str:
    """The text with a capital at its start."""
    return text[0].upper() + text[1:]
