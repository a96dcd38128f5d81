"""Choices about a described scene: who is nearer, where a nose points, what lies on whose left hand.
One function per kind of reasoning; each returns a choice, or None where the scene leaves it unclear."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from data_registry.render.catalog import NAMES
from data_registry.render.palette import COLORS
from data_registry.text import common
from data_registry.text.wording import ORDINALS, WINDS, slice_of, the, wind
from data_registry.text.worlds import OTHER_NAMES, Thing, wrap

CLEAR_RATIO = 1.12  # of two distances, the larger by this much
CLEAR_DEG = 35.0  # left, right, before and behind lie within this of their axis


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
