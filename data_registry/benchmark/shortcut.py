"""Answering from the 2D boxes alone, as if the picture were flat: what is lower is closer, left is left.
A model that does no better has learnt the picture, not the space."""

from collections.abc import Callable
from math import hypot

from data_registry.benchmark.spatialvqa import Question

Box = tuple[float, ...]  # x1, y1, x2, y2 in pixels


def answer(question: Question) -> int:
    """Index of the option that a flat reading of the boxes suggests; the first option where it suggests none."""
    return _RULES[question.type](question)


def _choose(question: Question, score: Callable[[Box], float]) -> int:
    """The option object with the highest score; option boxes are the last two, in the order of their names."""
    boxes = dict(zip((f"the {name}" for name in question.names[-2:]), question.boxes[-2:], strict=True))
    first, second = (score(boxes[option]) for option in question.options)
    return int(second > first)


def _word(question: Question, word: str) -> int:
    """The option that contains the word."""
    return next((k for k, option in enumerate(question.options) if word in option), 0)


def _x(box: Box) -> float:
    return (box[0] + box[2]) / 2


def _apart(a: Box, b: Box) -> float:
    return hypot(_x(a) - _x(b), (a[1] + a[3] - b[1] - b[3]) / 2)


def _side_to_viewer(question: Question) -> int:
    x1, y1, x2, y2 = question.boxes[0]
    return _word(question, "side" if x2 - x1 > y2 - y1 else "front")


def _left_or_right(question: Question) -> int:
    x, y = question.boxes
    return _word(question, "left" if _x(y) < _x(x) else "right")


def _front_or_behind(question: Question) -> int:
    x, y = question.boxes
    return _word(question, "front" if y[3] > x[3] else "behind")


def _on_side(question: Question) -> int:
    sign = -1 if "left" in question.question else 1
    return _choose(question, lambda box: sign * _x(box))


def _ahead(question: Question) -> int:
    sign = -1 if "behind" in question.question else 1
    return _choose(question, lambda box: sign * box[3])


_RULES: dict[str, Callable[[Question], int]] = {
    "closer_to_viewer": lambda q: _choose(q, lambda box: box[3]),
    "farther_from_viewer": lambda q: _choose(q, lambda box: -box[3]),
    "closer_to_object": lambda q: _choose(q, lambda box: -_apart(box, q.boxes[0])),
    "farther_from_object": lambda q: _choose(q, lambda box: _apart(box, q.boxes[0])),
    "facing_object": lambda q: _choose(q, lambda box: -_apart(box, q.boxes[0])),
    "same_direction": lambda q: _word(q, "different"),
    "side_to_viewer": _side_to_viewer,
    "towards_viewer": lambda q: _word(q, "towards"),
    "pointing": lambda q: _word(q, "left"),
    "left_or_right": _left_or_right,
    "front_or_behind": _front_or_behind,
    "object_on_side": _on_side,
    "object_ahead": _ahead,
}
