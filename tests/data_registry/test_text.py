"""Pretraining text: every claim is true of its scene, by another calculation than the one that made it; no wording of
the benchmark occurs in it."""

import re
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest

from data_registry import render
from data_registry.scene import Scene
from data_registry.text import plain_facts
from data_registry.text.captions import Seen, caption
from data_registry.text.passages import passage, tell
from data_registry.text.reasoning import EVERYDAY, REASONING, RECALL, Exchange
from data_registry.text.wording import FINE_WINDS, ORDINALS, WINDS, number, slice_of, wind
from data_registry.text.worlds import KINDS, imagine, things

SCENES = 400


def flat(vector: np.ndarray) -> complex:
    """A level camera's right and forward as one complex number."""
    return complex(vector[0], vector[2])


class World:
    """A scene by its labels, with geometry in complex numbers: dividing by a front turns it to straight ahead."""

    def __init__(self, scene: Scene):
        self.kind = scene.kind
        counts = Counter(o.name for o in scene.objects)
        self.objects = {o.name if counts[o.name] == 1 else f"{o.color} {o.name}": o for o in scene.objects}

    def at(self, label: str) -> complex:
        return flat(self.objects[label].center)

    def front(self, label: str) -> complex:
        return flat(self.objects[label].front)

    def range_m(self, label: str) -> float:
        return float(np.linalg.norm(self.objects[label].center))

    def seen_from(self, rider: str, target: str) -> complex:
        """Where the target is for the rider: real part ahead, imaginary part to the right is negative."""
        return (self.at(target) - self.at(rider)) / self.front(rider)


def parts(exchange: Exchange) -> tuple[str, list[str], str]:
    """Stem, options and the right option of a question in any form; a note may offer a pair, or nothing."""
    if exchange.note:
        stem, _, pair = exchange.question.rpartition(" of the ")
        if " and the " not in pair or exchange.kind == "alike":
            return exchange.question, [exchange.answer], exchange.answer
        return stem, pair.split(" and the "), exchange.answer
    lettered = re.split(r"\?[\n ]A\. ", exchange.question)
    if len(lettered) == 2:
        options = re.split(r"[\n ][BCD]\. ", lettered[1])
        return lettered[0], options, options["ABCD".index(exchange.answer)]
    stem, options = exchange.question.removesuffix("?").rsplit(", ", 1)
    return stem, options.split(" or "), exchange.answer


def labels_in(stem: str, world: World) -> list[str]:
    """Labels in a stem, in order; longer ones first, so that 'red car' is not read as 'car'."""
    pattern = "|".join(sorted(map(re.escape, world.objects), key=len, reverse=True))
    return re.findall(rf"the ({pattern})\b", stem)


QUARTERS = {"ahead": 1, "at the back": -1, "right": -1j, "left": 1j}


def direction(words: str) -> complex:
    return next(way for word, way in QUARTERS.items() if word in words)


def clearly(where: complex, way: complex) -> bool:
    turned = where / way
    return turned.real > 0 and abs(turned.imag) < turned.real


def compass(words: str) -> complex:
    """The direction of a wind: the sum of its words."""
    return sum({"north": 1j, "south": -1j, "east": 1, "west": -1}[word] for word in words.split("-"))


def angle(a: complex, b: complex) -> float:
    return abs(np.degrees(np.angle(a / b)))


def true(exchange: Exchange, world: World) -> bool:
    """Whether an exchange holds in its world."""
    if exchange.kind == "portrait":
        label = exchange.question.removesuffix("?")
        color, far, place, nose = exchange.answer.split(", ")
        return (
            color == world.objects[label].color
            and claimed_m(far.removesuffix(" off"), world.kind) == pytest.approx(world.range_m(label), rel=0.12)
            and place.removesuffix(" slice") == slice_at(world.at(label))
            and angle(compass(nose.removeprefix("nose ")), world.front(label)) <= 16
        )
    if exchange.kind in ("caption", "poses", "nearness", "panorama", "vicinity", "ordered, asked"):
        return told_in_order(exchange, world)
    if exchange.kind in plain_facts.MAKERS:
        return stated(exchange, world)
    if exchange.kind.endswith(", asked"):
        return true_in_common_words(exchange, world)
    if exchange.kind == "amounts":
        best = max if "more" in exchange.question else min
        by_words = {number(n): n for n in range(1000)}
        pair = re.findall(r"of (.+) and (\S+(?: hundred(?: and \S+)?)?)$", exchange.question)
        halves = [half for half in _splits(exchange.question.split(" of ", 1)[1]) if all(h in by_words for h in half)]
        assert pair and halves
        return exchange.answer == best(halves[0], key=by_words.__getitem__)
    if exchange.kind == "compass":
        nose, place = re.fullmatch(r"nose (\S+), (\S+) is", exchange.question).groups()
        return clearly(compass(place) / compass(nose), direction(exchange.answer))
    if exchange.kind == "range":
        (label,) = labels_in(exchange.question, world)
        return claimed_m(exchange.answer, world.kind) == pytest.approx(world.range_m(label), rel=0.12)
    stem, options, answer = parts(exchange)
    named = labels_in(stem, world)
    assert answer in options and len(set(options)) == len(options)
    match exchange.kind:
        case "nearer":
            best = max if re.search("last|longer|farther", stem) else min
            return answer == best(options, key=world.range_m)
        case "nearer_thing":
            best = max if re.search("longer|farther", stem) else min
            return answer == best(options, key=lambda o: abs(world.at(o) - world.at(named[0])))
        case "alike":
            return (answer == "alike") == (angle(world.front(named[0]), world.front(named[1])) < 45)
        case "aimed":
            return answer == min(options, key=lambda o: abs(np.angle(world.seen_from(named[0], o))))
        case "heading":
            return answer == min(WINDS, key=lambda o: angle(compass(o), world.front(named[0])))
        case "turned":
            turns = {"away": 1j, "right": 1, "left": -1, "towards the viewer": -1j}
            return angle(sum(turns[part] for part in answer.split(" and ")), world.front(named[0])) < 23
        case "shown":
            sides = {"nose": 1, "tail": -1, "right": -1j, "left": 1j}
            back = -world.at(named[0]) / world.front(named[0])
            return clearly(back, next(way for word, way in sides.items() if word in answer))
        case "hand":
            return clearly(world.seen_from(*named), direction(answer))
        case "on_hand":
            hits = [clearly(world.seen_from(named[0], o), direction(stem.rsplit(", ")[1])) for o in options]
            return hits == [o == answer for o in options]
        case "way":
            return answer == min(WINDS, key=lambda o: angle(compass(o), world.at(named[1]) - world.at(named[0])))
        case "picture_side":
            best = min if "left" in stem else max
            return answer == best(options, key=lambda o: world.at(o).real / world.at(o).imag)
        case "slice":
            return answer == slice_at(world.at(named[0]))
        case "color":
            return answer == world.objects[named[0]].color
        case "what_is":
            color = stem.split()[1 if exchange.note else 2]
            return [o.name for o in world.objects.values() if o.color == color] == [answer]
        case "present":
            name = re.sub(".* of a ", "", stem)
            return (answer == "yes") == (name in {o.name for o in world.objects.values()})
    raise AssertionError(f"no check for {exchange.kind}")


TURNS = {"away": 1j, "right": 1, "left": -1, "towards the viewer": -1j}
SIDES = {"in front": 1, "ahead": 1, "behind": -1, "back": -1, "front": 1, "right": -1j, "left": 1j}


def true_in_common_words(exchange: Exchange, world: World) -> bool:
    """Whether the answer to a question of `data_registry.text.common` is right and the other option is not."""
    stem, options, answer = parts(exchange)
    named, kind = labels_in(stem, world), exchange.kind.removesuffix(", asked")
    assert answer in options and len(set(options)) == len(options) == 2
    things_ = [option.removeprefix("the ") for option in options]
    best = max if re.search("farth|larger|less close", stem.lower()) else min
    match kind:
        case "nearer":
            return answer == "the " + best(things_, key=world.range_m)
        case "nearer_thing":
            return answer == "the " + best(things_, key=lambda o: abs(world.at(o) - world.at(named[0])))
        case "aimed":
            return answer == "the " + min(things_, key=lambda o: abs(np.angle(world.seen_from(named[0], o))))
        case "alike":
            same = answer in ("one way", "alike", "in one direction", "yes")
            return same == (angle(world.front(named[0]), world.front(named[1])) < 45)
        case "on_hand":
            asked = re.search("in front|on the right|behind|on the left", stem).group()
            way = next(way for word, way in SIDES.items() if word in asked)
            hits = [clearly(world.seen_from(named[0], o), way) for o in things_]
            return hits == [option == answer for option in options]
        case "towards":
            return (answer == "towards me") == ((-world.at(named[0]) / world.front(named[0])).real > 0)
        case "sideways":
            return (world.front(named[0]) / TURNS[answer]).real > 0.2
    where = world.seen_from(*named) if kind == "hand" else -world.at(named[0]) / world.front(named[0])
    return clearly(where, next(way for word, way in SIDES.items() if word in answer))


def stated(exchange: Exchange, world: World) -> bool:
    """Whether a plain statement holds: every quantity, place, turn, colour and height in it."""
    kind, text = exchange.kind, exchange.answer
    named = labels_in(exchange.question, world)
    if kind == "colored":
        return all(
            world.objects[label].color == color
            for label, color in re.findall(r"the ([a-z -]+) is ([a-z]+)\.", text.lower())
        )
    apart = abs(world.at(named[0]) - world.at(named[-1])) if kind in ("gap", "beside") else world.range_m(named[0])
    for amount, unit in re.findall(r"([\d.]+) (cm|m)\b", text):
        if float(amount) * {"cm": 0.01, "m": 1}[unit] != pytest.approx(apart, rel=0.06, abs=0.051):
            return False
    lowered = text.lower()
    match kind:
        case "metres" | "gap":
            return bool(re.search(r"\d", text))
        case "place":
            across = world.at(named[0]).real / world.at(named[0]).imag / np.tan(np.radians(36))
            said = next(word for word in ("left", "middle", "right") if word in lowered)
            return {"left": across < -0.32, "middle": abs(across) < 0.34, "right": across > 0.32}[said]
        case "faced":
            said = re.search(r"(towards the viewer|away|left|right)( and (left|right))?", lowered).group()
            return angle(sum(TURNS[part] for part in said.split(" and ")), world.front(named[0])) < 23
        case "beside":
            said = re.search(r"(ahead|behind|left|right)( and (left|right))?", lowered).group()
            way = sum(SIDES[part] for part in said.split(" and "))
            return angle(way, world.seen_from(*named)) < 23
        case "viewed":
            eye, ground = world.objects[named[0]].center[1], abs(world.at(named[0]))
            steps = ("own height", "a little above", "from above", "high above")
            said = next(k for k, words in enumerate(steps) if words in lowered)
            return abs(said - int(np.searchsorted([8, 22, 45], np.degrees(np.arctan2(eye, ground))))) == 0
    raise AssertionError(kind)


def _splits(text: str) -> list[list[str]]:
    """Every way to read two numbers out of 'one hundred and five and six'."""
    words = text.split(" and ")
    return [[" and ".join(words[:k]), " and ".join(words[k:])] for k in range(1, len(words))]


def told_in_order(exchange: Exchange, world: World) -> bool:
    """Whether what is listed is there, and in the order that the kind of list promises."""
    text = exchange.answer
    if exchange.kind in ("nearness", "panorama", "vicinity"):
        listed = text.split(", ")
        hub = labels_in(exchange.question, world)
        measure = {
            "nearness": world.range_m,
            "panorama": lambda label: world.at(label).real / world.at(label).imag,
            "vicinity": lambda label: abs(world.at(label) - world.at(hub[0])),
        }[exchange.kind]
        backwards = "farthest" in exchange.question or "right edge" in exchange.question
        values = [measure(label) for label in listed]
        return len(listed) > 1 and values == sorted(values, reverse=backwards)
    if exchange.kind == "caption":
        nouns = re.findall(r"\ban? (?!picture of)([a-z -]+?)(?=,| and |\.)", text.lower())
        nouns = [noun.removeprefix("picture of a ").removeprefix("picture of an ") for noun in nouns]
        ordered = sorted(world.objects.values(), key=lambda o: o.center[0] / o.center[2])
        return len(nouns) == len(ordered) and all(
            noun in (obj.name, f"{obj.color} {obj.name}") for noun, obj in zip(nouns, ordered)
        )
    if exchange.kind == "ordered, asked":
        asked = exchange.question.split(" in order")[0]
        listed, wanted = labels_in(text, world), labels_in(asked, world)
        far = re.search("farthest first|from far off", exchange.question) is not None
        return listed == sorted(wanted, key=world.range_m, reverse=far)
    turns = {"away": 1j, "right": 1, "left": -1, "towards the viewer": -1j}
    for sentence in text.split(". "):
        (label,) = labels_in(sentence.replace("The ", "the "), world)
        said = re.search(r"faces ([a-z ]+)", sentence).group(1).strip()
        way = sum(turns[part] for part in said.split(" and "))
        if angle(way, world.front(label)) > 23:
            return False
        if degrees := re.search(r"(\d+) degrees", sentence):
            # 0 faces the narrator, 90 points to the left.
            stated = -1j * np.exp(-1j * np.radians(float(degrees.group(1))))
            if angle(stated, world.front(label)) > 5.5:
                return False
    return True


def claimed_m(words: str, kind: str) -> float:
    """Metres of 'forty feet', '12.4 m' or '0.52 m'."""
    amount, unit = words.rsplit(" ", 1)
    if unit == "m":
        return float(amount)
    by_words = {number(n): n for n in range(1000)}
    return by_words[amount] * {word: metres for *_, word, metres in KINDS.values()}[unit]


def slice_at(spot: complex) -> str:
    edges = np.tan(np.radians(np.arange(-30, 31, 6)))
    return ORDINALS[int(np.searchsorted(edges, spot.real / spot.imag))]


@pytest.fixture(scope="module")
def told() -> list[tuple[Exchange, World]]:
    found = []
    for seed in range(SCENES):
        rng = Random(f"test {seed}")
        scene = imagine(rng)
        if len(things(scene)) == len(scene.objects) >= 2:
            found += [(exchange, World(scene)) for exchange in tell(scene, rng, ease=0.2).talk]
            found += [(exchange, World(scene)) for exchange in tell(scene, rng, everyday=1.0, statements=0.4).talk]
    return found


ASKED = [f"{kind}, asked" for kind in (*EVERYDAY, "ordered")]


@pytest.mark.parametrize("kind", [*RECALL, *REASONING, *ASKED, *plain_facts.MAKERS])
def test_every_claim_is_true_of_its_scene(kind: str, told: list[tuple[Exchange, World]]):
    mine = [(exchange, world) for exchange, world in told if exchange.kind == kind]
    assert len(mine) > 25
    wrong = [exchange for exchange, world in mine if not true(exchange, world)]
    # A compass of sixteen and slices are rounded: two of a thousand may round the other way than this test does.
    assert len(wrong) <= len(mine) * 0.002, wrong[:3]


def test_letters_are_balanced(told: list[tuple[Exchange, World]]):
    two = [e.answer for e, _ in told if e.answer in ("A", "B") and "C. " not in e.question]
    assert abs(two.count("A") / len(two) - 0.5) < 0.06


def test_names_tell_nothing_of_range():
    ranges: dict[str, list[float]] = {}
    for seed in range(2000):
        scene = imagine(Random(f"names {seed}"))
        for thing in things(scene):
            near, far, *_ = KINDS[scene.kind]
            ranges.setdefault(thing.name, []).append(np.log(thing.range_m / near) / np.log(far / near))
    means = {name: np.mean(values) for name, values in ranges.items() if len(values) > 60}
    assert len(means) > 15
    assert max(means.values()) - min(means.values()) < 0.2


def test_a_passage_depends_on_its_seed_alone():
    assert passage((3, 1)) == passage((3, 1))
    assert passage((3, 1)) != passage((3, 2))


def test_rendered_scenes_can_be_told_too():
    kept = 0
    for index in range(30):
        scene = render.scene(render.sample(5, index))
        if len(things(scene)) >= 2:
            words = tell(scene, Random(f"{index}"))
            kept += len(words.talk)
    assert kept > 100


def test_easy_passages_have_few_things():
    assert max(len(passage((4, i), ease=1.0).phrases) for i in range(100)) == 3
    assert max(len(passage((4, i)).phrases) for i in range(100)) == 6


@pytest.mark.parametrize(
    ("value", "words"), [(7, "seven"), (30, "thirty"), (45, "forty-five"), (105, "one hundred and five")]
)
def test_numbers(value: int, words: str):
    assert number(value) == words


def test_winds_and_slices_cover_the_circle():
    assert [wind(22.5 * i, fine=True) for i in range(16)] == list(FINE_WINDS)
    assert wind(-90) == "west" and wind(359) == "north"
    assert (slice_of(-36), slice_of(-0.1), slice_of(0.1), slice_of(50)) == ("first", "sixth", "seventh", "twelfth")


def test_no_wording_of_the_benchmark_occurs():
    """Neither a whole phrasing nor any run of four of its words."""
    from ruamel.yaml import YAML

    folder = Path(__file__).parents[2] / "data_registry" / "questions" / "phrasings"
    phrasings = []
    for path in sorted(folder.glob("*.yaml")):
        for entry in YAML(typ="safe").load(path.read_text()).values():
            if isinstance(entry, dict):
                phrasings += entry.get("benchmark", [])
    assert len(phrasings) > 10
    runs = set()
    for text in phrasings:
        for literal in re.split(r"\{\w+\}", text.lower()):
            words = re.findall(r"[a-z]+", literal)
            runs |= {" ".join(words[i : i + 4]) for i in range(len(words) - 3)}
    read = " ".join(
        " ".join(re.findall(r"[a-z]+", f"{p.description} {e.question} {e.answer}".lower()))
        for p in (passage((8, i), everyday=0.5 * (i % 2), statements=0.4) for i in range(600))
        for e in p.talk
    )
    assert not {run for run in runs if f" {run} " in read}


def test_captions_tell_what_but_not_where():
    seen = [Seen("bus", "red", "back"), Seen("dog", "brown"), Seen("dog", "white")]
    texts = {caption("street", seen, Random(f"{i}")) for i in range(200)}
    assert any("red bus seen from behind" in t or "red bus rear view" in t for t in texts)
    assert any("two dogs" in t for t in texts)
    assert not any("one dog" in t or "white dog" in t for t in texts)
    numbers = re.compile(r"\d|metre|meter|degree|near|far|left|right")
    assert not any(numbers.search(t) for t in texts)


def test_drills_ask_under_which_letter_a_word_stands():
    drills = 0
    for seed in range(200):
        rng = Random(f"drill {seed}")
        scene = imagine(rng)
        if len(things(scene)) < 2:
            continue
        world = World(scene)
        for exchange in tell(scene, rng, letters=0.5).talk:
            if exchange.kind != "drill":
                continue
            stem, *lines = exchange.question.split("\n")
            options = {line[0]: line[3:] for line in lines}
            named = labels_in(stem, world) if "colour" in stem else []
            asked = world.objects[named[0]].color if named else stem.removeprefix("It is ").removesuffix(".")
            assert options[exchange.answer] == asked.removeprefix("the ")
            assert len(set(options.values())) == len(options) >= 2
            drills += 1
    assert drills > 200
