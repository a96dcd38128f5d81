"""Plain statements about things, in the words that people use: how far, where, which way, what colour.
Questions and answers in full sentences, as instructions have them; none has options."""

import math
from collections.abc import Callable, Sequence
from random import Random

from data_registry.questions.words import elevation, quantity, sentence, words
from data_registry.text.wording import the, turn
from data_registry.text.worlds import FIELD_OF_VIEW_DEG, Thing

Statement = tuple[str, str]  # question and answer
RELATIONS = (
    "ahead of", "ahead and right of", "right of", "behind and right of",
    "behind", "behind and left of", "left of", "ahead and left of",
)  # fmt: skip


def _say(rng: Random, questions: Sequence[str], answers: Sequence[str], **slots: str) -> Statement:
    return rng.choice(questions).format(**slots), sentence(rng.choice(answers).format(**slots))


def metres(known: Sequence[Thing], rng: Random) -> Statement:
    """How far a thing is from the narrator."""
    return _say(
        rng,
        (
            "How many metres is it to {x}?",
            "In metres, how far off is {x}?",
            "How long is the way to {x}?",
            "Say the distance of {x}.",
        ),
        ("{d}.", "it is {d} to {x}.", "{x} is {d} away.", "{x} stands {d} off.", "about {d}."),
        x=the(known[0]),
        d=quantity(known[0].range_m),
    )


def gap(known: Sequence[Thing], rng: Random) -> Statement:
    """How far two things are from each other."""
    return _say(
        rng,
        (
            "How many metres lie between {x} and {y}?",
            "In metres, how far off {x} is {y}?",
            "How long is the way from {x} to {y}?",
        ),
        ("{d}.", "{x} and {y} are {d} apart.", "{y} is {d} from {x}.", "about {d}."),
        x=the(known[0]),
        y=the(known[1]),
        d=quantity(known[0].apart(known[1])),
    )


def place(known: Sequence[Thing], rng: Random) -> Statement:
    """In which third of the view a thing is, and how far."""
    edge = math.tan(math.radians(FIELD_OF_VIEW_DEG / 2)) / 3
    across = math.tan(math.radians(known[0].bearing))
    return _say(
        rng,
        ("Whereabouts is {x}?", "In what part of the view is {x}?", "Where should I look for {x}?"),
        ("{place}.", "{x} is {place}.", "{x} is {place}, {d} away.", "{place}, {d} off."),
        x=the(known[0]),
        d=quantity(known[0].range_m),
        place=words()["place"][0 if across < -edge else 2 if across > edge else 1],
    )


def faced(known: Sequence[Thing], rng: Random) -> Statement:
    """Which way a thing's front points for the narrator, now and then with its place."""
    return _say(
        rng,
        ("Which way does {x} look?", "How does {x} stand?", "How have you found {x}?"),
        ("{turn}.", "{x} faces {turn}.", "it looks {turn}.", "{x}, {d} off, faces {turn}."),
        x=the(known[0]),
        d=quantity(known[0].range_m),
        turn=turn(known[0].heading),
    )


def colored(known: Sequence[Thing], rng: Random) -> Statement | None:
    """What colours one to three things have."""
    single = [thing for thing in known[:3] if thing.label == thing.name]
    if not single:
        return None
    said = " ".join(sentence(f"{the(thing)} is {thing.color}.") for thing in single)
    return rng.choice(("Which colours are there?", "What colours do they have?", "Name some colours.")), said


def beside(known: Sequence[Thing], rng: Random) -> Statement:
    """In which of eight directions a thing lies for another."""
    x, y = known[:2]
    return _say(
        rng,
        ("Where does {x} find {y}?", "For someone in {x}, where is {y}?", "Which way from {x} is {y}?"),
        ("{y} is {relation} {x}.", "{relation} {x}.", "{y} stands {relation} {x}, {d} off."),
        x=the(x),
        y=the(y),
        d=quantity(x.apart(y)),
        relation=RELATIONS[round(x.toward(y) / 45) % 8],
    )


def viewed(known: Sequence[Thing], rng: Random) -> Statement:
    """From how high the narrator looks at a thing."""
    return _say(
        rng,
        ("From where is {x} seen?", "How high above {x} am I?"),
        ("{elevation}.", "{x} is seen {elevation}.", "the view of {x} is {elevation}."),
        x=the(known[0]),
        elevation=height(known[0]),
    )


def height(thing: Thing) -> str:
    """How high the narrator's eye is above a thing, in words."""
    ground = math.hypot(thing.east, thing.north)
    return elevation(math.degrees(math.acos(min(1.0, ground / thing.range_m))))


MAKERS: dict[str, tuple[Callable[[Sequence[Thing], Random], Statement | None], float]] = {
    "metres": (metres, 3.0),
    "gap": (gap, 1.5),
    "place": (place, 1.5),
    "faced": (faced, 2.0),
    "colored": (colored, 1.5),
    "beside": (beside, 1.5),
    "viewed": (viewed, 1.0),
}


def statement(known: Sequence[Thing], rng: Random, views: bool) -> tuple[str, str, str] | None:
    """A kind of statement, its question and its answer; of views only where the description tells them."""
    kinds = [name for name in MAKERS if views or name != "viewed"]
    name = rng.choices(kinds, [MAKERS[kind][1] for kind in kinds])[0]
    made = MAKERS[name][0](known, rng)
    return made and (name, *made)
