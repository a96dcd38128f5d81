"""Phrasings are data: enough of them, distinct, complete; names and quantities read as a person says them."""

import re
import string
from collections import Counter
from dataclasses import replace

import pytest

from data_registry.questions.facts import fact
from data_registry.questions.geometry import Margins, layout
from data_registry.questions.names import references
from data_registry.questions.phrasing import ask, wordings
from data_registry.questions.types import STANDARD
from data_registry.questions.types import claims as spatial_claims
from data_registry.questions.words import article, enumeration, number, plural, quantity, sector
from data_registry.questions.words import words as small_words
from tests.data_registry.questions.question_worlds import random_scenes


def fields(phrasing: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(phrasing) if name}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", re.sub(r"\{\w+\}", " ", text).lower())


@pytest.mark.parametrize("type_", sorted(wordings()))
def test_each_type_has_eight_ways_to_ask_it(type_):
    wording = wordings()[type_]
    asked = wording.training
    if not asked:
        assert type_ in ("object_azimuth", "object_elevation"), "only captions can do without questions"
        return
    assert len(asked) >= 8
    assert len({phrasing.lower() for phrasing in asked}) == len(asked)
    assert wording.answers or type_ == "shown", "only what needs its options to be clear can do without free answers"


@pytest.mark.parametrize("type_", sorted(STANDARD))
def test_benchmark_phrasings_are_held_out_yet_use_known_words(type_):
    wording = wordings()[type_]
    assert len(wording.benchmark) >= 3

    def plain(phrasing):
        return phrasing.replace("{choice}", "").lower()

    assert not {plain(p) for p in wording.benchmark} & {plain(p) for p in wording.training}
    taught = {word for w in wordings().values() for p in w.training for word in words(p)}
    assert {word for p in wording.benchmark for word in words(p)} <= taught
    # The same places are filled: nothing the question needs is lost in the held-out wording.
    needed = set.intersection(*[fields(p) - {"choice", "side", "side_of"} for p in wording.training])
    assert all(needed <= fields(p) for p in wording.benchmark)


def test_no_phrasing_speaks_of_the_camera_which_may_be_an_object():
    for wording in wordings().values():
        for phrasing in (*wording.training, *wording.benchmark, *wording.answers):
            assert "camera" not in phrasing
            assert "photo" not in phrasing


def test_every_phrasing_of_every_fact_can_be_filled():
    seen = set()
    for scene in random_scenes(60, seed=2):
        known = layout(scene, Margins(), Counter())
        for claim in spatial_claims(known, Margins(), Counter()):
            if claim.type not in seen:
                seen.add(claim.type)
                wording = wordings()[claim.type]
                for phrasing in (*wording.training, *wording.benchmark):
                    assert not re.search(r"[{}]", ask(fact(claim, known), phrasing))
    assert seen == set(STANDARD)


def test_the_benchmark_adds_no_word_that_training_lacks():
    every = wordings().values()
    known = {word for w in every for text in (*w.training, *w.answers, *w.options.values()) for word in words(text)}
    assert {word for w in every for text in w.benchmark for word in words(text)} <= known


@pytest.mark.parametrize(
    ("metres", "text"),
    [(0.02, "5 cm"), (0.43, "45 cm"), (0.96, "95 cm"), (0.99, "1.0 m"), (3.21, "3.2 m"), (9.94, "9.9 m"),
     (9.96, "10 m"), (14.4, "14 m"), (220.0, "220 m")],
)  # fmt: skip
def test_lengths_in_natural_units(metres, text):
    assert quantity(metres) == text


def test_small_words():
    assert all(isinstance(word, str) for word in small_words()["numbers"]), "an unquoted no is a truth value in YAML"
    assert [plural(n) for n in ("car", "bus", "person", "traffic cone")] == ["cars", "buses", "people", "traffic cones"]
    assert article("airplane") == "an airplane"
    assert article("red airplane") == "a red airplane"
    assert enumeration(["a", "b", "c"]) == "a, b and c"
    assert (number(2), number(12)) == ("two", "12")
    assert [sector(d) for d in (0, 44, 91, 179, -91, -40)] == [0, 1, 2, 4, 6, 7]


def test_a_name_is_unique_among_all_objects_of_the_image():
    scene = next(s for s in random_scenes(50) if len(s.objects) >= 3)
    a, b, c = (replace(o, name=n, color=k) for o, n, k in
               zip(scene.objects, ("car", "car", "dog"), ("red", "blue", "brown"), strict=False))  # fmt: skip
    scene = replace(scene, objects=(a, b, c), others=())
    assert references(scene) == ["red car", "blue car", "dog"]
    assert references(replace(scene, others=("car",))) == [None, None, "dog"], "a hidden car has no known colour"
    assert references(replace(scene, others=("dog",))) == ["red car", "blue car", None]
    alike = replace(scene, objects=(a, replace(b, color="orange"), c))
    assert references(alike) == [None, None, "dog"], "what one calls red another calls orange"
    unknown = replace(scene, objects=(a, replace(b, color=None), c))
    assert references(unknown) == [None, None, "dog"]
