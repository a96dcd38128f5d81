"""The general data sets are true to the picture and know nothing of 3D; probing captions state what they should."""

import re
from collections import Counter, defaultdict

import pytest

from data_registry.conversations import pairs
from data_registry.questions import general, probing
from data_registry.questions.geometry import Margins
from data_registry.questions.phrasing import wordings
from data_registry.questions.types import STANDARD
from data_registry.questions.words import article, number, plural, words
from tests.data_registry.questions.question_reader import lettered, readings
from tests.data_registry.questions.question_worlds import random_scenes

SPATIAL_WORDS = (
    r"\b(viewer|away|metres?|m|cm|closer|nearer|farther from|distance|fac\w+|behind|front|towards|perspective)\b"
)
RECIPE = general.GeneralRecipe(turns=(3, 10))


def captions_of(scenes, name):
    """The stand-in of CC558K on some scenes."""
    return general.captions(scenes.values(), name, 0, general.CaptionRecipe(), Margins(), Counter())


@pytest.fixture(scope="module")
def scenes():
    return {scene.image: scene for scene in random_scenes(300, seed=21)}


@pytest.fixture(scope="module")
def mix(scenes):
    return list(general.instructions(scenes.values(), "mix665k", 0, RECIPE, Margins(), Counter()))


@pytest.fixture(scope="module")
def turns(scenes, mix):
    """(scene or None, type, human, gpt)."""
    return [
        (scenes.get(record["image"]), type_, human, gpt)
        for record in mix
        for type_, (human, gpt) in zip(record["types"], pairs(record), strict=True)
    ]


def test_nothing_in_3d(scenes, turns):
    captions = captions_of(scenes, "cc558k")
    texts = [said["value"] for record in captions for said in record["conversations"]]
    texts += [text for _, _, human, gpt in turns for text in (human, gpt)]
    assert len(texts) > 1000
    assert not [text for text in texts if re.search(SPATIAL_WORDS, text)]
    assert not {type_ for _, type_, _, _ in turns} & set(STANDARD)


def test_every_answer_is_what_the_picture_shows(turns):
    checked = Counter()
    for scene, type_, human, gpt in turns:
        question, options = lettered(human) or (human, None)
        said = options["AB".index(gpt)] if options else gpt.removesuffix(".").lower()
        if truth := _truth(scene, type_, question):
            assert truth(said), (scene and scene.image, human, gpt)
            checked[type_] += 1
    assert set(checked) == {"color", "count", "presence", "picture_side", "leftmost", "shown", "scenery", "kind", "sum"}


def _truth(scene, type_, question):
    """A test of the answer, from the scene alone; None for open lists, which have a test of their own."""
    slots = next(readings(wordings()[type_].training, question), {})
    objects = (
        {} if scene is None else {n: o for o in scene.objects for n in (f"the {o.name}", f"the {o.color} {o.name}")}
    )

    def x(name):
        box = objects[name].bbox
        return (box[0] + box[2]) / 2

    if type_ == "color":
        return lambda said: objects[slots["x"]].color in said.split()
    if type_ == "count":
        name = next(o.name for o in scene.objects if plural(o.name) == slots["plural"])
        count = sum(o.name == name for o in scene.objects)
        return lambda said: number(count) in said.split() and name not in scene.others
    if type_ == "presence":
        there = slots["a"] in {article(o.name) for o in scene.objects}
        hidden = slots["a"] in {article(name) for name in scene.others}
        return lambda said: said == ("yes" if there else "no") and (there or not hidden)
    if type_ == "shown":
        return lambda said: said in {article(o.name) for o in scene.objects}
    if type_ == "scenery":
        return lambda said: scene.kind in said
    if type_ == "picture_side":
        return lambda said: ("left" if x(slots["x"]) < x(slots["y"]) else "right") in said.partition(" of ")[0].split()
    if type_ == "leftmost":
        names = re.findall(r"the [\w ]+?(?= or |\?|$)", slots.get("choice", ""))
        return lambda said: _extreme(said, slots["side"], x, names)
    if type_ == "kind":
        kind = slots["a_kind"].split()[-1]
        return lambda said: said in words()["kinds"][kind]
    if type_ == "sum":
        numbers = words()["numbers"]
        return lambda said: said == number(numbers.index(slots["m"]) + numbers.index(slots["n"]))
    return None


def _extreme(said, side, x, names):
    said = said.removesuffix(f" is more to the {side}")
    if not names:
        return True  # the options are letters; the sign is checked where both are named
    other = next(name for name in names if name != said)
    return (x(said) < x(other)) == (side == "left")


def test_lists_and_captions_count_what_is_there(scenes, turns):
    listed = [(scenes[r["image"]], next(pairs(r))[1]) for r in captions_of(scenes, "cc")]
    listed += [(scene, gpt) for scene, type_, _, gpt in turns if type_ == "listing"]
    assert len(listed) > 300
    for scene, text in listed:
        told = text.lower()
        for name, count in Counter(o.name for o in scene.objects).items():
            if name in scene.others:
                assert not re.search(rf"\b({name}|{plural(name)})\b", told), f"{told}: how many {name}s is not known"
            elif count > 1:
                assert f"{number(count)} {plural(name)}" in told
            else:
                assert re.search(rf"\ban? (\w+ )?{name}\b", told)
        assert "  " not in text and " ." not in text


def test_answers_are_even(turns):
    by_question = defaultdict(Counter)
    for _, type_, human, gpt in turns:
        if lettered(human):
            by_question[type_][gpt] += 1
    for type_, letters in by_question.items():
        a, b = letters["A"], letters["B"]
        assert abs(a - b) < 4 * (a + b) ** 0.5, (type_, letters)


def test_some_samples_have_no_image(mix):
    without = [record for record in mix if record["image"] is None]
    assert 0.02 < len(without) / len(mix) < 0.12
    for record in without:
        assert not record["conversations"][0]["value"].startswith("<image>")
        assert set(record["types"]) <= {"kind", "sum"}


def test_one_caption_per_scene_and_ids_are_unique(scenes, mix):
    captions = list(captions_of(scenes, "cc558k"))
    assert len({record["id"] for record in captions}) == len(captions)
    assert len({record["id"] for record in mix}) == len(mix)
    assert all(record["types"] == ["caption"] for record in captions)


@pytest.mark.parametrize(("types", "must", "never"), [
    (("object_distance", "pair_distance", "depth_order"), r"\d (m|cm)\b|near to far|First the", r"degrees|faces|tall"),
    (("object_azimuth", "object_elevation"), r"degrees|seen|view|tall|height", r"apart|m away|near to far"),
])  # fmt: skip
def test_probing_data_are_captions_of_their_own_kind(scenes, types, must, never):
    drops = Counter()
    recipe = probing.ProbingRecipe(types, sentences=(2, 3))
    records = list(probing.captions(scenes.values(), "pb", 0, recipe, Margins(), drops))
    assert len(records) + drops["image: nothing to state"] == len(scenes)
    for record in records:
        ((_, caption),) = pairs(record)  # one pair: `plain` keeps the answer alone
        assert len(caption.split()) <= 60
        assert re.search(must, caption), caption
        assert not re.search(never, caption), caption
