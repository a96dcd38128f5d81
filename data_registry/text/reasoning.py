"""What can be said about a described scene: who is nearer, where a nose points, what lies on whose left hand.
One function per kind of reasoning; each returns a choice, or None where the scene leaves it unclear."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from data_registry.render.catalog import NAMES
from data_registry.render.palette import COLORS
from data_registry.text import common
from data_registry.text.statements import statement
from data_registry.text.wording import (
    FINE_WINDS,
    ORDINALS,
    WINDS,
    attributes,
    azimuth,
    distance,
    number,
    slice_of,
    the,
    turn,
    whole,
    wind,
)
from data_registry.text.worlds import OTHER_NAMES, Thing, wrap

LETTERS = "ABCD"
CLEAR_RATIO = 1.12  # of two distances, the larger by this much
CLEAR_DEG = 35.0  # left, right, before and behind lie within this of their axis


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


@dataclass(frozen=True)
class Choice:
    """A question with a right and some wrong answers, before it is put into a form.

    `note` says the same as `stem` in the fewest words, ending with a name, so that the answer may follow at once.
    `everyday` says it in common words: stem, right and wrong answers.
    """

    stem: str
    note: str
    right: str
    wrong: tuple[str, ...]
    everyday: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


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
        statements: share of plain statements (`data_registry.text.statements`) among them.
        views: whether the description tells from how high each thing is seen.
    """
    said: dict[str, Exchange] = {}
    for _ in range(turns * 8):
        if len(said) == turns:
            break
        if letters and rng.random() < letters:
            made = drill(known, rng)
            said.setdefault(made.question, made)
            continue
        if captions and rng.random() < captions:
            made = rng.choice((caption, poses))(rng.sample(list(known), len(known)), rng)
            said.setdefault(made.question, made)
            continue
        if everyday and rng.random() < everyday:
            made = common_question(known, rng, statements, views)
            if made:
                said.setdefault(made.question, made)
            continue
        makers = RECALL if rng.random() < 0.2 + 0.8 * ease else REASONING
        name = rng.choices(list(makers), [weight for _, weight in makers.values()])[0]
        order = rng.sample(list(known), len(known))
        thing = order[0]
        if name == "portrait":
            made = Exchange(name, f"{thing.label}?", attributes(thing, kind, digits))
        elif name in ACCOUNTS:
            made = ACCOUNTS[name](order, rng)
        elif name == "range":
            made = Exchange(name, f"way to the {thing.label}", distance(thing.range_m, kind, digits), True)
        else:
            choice = makers[name][0](order, rng)
            if choice and letters and rng.random() < 0.7:
                choice = replace(choice, wrong=choice.wrong[:1])  # mostly two options
            made = choice and put(name, choice, rng, notes=1 - 0.7 * quiz)
        if made:
            said.setdefault(made.question, made)
    return list(said.values())


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
        told = statement(rng.sample(list(known), len(known)), rng, views)
        return told and Exchange(*told)
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
    pools = (COLORS, NAMES, WINDS, ORDINALS, ("left", "right", "front", "back"), ("yes", "no"), ("alike", "unlike"))
    single = [thing for thing in known if thing.label == thing.name]
    if single and rng.random() < 0.4:
        thing, pool = rng.choice(single), COLORS
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


def _pair(a: Thing, b: Thing) -> str:
    return f"the {a.label} and the {b.label}"


def nearer(known: list[Thing], rng: Random) -> Choice | None:
    """Which of two things is nearer to (or farther from) the narrator."""
    near, far = sorted(known[:2], key=lambda t: t.range_m)
    if far.range_m < CLEAR_RATIO * near.range_m:
        return None
    if rng.random() < 0.5:
        stem = rng.choice(("Which would I bump into sooner", "Which is the shorter walk for me", "Which is nearer me"))
        note = f"nearer me of {_pair(known[0], known[1])}"
        return _named(stem, note, near, far, common.NEARER)
    stem = rng.choice(("Which would I reach last", "Which is the longer walk for me", "Which is farther off"))
    return _named(stem, f"farther from me of {_pair(known[0], known[1])}", far, near, common.FARTHER)


def nearer_thing(known: list[Thing], rng: Random) -> Choice | None:
    """Which of two things is nearer to (or farther from) a third."""
    if len(known) < 3:
        return None
    hub = known[0]
    pair = _pair(known[1], known[2])
    near, far = sorted(known[1:3], key=hub.apart)
    if hub.apart(far) < CLEAR_RATIO * hub.apart(near):
        return None
    if rng.random() < 0.5:
        stem = rng.choice(("Which has the shorter walk to {}", "Which could touch {} sooner", "Which is nearer {}"))
        return _named(stem.format(the(hub)), f"nearer {the(hub)} of {pair}", near, far, common.NEARER_THING, the(hub))
    stem = rng.choice(("Which has the longer walk to {}", "Which is farther off from {}"))
    return _named(stem.format(the(hub)), f"farther off {the(hub)} of {pair}", far, near, common.FARTHER_THING, the(hub))


def alike(known: list[Thing], rng: Random) -> Choice | None:
    """Whether two noses point the same way."""
    a, b = known[:2]
    apart = abs(wrap(a.heading - b.heading))
    if 30 <= apart <= 60 or (apart > 60 and rng.random() < 0.6):  # three of four random pairs differ
        return None
    stem = rng.choice(("How do the noses of {} and {} point", "Beside each other, how would {} and {} look"))
    words = ("alike", "unlike") if apart < 30 else ("unlike", "alike")
    everyday = tuple(
        (form.format(the(a), the(b)), *((same, (other,)) if apart < 30 else (other, (same,))))
        for form, same, other in common.ALIKE
    )
    return Choice(stem.format(the(a), the(b)), f"noses of {_pair(a, b)}", words[0], words[1:], everyday)


def aimed(known: list[Thing], rng: Random) -> Choice | None:
    """Which of two things a nose points at."""
    if len(known) < 3:
        return None
    a, b, c = known[:3]
    hit, miss = sorted((b, c), key=lambda t: abs(a.toward(t)))
    if abs(a.toward(hit)) > 45 or abs(a.toward(miss)) < abs(a.toward(hit)) + 20:
        return None
    stem = rng.choice(("Going straight on, what would {} run into", "What does the nose of {} aim at"))
    return _named(stem.format(the(a)), f"aim of {the(a)} of {_pair(b, c)}", hit, miss, common.AIMED, the(a))


def heading(known: list[Thing], rng: Random) -> Choice | None:
    """Which wind a nose points to."""
    right = wind(known[0].heading)
    wrong = rng.sample([w for w in WINDS if w != right], 3)
    return Choice(f"Where would {the(known[0])} go", f"nose of {the(known[0])}", right, tuple(wrong))


def shown(known: list[Thing], rng: Random) -> Choice | None:
    """Which side of a thing the narrator looks at."""
    side = _quarter(known[0].shown(), ("its nose", "its right flank", "its tail", "its left flank"))
    if side is None:
        return None
    stem = rng.choice(("What do I see of {}", "What does {} show me"))
    everyday = _sided(
        common.SHOWN, ("its front", "its right side", "its back", "its left side"), known[0].shown(), known
    )
    return Choice(stem.format(the(known[0])), f"seen of {the(known[0])}", side[0], _some(side[1], rng), everyday)


def hand(known: list[Thing], rng: Random) -> Choice | None:
    """Where a thing is for someone who rides another one and looks out over its nose."""
    a, b = known[:2]
    side = _quarter(a.toward(b), ("ahead", "right hand", "at the back", "left hand"))
    if side is None:
        return None
    stem = rng.choice(("Riding {}, where is {}", "For who rides {}, where is {}"))
    everyday = _sided(common.HAND, ("in front", "on the right", "behind", "on the left"), a.toward(b), known)
    note = f"riding {the(a)}, {the(b)}"
    return Choice(stem.format(the(a), the(b)), note, side[0], _some(side[1], rng), everyday)


def on_hand(known: list[Thing], rng: Random) -> Choice | None:
    """Which of two things is on a given side for someone who rides a third."""
    if len(known) < 3:
        return None
    a, b, c = known[:3]
    words = ("ahead", "on the right hand", "at the back", "on the left hand")
    side, other = _quarter(a.toward(b), words), _quarter(a.toward(c), words)
    if side is None or other is None or side[0] == other[0]:
        return None
    stem = rng.choice(("Riding {}, what is {}", "For who rides {}, what is {}"))
    pair = _pair(b, c) if rng.random() < 0.5 else _pair(c, b)  # the right one must not always come first
    note = f"riding {the(a)}, {side[0]} of {pair}"
    forms = tuple(form.replace("{side}", common.SIDES[words.index(side[0])]) for form in common.ON_HAND)
    return _named(stem.format(the(a), side[0]), note, b, c, forms, the(a))


def way(known: list[Thing], rng: Random) -> Choice | None:
    """Which way it is from one thing to another."""
    a, b = known[:2]
    right = wind(a.toward(b) + a.heading)
    wrong = rng.sample([w for w in WINDS if w != right], 3)
    note = f"from {the(a)} to {the(b)}"
    return Choice(f"Which way is it from {the(a)} to {the(b)}", note, right, tuple(wrong))


def picture_side(known: list[Thing], rng: Random) -> Choice | None:
    """Which of two things is more to the left (or right) in the narrator's view."""
    left, right = sorted(known[:2], key=lambda t: t.bearing)
    if right.bearing - left.bearing < 8:
        return None
    if rng.random() < 0.5:
        note = f"left in view of {_pair(known[0], known[1])}"
        return Choice("In my view, which comes first from the left", note, left.label, (right.label,))
    note = f"right in view of {_pair(known[0], known[1])}"
    return Choice("In my view, which comes first from the right", note, right.label, (left.label,))


def slice_(known: list[Thing], rng: Random) -> Choice | None:
    """In which slice of the view a thing is."""
    right = slice_of(known[0].bearing)
    wrong = rng.sample([name for name in ORDINALS if name != right], 3)
    return Choice(f"Which slice is {the(known[0])} in", f"slice of {the(known[0])}", right, tuple(wrong))


def color(known: list[Thing], rng: Random) -> Choice | None:
    """What colour a thing is."""
    single = [t for t in known if t.label == t.name]
    if not single:
        return None
    wrong = rng.sample([c for c in COLORS if c != single[0].color], 3)
    return Choice(f"What colour has {the(single[0])}", f"colour of {the(single[0])}", single[0].color, tuple(wrong))


def what_is(known: list[Thing], rng: Random) -> Choice | None:
    """Which thing has a given colour."""
    a = known[0]
    others = [t.name for t in known[1:] if t.color != a.color and t.name != a.name]
    if not others or sum(t.color == a.color for t in known) > 1:
        return None
    return Choice(f"What is {a.color} here", f"the {a.color}", a.name, (others[0],))


def present(known: list[Thing], rng: Random) -> Choice | None:
    """Whether the description holds such a thing at all."""
    if rng.random() < 0.5:
        return Choice(f"Did I speak of a {known[0].name}", f"spoke of a {known[0].name}", "yes", ("no",))
    absent = rng.choice([n for n in (*NAMES, *OTHER_NAMES) if n not in {t.name for t in known}])
    return Choice(f"Did I speak of a {absent}", f"spoke of a {absent}", "no", ("yes",))


def towards(known: list[Thing], rng: Random) -> Choice | None:
    """Whether a nose points to the narrator's side or to the far one."""
    off = abs(wrap(known[0].shown()))
    if 65 < off < 115:
        return None
    words = ("towards me", "away from me") if off < 90 else ("away from me", "towards me")
    everyday = tuple((form.format(the(known[0])), words[0], words[1:]) for form in common.TOWARDS)
    return Choice(everyday[0][0], f"to me or off, {the(known[0])}", words[0], words[1:], everyday)


def sideways(known: list[Thing], rng: Random) -> Choice | None:
    """Whether a nose points to the left or the right as the narrator sees it."""
    if abs(math.sin(math.radians(known[0].heading))) < 0.5:
        return None
    words = ("left", "right") if known[0].heading % 360 > 180 else ("right", "left")
    everyday = tuple((form.format(the(known[0])), words[0], words[1:]) for form in common.SIDEWAYS)
    return Choice(everyday[0][0], f"left or right, {the(known[0])}", words[0], words[1:], everyday)


def _named(stem: str, note: str, right: Thing, wrong: Thing, forms: Sequence[str], about: str = "") -> Choice:
    """A choice between two things, with everyday forms of its stem."""
    everyday = tuple((form.format(about), the(right), (the(wrong),)) for form in forms)
    return Choice(stem, note, right.label, (wrong.label,), everyday)


def _sided(
    forms: Sequence[str], words: tuple[str, str, str, str], degrees: float, known: list[Thing]
) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Everyday forms of a choice between a side and its opposite."""
    index = round(degrees / 90) % 4
    named = [the(thing) for thing in known[:2]]
    return tuple((form.format(*named), words[index], (words[(index + 2) % 4],)) for form in forms)


def _quarter(degrees: float, words: tuple[str, str, str, str]) -> tuple[str, tuple[str, ...]] | None:
    """The word of the quarter that an angle is clearly in (ahead, right, back, left), and the words it is not."""
    index = round(degrees / 90) % 4
    if abs(wrap(degrees - 90 * index)) > CLEAR_DEG:
        return None
    # The opposite first: with two options the question is between a side and its opposite.
    return words[index], (words[(index + 2) % 4], words[(index + 1) % 4], words[(index + 3) % 4])


def _some(wrong: tuple[str, ...], rng: Random) -> tuple[str, ...]:
    return wrong[:1] if rng.random() < 0.5 else wrong


def nearness(known: list[Thing], rng: Random) -> Exchange | None:
    """The things from near to far, or from far to near."""
    if rng.random() < 0.5:
        return _ranking("nearness", "the nearest to me first", known, lambda t: math.log(t.range_m))
    return _ranking("nearness", "the farthest off first", known, lambda t: -math.log(t.range_m))


def ordered(known: list[Thing], rng: Random) -> Exchange | None:
    """Some of the things from near to far or from far to near, in common words."""
    near = rng.random() < 0.5
    asked = known[: rng.randint(2, 4)]
    told = _ranking("ordered", "", asked, lambda t: math.log(t.range_m) * (1 if near else -1))
    if told is None or told.answer.count(",") + 1 < len(asked):
        return None
    names = [the(thing) for thing in asked]
    stem = f"Put {', '.join(names[:-1])} and {names[-1]} in order, "
    stem += rng.choice(
        ("nearest first", "from close by to far off") if near else ("farthest first", "from far off to close by")
    )
    return Exchange("ordered, asked", stem, ", ".join(f"the {name}" for name in told.answer.split(", ")))


def panorama(known: list[Thing], rng: Random) -> Exchange | None:
    """The things as they stand in the view, from one edge to the other."""
    if rng.random() < 0.5:
        return _ranking("panorama", "my view from the left edge on", known, lambda t: t.bearing / 60)
    return _ranking("panorama", "my view from the right edge on", known, lambda t: -t.bearing / 60)


def vicinity(known: list[Thing], rng: Random) -> Exchange | None:
    """The other things from the nearest to a thing on."""
    hub, *others = known
    return _ranking("vicinity", f"the nearest to {the(hub)} first", others, lambda t: math.log(hub.apart(t)))


def _ranking(kind: str, question: str, found: list[Thing], key: Callable[[Thing], float]) -> Exchange | None:
    """Things in order; one that is not clearly apart from the one before stays out."""
    kept: list[Thing] = []
    for thing in sorted(found, key=key):
        if not kept or key(thing) - key(kept[-1]) > math.log(CLEAR_RATIO):
            kept.append(thing)
    return Exchange(kind, question, ", ".join(thing.label for thing in kept), True) if len(kept) > 1 else None


def caption(known: list[Thing], rng: Random) -> Exchange:
    """All things from the left to the right, mostly with their colours, as under a picture."""
    ordered = sorted(known, key=lambda t: t.bearing)
    nouns = [f"{thing.color} {thing.name}" if rng.random() < 0.85 else thing.name for thing in ordered]
    things = [f"an {noun}" if noun[0] in "aeiou" else f"a {noun}" for noun in nouns]
    told = f"{', '.join(things[:-1])} and {things[-1]}"
    form = rng.choice(("{}.", "The picture shows {}.", "There are {}.", "A picture of {}.", "I see {}."))
    told = form.format(told)
    asked = rng.choice(("Describe the picture.", "Give a short caption.", "What do you see?", "What is here?"))
    return Exchange("caption", asked, told[0].upper() + told[1:])


def poses(known: list[Thing], rng: Random) -> Exchange:
    """How one to three things are turned, from the left to the right, in sentences."""
    chosen = sorted(known[: rng.randint(1, 3)], key=lambda t: t.bearing)
    forms = (
        "The {label} faces {turn}.",
        "The {label} is turned {azimuth} degrees: it faces {turn}.",
        "The {label} faces {turn}, at {azimuth} degrees.",
    )
    told = (rng.choice(forms).format(label=t.label, turn=turn(t.heading), azimuth=azimuth(t.heading)) for t in chosen)
    return Exchange("poses", rng.choice(("Describe the objects.", "How are they turned?")), " ".join(told))


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
    "heading": (heading, 1.5),
    "turned": (None, 1.5),
    "slice": (slice_, 1.5),
    "color": (color, 1.0),
    "what_is": (what_is, 0.4),
    "present": (present, 0.4),
}
REASONING: dict[str, tuple[Maker | None, float]] = {
    "nearer": (nearer, 3.0),
    "nearer_thing": (nearer_thing, 3.0),
    "alike": (alike, 3.0),
    "aimed": (aimed, 5.0),
    "shown": (shown, 2.0),
    "hand": (hand, 3.0),
    "on_hand": (on_hand, 5.0),
    "way": (way, 1.5),
    "picture_side": (picture_side, 1.0),
}

EVERYDAY: dict[str, tuple[Maker, float]] = {
    "nearer": (nearer, 2.0),
    "nearer_thing": (nearer_thing, 5.0),
    "alike": (alike, 4.0),
    "aimed": (aimed, 4.0),
    "shown": (shown, 1.0),
    "towards": (towards, 1.0),
    "sideways": (sideways, 1.0),
    "hand": (hand, 4.0),
    "on_hand": (on_hand, 6.0),
}
ORDERED = 2.0  # how often an order is asked for beside them
