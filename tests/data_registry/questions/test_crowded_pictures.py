"""Pictures with very many objects, and pictures of which the annotators left regions out."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from data_registry.questions import general, picture
from data_registry.questions.dialogue import DialogueRecipe, conversations
from data_registry.questions.geometry import MOST, Margins, layout
from data_registry.questions.names import references
from data_registry.questions.types import claims
from data_registry.scene import Camera, Region, Scene, SceneObject
from tests.data_registry.questions.question_worlds import random_scenes

MARGINS = Margins(min_height=0.0)


def crowd(count: int, name: str = "thing {}", color: str | None = None) -> Scene:
    """A picture of so many objects, by default each with a name of its own, ever larger."""
    camera = Camera(1000, 1000, np.array([[500.0, 0, 500], [0, 500, 500], [0, 0, 1]]))
    objects = tuple(
        SceneObject(
            k, name.format(k), np.array([k % 7 - 3.0, 0.1 * (k % 11), 5.0 + k]), np.ones(3), np.eye(3),
            np.array([1.0, 0, 0]), np.array([0.0, 0.0, 10 + k / count, 10.0]), color,
        )
        for k in range(count)
    )  # fmt: skip
    return Scene("made", "crowd.jpg", camera, objects)


def test_of_very_many_objects_the_largest_are_asked_about_and_the_rest_is_counted():
    scene, drops = crowd(3000), Counter()
    known = layout(scene, MARGINS, drops)
    assert {o.id for o in known.objects} == set(range(3000 - MOST, 3000))
    assert drops == {f"object: beyond the {MOST} largest": 3000 - MOST}
    assert sum(1 for _ in claims(known, MARGINS, drops)) > 1000
    assert len(list(conversations([scene, scene], "x", 0, DialogueRecipe(), MARGINS, Counter()))) == 2


def test_a_hundred_thousand_objects_in_a_picture():
    """Of one name, and each with its own: what grew with their square had no end."""
    cars, things = crowd(100_000, "car", "red"), crowd(100_000)
    assert set(references(cars)) == {None}
    assert len(set(references(things))) == 100_000
    for scene in (cars, things):
        known = layout(scene, MARGINS, Counter())
        known_names = {"": [f"other {k}" for k in range(100)]}
        assert list(picture.facts(known, known_names, MARGINS, random.Random(0)))
    assert len(picture.listing(things, random.Random(0))["things"].split(",")) < MOST


@pytest.mark.parametrize("colors", [("red", "blue"), ("red", "orange"), ("red", "red"), ("red", None), (None, None)])
def test_colours_tell_two_apart_unless_they_are_confused_or_unknown(colors):
    scene = crowd(2, "car")
    scene = replace(scene, objects=tuple(replace(o, color=c) for o, c in zip(scene.objects, colors, strict=True)))
    expected = ["red car", "blue car"] if colors == ("red", "blue") else [None, None]
    assert references(scene) == expected


@pytest.mark.parametrize("name", ["dontcare", "ignore"])
def test_nothing_is_called_by_a_name_that_a_region_left_out_may_hold(name):
    """KITTI 000003: "Which side of the car...", and a second car in a DontCare box."""
    region = Region(name, np.array([100.0, 100, 200, 150]))
    scenes = [replace(scene, ignored=(region,)) for scene in random_scenes(20, seed=3)]
    drops = Counter()
    for scene in scenes:
        assert not layout(scene, Margins(), drops).objects
    assert drops["object: in a picture with regions left out"] > 20
    assert not list(conversations(scenes, "x", 0, DialogueRecipe(turns=(1, 4)), Margins(), drops))


def test_what_a_region_left_out_may_hold_is_neither_counted_nor_said_to_be_absent():
    region = Region("dontcare", np.array([100.0, 100, 200, 150]))
    known = {"": ["car", "dog", "zebra"], **{kind: ["car", "dog", "zebra"] for kind in ("street", "room", "table")}}
    kinds = Counter()
    for scene in random_scenes(20, seed=3):
        hidden = layout(replace(scene, ignored=(region,)), Margins(), Counter())
        for made in picture.facts(hidden, known, Margins(), random.Random(0)):
            kinds[made.type, made.options[made.answer]] += 1
    assert kinds["presence", "yes"]
    assert {type_ for type_, _ in kinds} <= {"presence", "scenery"}
    assert ("presence", "no") not in kinds
    captions = general.captions(
        [replace(scene, ignored=(region,)) for scene in random_scenes(3, seed=3)], "x", 0, general.CaptionRecipe(),
        Margins(), Counter(),
    )  # fmt: skip
    assert list(captions) == []


def test_a_region_without_objects_hides_nothing():
    (scene,) = random_scenes(1, seed=3)
    void = replace(scene, ignored=(Region("void", np.array([0.0, 0, 50, 50])),))
    assert references(void) == references(scene)
