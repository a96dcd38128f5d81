"""Answers from the 2D boxes alone, as if the picture were flat: what is lower is closer, left is left.
A model that does no better has learnt the picture, not the space."""

from collections.abc import Callable
from math import hypot
from typing import Protocol

Box = tuple[float, ...]  # x1, y1, x2, y2 in pixels


class Asked(Protocol):
    """What these rules see of a question (`data_registry.benchmark.spatialvqa.Question`): no answer, no 3D."""

    @property
    def question(self) -> str: ...

    @property
    def options(self) -> tuple[str, ...]: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def boxes(self) -> tuple[tuple[float, ...], ...]: ...


def first(asked: Asked) -> int:
    """Where boxes suggest nothing: the first option."""
    return 0


def lower(asked: Asked) -> int:
    """What stands lower in the picture is closer."""
    return _choose(asked, lambda box: box[3])


def upper(asked: Asked) -> int:
    """What stands higher in the picture is farther."""
    return _choose(asked, lambda box: -box[3])


def beside(asked: Asked) -> int:
    """What is closer in the picture is closer."""
    return _choose(asked, lambda box: -_apart(box, asked.boxes[0]))


def apart(asked: Asked) -> int:
    """What is farther in the picture is farther."""
    return _choose(asked, lambda box: _apart(box, asked.boxes[0]))


def word(text: str) -> Callable[[Asked], int]:
    """Always the option that contains a word."""
    return lambda asked: _word(asked, text)


def _choose(asked: Asked, score: Callable[[Box], float]) -> int:
    """The option object with the highest score; option boxes are the last two, in the order of their names."""
    boxes = dict(zip((f"the {name}" for name in asked.names[-2:]), asked.boxes[-2:], strict=True))
    first, second = (score(boxes[option]) for option in asked.options)
    return int(second > first)


def _word(asked: Asked, word: str) -> int:
    """The option that contains the word."""
    return next((k for k, option in enumerate(asked.options) if word in option), 0)


def _x(box: Box) -> float:
    return (box[0] + box[2]) / 2


def _apart(a: Box, b: Box) -> float:
    return hypot(_x(a) - _x(b), (a[1] + a[3] - b[1] - b[3]) / 2)


def side_to_viewer(asked: Asked) -> int:
    """A thing wider than tall shows a side."""
    x1, y1, x2, y2 = asked.boxes[0]
    return _word(asked, "side" if x2 - x1 > y2 - y1 else "front")


def left_or_right(asked: Asked) -> int:
    """Left in the picture is left."""
    x, y = asked.boxes
    return _word(asked, "left" if _x(y) < _x(x) else "right")


def front_or_behind(asked: Asked) -> int:
    """What stands lower in the picture is in front."""
    x, y = asked.boxes
    return _word(asked, "front" if y[3] > x[3] else "behind")


def on_side(asked: Asked) -> int:
    """Left in the picture is left, of two things."""
    sign = -1 if "left" in asked.question else 1
    return _choose(asked, lambda box: sign * _x(box))


def ahead(asked: Asked) -> int:
    """What stands lower in the picture is ahead."""
    sign = -1 if "behind" in asked.question else 1
    return _choose(asked, lambda box: sign * box[3])
