"""Passages: a scene described in words, then a talk about it in which everything said follows from the description.
What a language model reads before it ever sees an image; `passage` makes one from a seed."""

from dataclasses import dataclass
from random import Random

from data_registry.scene import Scene
from data_registry.text import reasoning
from data_registry.text.plain_facts import height
from data_registry.text.reasoning import Exchange
from data_registry.text.wording import portrait
from data_registry.text.worlds import SURROUNDINGS, imagine, things

_OPENINGS = ("A {kind}.", "I stand in front of a {kind}.", "My view of a {kind}, twelve slices wide.")


@dataclass(frozen=True)
class Passage:
    """A description with a talk about it.

    Attributes:
        opening: a sentence that names the kind of scene.
        phrases: one per thing, the whole of what is said about it; their order means nothing.
        surroundings: words for what lies around the things.
        talk: exchanges that each follow from the description alone.
        digits: ranges are written in digits, so that the order of the words matters.
    """

    opening: str
    phrases: tuple[str, ...]
    surroundings: tuple[str, ...]
    talk: tuple[Exchange, ...]
    digits: bool = False

    @property
    def description(self) -> str:
        """The opening and all phrases as running text."""
        return f"{self.opening} " + "; ".join(self.phrases) + "."


def passage(
    seed: tuple[int, ...],
    turns: int = 12,
    ease: float = 0.0,
    quiz: float = 1.0,
    letters: float = 0.0,
    captions: float = 0.0,
    everyday: float = 0.0,
    statements: float = 0.0,
) -> Passage:
    """The passage of a seed: a new imagined scene and a talk of `turns` exchanges about it.

    Args:
        ease: from 1, two or three things and only what was said of them, to 0, up to six things and mostly reasoning.
        quiz: from 0, only notes, to 1, mostly questions (see `reasoning.talk`).
        letters: share of drills in lettered options.
        captions: share of additional captions.
        everyday: share of questions in common words.
        statements: share of plain statements among them.
    """
    rng = Random(repr(seed))
    most = 3 + round(3 * (1 - ease))
    while True:
        scene = imagine(rng, most)
        if len(things(scene)) >= 2:
            return tell(scene, rng, turns, ease, quiz, letters, captions, everyday, statements)


def tell(
    scene: Scene,
    rng: Random,
    turns: int = 12,
    ease: float = 0.0,
    quiz: float = 1.0,
    letters: float = 0.0,
    captions: float = 0.0,
    everyday: float = 0.0,
    statements: float = 0.0,
) -> Passage:
    """Describe a scene and talk about it. At least two of its objects must have names of their own."""
    known = things(scene)
    digits = rng.random() < 0.1 * quiz
    phrases = [portrait(thing, scene.kind, rng, digits) for thing in known]
    views = statements > 0 and rng.random() < 0.5
    if views:
        phrases = [f"{phrase}, seen {height(thing)}" for phrase, thing in zip(phrases, known, strict=True)]
    rng.shuffle(phrases)
    around = rng.sample(SURROUNDINGS[scene.kind], rng.randint(1, 3))
    opening = rng.choice(_OPENINGS).format(kind=scene.kind)
    talk = reasoning.talk(
        known, scene.kind, rng, turns, digits, ease, quiz, letters, captions, everyday, statements, views
    )
    return Passage(opening, tuple(phrases), tuple(around), tuple(talk), digits)
