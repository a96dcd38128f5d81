"""What can be said about a described scene: who is nearer, where a nose points, what lies on whose left hand.
One function per kind of reasoning; each returns a choice, or None where the scene leaves it unclear."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from data_registry.render.catalog import NAMES
from data_registry.render.palette import COLORS
from data_registry.text.wording import ORDINALS, WINDS, attributes, distance, slice_of, wind
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
    """

    stem: str
    note: str
    right: str
    wrong: tuple[str, ...]


def talk(
    known: Sequence[Thing],
    kind: str,
    rng: Random,
    turns: int,
    digits: bool = False,
    ease: float = 0.0,
    quiz: float = 1.0,
) -> list[Exchange]:
    """Different exchanges about the things: `turns`, or fewer where the scene does not have that many.

    Args:
        ease: from 1, only what was said of a thing (a model must learn to find a thing by its name before it can learn
            anything else), to 0, mostly what follows from it.
        quiz: from 0, only notes, which are short, to 1, mostly questions, most of them with lettered options.
    """
    said: dict[str, Exchange] = {}
    for _ in range(turns * 8):
        if len(said) == turns:
            break
        makers = RECALL if rng.random() < 0.2 + 0.8 * ease else REASONING
        name = rng.choices(list(makers), [weight for _, weight in makers.values()])[0]
        order = rng.sample(list(known), len(known))
        thing = order[0]
        if name == "portrait":
            made = Exchange(name, f"{thing.label}?", attributes(thing, kind, digits))
        elif name == "range":
            made = Exchange(name, f"way to the {thing.label}", distance(thing.range_m, kind, digits), True)
        else:
            choice = makers[name][0](order, rng)
            made = choice and put(name, choice, rng, notes=1 - 0.7 * quiz)
        if made:
            said.setdefault(made.question, made)
    return list(said.values())


def put(kind: str, choice: Choice, rng: Random, notes: float = 0.3) -> Exchange:
    """A choice as a note, else as a quiz with lettered options, or as a question that lists them."""
    if rng.random() < notes:
        return Exchange(kind, choice.note, choice.right, note=True)
    options = [choice.right, *choice.wrong]
    rng.shuffle(options)
    if rng.random() < 0.75:
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
        glue = "\n" if rng.random() < 0.7 else " "
        question = f"{choice.stem}?{glue}{glue.join(lines)}"
        return Exchange(kind, question, LETTERS[options.index(choice.right)])
    return Exchange(kind, f"{choice.stem}, {' or '.join(options)}?", choice.right)


def _the(thing: Thing) -> str:
    return f"the {thing.label}"


def _pair(a: Thing, b: Thing) -> str:
    return f"the {a.label} and the {b.label}"


def nearer(known: list[Thing], rng: Random) -> Choice | None:
    """Which of two things is nearer to (or farther from) the narrator."""
    near, far = sorted(known[:2], key=lambda t: t.range_m)
    if far.range_m < CLEAR_RATIO * near.range_m:
        return None
    if rng.random() < 0.5:
        stem = rng.choice(("Which would I bump into sooner", "Which is the shorter walk for me", "Which is nearer me"))
        return Choice(stem, f"nearer me of {_pair(known[0], known[1])}", near.label, (far.label,))
    stem = rng.choice(("Which would I reach last", "Which is the longer walk for me", "Which is farther off"))
    return Choice(stem, f"farther from me of {_pair(known[0], known[1])}", far.label, (near.label,))


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
        return Choice(stem.format(_the(hub)), f"nearer {_the(hub)} of {pair}", near.label, (far.label,))
    stem = rng.choice(("Which has the longer walk to {}", "Which is farther off from {}"))
    return Choice(stem.format(_the(hub)), f"farther off {_the(hub)} of {pair}", far.label, (near.label,))


def alike(known: list[Thing], rng: Random) -> Choice | None:
    """Whether two noses point the same way."""
    a, b = known[:2]
    apart = abs(wrap(a.heading - b.heading))
    if 30 <= apart <= 60 or (apart > 60 and rng.random() < 0.6):  # three of four random pairs differ
        return None
    stem = rng.choice(("How do the noses of {} and {} point", "Beside each other, how would {} and {} look"))
    words = ("alike", "unlike") if apart < 30 else ("unlike", "alike")
    return Choice(stem.format(_the(a), _the(b)), f"noses of {_pair(a, b)}", words[0], words[1:])


def aimed(known: list[Thing], rng: Random) -> Choice | None:
    """Which of two things a nose points at."""
    if len(known) < 3:
        return None
    a, b, c = known[:3]
    hit, miss = sorted((b, c), key=lambda t: abs(a.toward(t)))
    if abs(a.toward(hit)) > 45 or abs(a.toward(miss)) < abs(a.toward(hit)) + 20:
        return None
    stem = rng.choice(("Going straight on, what would {} run into", "What does the nose of {} aim at"))
    return Choice(stem.format(_the(a)), f"aim of {_the(a)} of {_pair(b, c)}", hit.label, (miss.label,))


def heading(known: list[Thing], rng: Random) -> Choice | None:
    """Which wind a nose points to."""
    right = wind(known[0].heading)
    wrong = rng.sample([w for w in WINDS if w != right], 3)
    return Choice(f"Where would {_the(known[0])} go", f"nose of {_the(known[0])}", right, tuple(wrong))


def shown(known: list[Thing], rng: Random) -> Choice | None:
    """Which side of a thing the narrator looks at."""
    side = _quarter(known[0].shown(), ("its nose", "its right flank", "its tail", "its left flank"))
    if side is None:
        return None
    stem = rng.choice(("What do I see of {}", "What does {} show me"))
    return Choice(stem.format(_the(known[0])), f"seen of {_the(known[0])}", side[0], _some(side[1], rng))


def hand(known: list[Thing], rng: Random) -> Choice | None:
    """Where a thing is for someone who rides another one and looks out over its nose."""
    a, b = known[:2]
    side = _quarter(a.toward(b), ("ahead", "right hand", "at the back", "left hand"))
    if side is None:
        return None
    stem = rng.choice(("Riding {}, where is {}", "For who rides {}, where is {}"))
    return Choice(stem.format(_the(a), _the(b)), f"riding {_the(a)}, {_the(b)}", side[0], _some(side[1], rng))


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
    note = f"riding {_the(a)}, {side[0]} of {_pair(b, c)}"
    return Choice(stem.format(_the(a), side[0]), note, b.label, (c.label,))


def way(known: list[Thing], rng: Random) -> Choice | None:
    """Which way it is from one thing to another."""
    a, b = known[:2]
    right = wind(a.toward(b) + a.heading)
    wrong = rng.sample([w for w in WINDS if w != right], 3)
    note = f"from {_the(a)} to {_the(b)}"
    return Choice(f"Which way is it from {_the(a)} to {_the(b)}", note, right, tuple(wrong))


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
    return Choice(f"Which slice is {_the(known[0])} in", f"slice of {_the(known[0])}", right, tuple(wrong))


def color(known: list[Thing], rng: Random) -> Choice | None:
    """What colour a thing is."""
    single = [t for t in known if t.label == t.name]
    if not single:
        return None
    wrong = rng.sample([c for c in COLORS if c != single[0].color], 3)
    return Choice(f"What colour has {_the(single[0])}", f"colour of {_the(single[0])}", single[0].color, tuple(wrong))


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


def _quarter(degrees: float, words: tuple[str, str, str, str]) -> tuple[str, tuple[str, ...]] | None:
    """The word of the quarter that an angle is clearly in (ahead, right, back, left), and the words it is not."""
    index = round(degrees / 90) % 4
    if abs(wrap(degrees - 90 * index)) > CLEAR_DEG:
        return None
    # The opposite first: with two options the question is between a side and its opposite.
    return words[index], (words[(index + 2) % 4], words[(index + 1) % 4], words[(index + 3) % 4])


def _some(wrong: tuple[str, ...], rng: Random) -> tuple[str, ...]:
    return wrong[:1] if rng.random() < 0.5 else wrong


Maker = Callable[[list[Thing], Random], Choice | None]

# Each kind with how often it is tried; `talk` makes the open ones itself.
RECALL: dict[str, tuple[Maker | None, float]] = {
    "portrait": (None, 0.7),
    "range": (None, 2.0),
    "heading": (heading, 2.5),
    "slice": (slice_, 2.0),
    "color": (color, 1.5),
    "what_is": (what_is, 0.7),
    "present": (present, 0.5),
}
REASONING: dict[str, tuple[Maker | None, float]] = {
    "nearer": (nearer, 2.5),
    "nearer_thing": (nearer_thing, 2.5),
    "alike": (alike, 4.0),
    "aimed": (aimed, 5.0),
    "shown": (shown, 2.0),
    "hand": (hand, 2.0),
    "on_hand": (on_hand, 4.0),
    "way": (way, 1.5),
    "picture_side": (picture_side, 0.7),
}
