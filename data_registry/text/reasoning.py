"""What is said about a described scene, as questions with answers and as notes.
Choices (`choices.py`) are put into forms; lists, captions and plain facts are stated as they are."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from data_registry.render.catalog import NAMES
from data_registry.render.palette import COLORS
from data_registry.text import choices
from data_registry.text.choices import CLEAR_RATIO, Choice
from data_registry.text.plain_facts import statement
from data_registry.text.wording import (
    FINE_WINDS,
    ORDINALS,
    WINDS,
    attributes,
    azimuth,
    distance,
    number,
    the,
    turn,
    whole,
)
from data_registry.text.worlds import Thing

LETTERS = "ABCD"


@dataclass(frozen=True)
class Exchange:
    """One question and its answer.

    Attributes:
        kind: the reasoning it takes, a key of `RECALL` or `REASONING`.
        question: with lettered options, if any.
        answer: a letter where there are lettered options.
        note: the two are one note ("nose of the car" "east"), no question with its answer.
    """

    kind: str
    question: str
    answer: str
    note: bool = False


def talk(
    known: Sequence[Thing],
    kind: str,
    rng: Random,
    turns: int,
    digits: bool = False,
    ease: float = 0.0,
    quiz: float = 1.0,
    letters: float = 0.0,
    captions: float = 0.0,
    everyday: float = 0.0,
    statements: float = 0.0,
    views: bool = False,
) -> list[Exchange]:
    """Different exchanges about the things: `turns`, or fewer where the scene does not have that many.

    Args:
        ease: from 1, only what was said of a thing (a model must learn to find a thing by its name before it can learn
            anything else), to 0, mostly what follows from it.
        quiz: from 0, only notes, which are short, to 1, mostly questions, most of them with lettered options.
        letters: share of drills in reading lettered options, which ask nothing but under which letter a word stands.
        captions: share of captions and poses beside those that come anyway.
        everyday: share of reasoning in common words, always as a question (see `EVERYDAY`).
        statements: share of plain statements (`data_registry.text.plain_facts`) among them.
        views: whether the description tells from how high each thing is seen.
    """
    said: dict[str, Exchange] = {}
    made: Exchange | None
    for _ in range(turns * 8):
        if len(said) == turns:
            break
        if letters and rng.random() < letters:
            made = drill(known, rng)
        elif captions and rng.random() < captions:
            made = rng.choice((caption, poses))(rng.sample(list(known), len(known)), rng)
        elif everyday and rng.random() < everyday:
            made = common_question(known, rng, statements, views)
        else:
            makers = RECALL if rng.random() < 0.2 + 0.8 * ease else REASONING
            made = _of_makers(makers, known, kind, rng, digits, quiz, letters)
        if made:
            said.setdefault(made.question, made)
    return list(said.values())


def _of_makers(
    makers: Mapping[str, tuple["Maker | None", float]], known: Sequence[Thing], kind: str, rng: Random, digits: bool,
    quiz: float, letters: float,
) -> Exchange | None:  # fmt: skip
    """An exchange of one of the kinds in `RECALL` or `REASONING`; the other arguments are `talk`'s."""
    name = rng.choices(list(makers), [weight for _, weight in makers.values()])[0]
    order = rng.sample(list(known), len(known))
    thing = order[0]
    if name == "portrait":
        return Exchange(name, f"{thing.label}?", attributes(thing, kind, digits))
    if name in ACCOUNTS:
        return ACCOUNTS[name](order, rng)
    if name == "range":
        return Exchange(name, f"way to the {thing.label}", distance(thing.range_m, kind, digits), True)
    maker = makers[name][0]
    choice = maker(order, rng) if maker else None
    if choice and letters and rng.random() < 0.7:
        choice = replace(choice, wrong=choice.wrong[:1])  # mostly two options
    return put(name, choice, rng, notes=1 - 0.7 * quiz) if choice else None


def put(kind: str, choice: Choice, rng: Random, notes: float = 0.3, letters: float = 0.75) -> Exchange:
    """A choice as a note, else as a quiz with lettered options, or as a question that lists them."""
    if rng.random() < notes:
        return Exchange(kind, choice.note, choice.right, note=True)
    options = [choice.right, *choice.wrong]
    rng.shuffle(options)
    if rng.random() < letters:
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
        glue = "\n" if rng.random() < 0.7 else " "
        question = f"{choice.stem}?{glue}{glue.join(lines)}"
        return Exchange(kind, question, LETTERS[options.index(choice.right)])
    return Exchange(kind, f"{choice.stem}, {' or '.join(options)}?", choice.right)


def common_question(known: Sequence[Thing], rng: Random, statements: float, views: bool) -> Exchange | None:
    """A question in common words about one to three things, most often with lettered options."""
    if statements and rng.random() < statements:
        stated = statement(rng.sample(list(known), len(known)), rng, views)
        return stated and Exchange(*stated)
    name = rng.choices(["ordered", *EVERYDAY], [ORDERED, *(weight for _, weight in EVERYDAY.values())])[0]
    if name == "ordered":
        return ordered(rng.sample(list(known), len(known)), rng)
    choice = EVERYDAY[name][0](rng.sample(list(known), len(known)), rng)
    if choice is None:
        return None
    stem, right, wrong = rng.choice(choice.everyday)
    letters = 0.75 if right.startswith("the ") else 1.0  # sides in a row are the benchmark's
    return put(f"{name}, asked", Choice(stem, choice.note, right, wrong), rng, notes=0.0, letters=letters)


def drill(known: Sequence[Thing], rng: Random) -> Exchange:
    """Under which letter a word stands; nothing of the scene, or the colour of a thing of it."""
    sides, pairs = ("left", "right", "front", "back"), (("yes", "no"), ("alike", "unlike"))
    pools: tuple[Sequence[str], ...] = (COLORS, NAMES, WINDS, ORDINALS, sides, *pairs)
    single = [thing for thing in known if thing.label == thing.name]
    if single and rng.random() < 0.4:
        thing = rng.choice(single)
        pool: Sequence[str] = COLORS
        word, stem = thing.color, rng.choice((f"colour of {the(thing)}", f"What colour has {the(thing)}?"))
    else:
        pool = rng.choice(pools)
        word = rng.choice(pool)
        stem = rng.choice((word, f"the {word}", f"It is {word}."))
    wrong = rng.sample([other for other in pool if other != word], min(len(pool) - 1, rng.choice((1, 1, 1, 2, 3))))
    options = [word, *wrong]
    rng.shuffle(options)
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return Exchange("drill", f"{stem}\n{lines}", LETTERS[options.index(word)])


def nearness(known: list[Thing], rng: Random) -> Exchange | None:
    """The things from near to far, or from far to near."""
    if rng.random() < 0.5:
        return _ranking("nearness", "the nearest to me first", known, lambda t: math.log(t.range_m))
    return _ranking("nearness", "the farthest off first", known, lambda t: -math.log(t.range_m))


def ordered(known: list[Thing], rng: Random) -> Exchange | None:
    """Some of the things from near to far or from far to near, in common words."""
    near = rng.random() < 0.5
    asked = known[: rng.randint(2, 4)]
    ranked = _ranking("ordered", "", asked, lambda t: math.log(t.range_m) * (1 if near else -1))
    if ranked is None or ranked.answer.count(",") + 1 < len(asked):
        return None
    names = [the(thing) for thing in asked]
    stem = f"Put {', '.join(names[:-1])} and {names[-1]} in order, "
    stem += rng.choice(
        ("nearest first", "from close by to far off") if near else ("farthest first", "from far off to close by")
    )
    return Exchange("ordered, asked", stem, ", ".join(f"the {name}" for name in ranked.answer.split(", ")))


def panorama(known: list[Thing], rng: Random) -> Exchange | None:
    """The things as they stand in the view, from one edge to the other."""
    if rng.random() < 0.5:
        return _ranking("panorama", "my view from the left edge on", known, lambda t: t.bearing / 60)
    return _ranking("panorama", "my view from the right edge on", known, lambda t: -t.bearing / 60)


def vicinity(known: list[Thing], rng: Random) -> Exchange | None:
    """The other things from the nearest to a thing on."""
    hub, *others = known
    return _ranking("vicinity", f"the nearest to {the(hub)} first", others, lambda t: math.log(hub.apart(t)))


def _ranking(kind: str, question: str, things: list[Thing], key: Callable[[Thing], float]) -> Exchange | None:
    """Things in order; one that is not clearly apart from the one before stays out."""
    kept: list[Thing] = []
    for thing in sorted(things, key=key):
        if not kept or key(thing) - key(kept[-1]) > math.log(CLEAR_RATIO):
            kept.append(thing)
    return Exchange(kind, question, ", ".join(thing.label for thing in kept), True) if len(kept) > 1 else None


def caption(known: list[Thing], rng: Random) -> Exchange:
    """All things from the left to the right, mostly with their colours, as under a picture."""
    ordered = sorted(known, key=lambda t: t.bearing)
    nouns = [f"{thing.color} {thing.name}" if rng.random() < 0.85 else thing.name for thing in ordered]
    things = [f"an {noun}" if noun[0] in "aeiou" else f"a {noun}" for noun in nouns]
    listed = f"{', '.join(things[:-1])} and {things[-1]}"
    form = rng.choice(("{}.", "The picture shows {}.", "There are {}.", "A picture of {}.", "I see {}."))
    text = form.format(listed)
    asked = rng.choice(("Describe the picture.", "Give a short caption.", "What do you see?", "What is here?"))
    return Exchange("caption", asked, text[0].upper() + text[1:])


def poses(known: list[Thing], rng: Random) -> Exchange:
    """How one to three things are turned, from the left to the right, in sentences."""
    chosen = sorted(known[: rng.randint(1, 3)], key=lambda t: t.bearing)
    forms = (
        "The {label} faces {turn}.",
        "The {label} is turned {azimuth} degrees: it faces {turn}.",
        "The {label} faces {turn}, at {azimuth} degrees.",
    )
    said = (rng.choice(forms).format(label=t.label, turn=turn(t.heading), azimuth=azimuth(t.heading)) for t in chosen)
    return Exchange("poses", rng.choice(("Describe the objects.", "How are they turned?")), " ".join(said))


def turned(known: list[Thing], rng: Random) -> Exchange:
    """Which way a nose points as the narrator sees it."""
    return Exchange("turned", f"turn of {the(known[0])}", turn(known[0].heading), True)


def amounts(known: list[Thing], rng: Random) -> Exchange:
    """Which of two numbers is smaller or larger; nothing of the scene."""
    low, high = sorted(rng.sample(range(4, 120), 2))
    if high < CLEAR_RATIO * low:
        high = min(130, 2 * low)
    low, high = whole(low), whole(high)
    pair = [number(low), number(high)]
    rng.shuffle(pair)
    word, right = ("less", low) if rng.random() < 0.5 else ("more", high)
    return Exchange("amounts", f"the {word} of {pair[0]} and {pair[1]}", number(right), True)


def compass(known: list[Thing], rng: Random) -> Exchange:
    """Which hand a wind is on for who looks to another; nothing of the scene."""
    nose, side = rng.randrange(len(FINE_WINDS)), rng.randrange(4)
    words = ("ahead", "right hand", "at the back", "left hand")
    place = (nose + 4 * side + rng.choice((-1, 0, 1))) % len(FINE_WINDS)
    return Exchange("compass", f"nose {FINE_WINDS[nose]}, {FINE_WINDS[place]} is", words[side], True)


# Exchanges without options.
ACCOUNTS: dict[str, Callable[[list[Thing], Random], Exchange | None]] = {
    "caption": caption,
    "poses": poses,
    "turned": turned,
    "nearness": nearness,
    "panorama": panorama,
    "vicinity": vicinity,
    "amounts": amounts,
    "compass": compass,
}

Maker = Callable[[list[Thing], Random], Choice | None]

# Each kind with how often it is tried; `talk` makes the open ones itself.
RECALL: dict[str, tuple[Maker | None, float]] = {
    "portrait": (None, 0.4),
    "caption": (None, 1.5),
    "poses": (None, 1.5),
    "nearness": (None, 2.0),
    "panorama": (None, 1.0),
    "vicinity": (None, 1.5),
    "amounts": (None, 1.0),
    "compass": (None, 1.0),
    "range": (None, 2.0),
    "heading": (choices.heading, 1.5),
    "turned": (None, 1.5),
    "slice": (choices.slice_, 1.5),
    "color": (choices.color, 1.0),
    "what_is": (choices.what_is, 0.4),
    "present": (choices.present, 0.4),
}
REASONING: dict[str, tuple[Maker | None, float]] = {
    "nearer": (choices.nearer, 3.0),
    "nearer_thing": (choices.nearer_thing, 3.0),
    "alike": (choices.alike, 3.0),
    "aimed": (choices.aimed, 5.0),
    "shown": (choices.shown, 2.0),
    "hand": (choices.hand, 3.0),
    "on_hand": (choices.on_hand, 5.0),
    "way": (choices.way, 1.5),
    "picture_side": (choices.picture_side, 1.0),
}

EVERYDAY: dict[str, tuple[Maker, float]] = {
    "nearer": (choices.nearer, 2.0),
    "nearer_thing": (choices.nearer_thing, 5.0),
    "alike": (choices.alike, 4.0),
    "aimed": (choices.aimed, 4.0),
    "shown": (choices.shown, 1.0),
    "towards": (choices.towards, 1.0),
    "sideways": (choices.sideways, 1.0),
    "hand": (choices.hand, 4.0),
    "on_hand": (choices.on_hand, 6.0),
}
ORDERED = 2.0  # how often an order is asked for beside them
