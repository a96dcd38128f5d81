"""Reads a question or an answer back into the slots of its phrasing, as a person would: from the text alone."""

import re
from collections.abc import Iterator
from functools import cache

from data_registry.questions.phrasing import wordings

_CHOICE = re.compile(r", (the [\w ]+?) or (the [\w ]+?)$")


@cache
def _pattern(phrasing: str) -> re.Pattern[str]:
    text = re.escape(phrasing).replace(r"\{choice\}", "(?P<choice>, the .+? or the .+?)?")
    seen: set[str] = set()

    def group(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return rf"(?P<{name}>the \w+(?: \w+)?)" if name in ("x", "y") else f"(?P<{name}>.+?)"

    return re.compile("^" + re.sub(r"\\\{(\w+)\\\}", group, text) + "$", re.IGNORECASE)


def readings(phrasings: tuple[str, ...], text: str) -> Iterator[dict[str, str]]:
    """Slots for each phrasing that the text could have come from."""
    for phrasing in phrasings:
        if match := _pattern(phrasing).match(text):
            yield {k: v for k, v in match.groupdict().items() if v is not None}


def lettered(human: str) -> tuple[str, tuple[str, ...]] | None:
    """(question, options) of a question with letters, else None."""
    lines = human.split("\n")
    if len(lines) < 2:
        return None
    options = [line.split(". ", 1) for line in lines[1:]]
    assert [letter for letter, _ in options] == list("ABCD")[: len(options)]
    return lines[0], tuple(text for _, text in options)


def choices(type_: str, slots: dict[str, str]) -> tuple[str, ...]:
    """The options of a free-form question: named in it, or all words of the type."""
    if match := _CHOICE.search(slots.get("choice", "")):
        return match.group(1), match.group(2)
    return tuple(wordings()[type_].options.values())
