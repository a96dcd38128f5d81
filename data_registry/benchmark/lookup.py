"""Answering without looking: the majority, and a lookup of the names fitted on training conversations.
Where these do better than chance, a benchmark measures the language and not the eye."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from data_registry.benchmark.spatialvqa import Question
from data_registry.conversations import LETTERS

SIDES = ("left", "right", "front", "behind")
_OPTION = re.compile(rf"^[{LETTERS}]\. (.*)$", re.MULTILINE)


class NameLookup:
    """Counts which option was right by question type, names in the question and options; backs off to less.

    What it is asked is what a reader without the image sees: the names, the options and a few words of the question.
    Types are known to it, which only helps it.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """`names` are the object names to look for in a question ("car", "red car")."""
        longest_first = sorted(names, key=lambda name: (-len(name), name))
        self.names = re.compile(r"\b(" + "|".join(map(re.escape, longest_first)) + r")\b")
        self.counts: dict[tuple, Counter[str]] = defaultdict(Counter)

    def fit(self, turns: Iterable[tuple[str, str, str]]) -> int:
        """Learn from (human, gpt, type) turns; those without lettered options are skipped. Returns how many served."""
        used = 0
        for human, gpt, type_ in turns:
            options = tuple(_OPTION.findall(human))
            if options and len(gpt) == 1 and gpt in LETTERS[: len(options)]:
                used += 1
                for key in self._keys(type_, human.partition("\nA. ")[0], options):
                    self.counts[key][options[LETTERS.index(gpt)]] += 1
        return used

    def answer(self, type_: str, question: str, options: tuple[str, ...]) -> int:
        """Index of the option that was right most often in the most specific case seen; the first on a tie."""
        for key in self._keys(type_, question, options):
            if key in self.counts:
                seen = [self.counts[key][option] for option in options]
                return seen.index(max(seen))
        return 0

    def _keys(self, type_: str, question: str, options: tuple[str, ...]) -> Iterator[tuple]:
        """From the most specific to the least; options as a set, since their order says nothing of the world."""
        asked = frozenset(options)
        sides = set(re.findall(r"[a-z]+", question.lower())).intersection(SIDES)
        side = sides.pop() if len(sides) == 1 else ""  # "left or right" asks for neither
        yield type_, side, tuple(self.names.findall(question)), asked
        yield type_, side, asked
        yield type_, asked


def majority(questions: list[Question]) -> list[int]:
    """For each question the option letter that is right most often for its type: the best constant answer."""
    by_type: dict[str, Counter[int]] = defaultdict(Counter)
    for q in questions:
        by_type[q.type][q.answer] += 1
    return [by_type[q.type].most_common(1)[0][0] for q in questions]
