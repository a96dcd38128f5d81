"""What must not matter to an answer, and what must: mirrors, rotations, scale, names, the order of options."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_registry.questions.facts import Fact, fact
from data_registry.questions.general import question
from data_registry.questions.geometry import Margins, layout
from data_registry.questions.phrasing import option_texts
from data_registry.questions.types import QUESTION_TYPES
from data_registry.questions.types import claims as spatial_claims
from data_registry.scene import Scene
from tests.data_registry.questions.question_worlds import random_scene

MARGINS = Margins()
scenes = st.integers(0, 10**6).map(lambda seed: random_scene(random.Random(seed), seed))
quickly = settings(max_examples=60, deadline=None)

Said = tuple[str, tuple, frozenset, str]


def facts(scene: Scene, more: Sequence[str] = ()) -> list[Fact]:
    """All facts of a scene."""
    known = layout(scene, MARGINS, Counter())
    return [fact(claim, known) for claim in spatial_claims(known, MARGINS, Counter(), more)]


def said(fact: Fact) -> Said:
    """What a fact claims, whatever the order of its options."""
    options = option_texts(fact)
    return fact.type, tuple(sorted(fact.slots.items())), frozenset(options), options[fact.answer]


def all_said(scene: Scene, more: Sequence[str] = ()) -> set[Said]:
    return {said(fact) for fact in facts(scene, more)}


def moved(scene: Scene, turn: np.ndarray, scale: float = 1.0) -> Scene:
    """The whole world turned about the camera, and scaled."""
    objects = [
        replace(
            o,
            center=turn @ o.center * scale,
            dimensions=o.dimensions * scale,
            R=turn @ o.R,
            front=None if o.front is None else turn @ o.front,
        )
        for o in scene.objects
    ]
    up = None if scene.camera.up is None else turn @ scene.camera.up
    return replace(scene, objects=tuple(objects), camera=replace(scene.camera, up=up))


def mirrored(scene: Scene) -> Scene:
    """The scene in a mirror: x changes sign, and each object's left becomes its right."""
    flip, handed = np.diag([-1.0, 1, 1]), np.diag([1.0, 1, -1])
    width = scene.camera.width
    objects = [
        replace(
            o,
            center=flip @ o.center,
            R=flip @ o.R @ handed,
            front=None if o.front is None else flip @ o.front,
            bbox=np.array([width - o.bbox[2], o.bbox[1], width - o.bbox[0], o.bbox[3]]),
        )
        for o in scene.objects
    ]
    return replace(scene, objects=tuple(objects), camera=replace(scene.camera, up=flip @ scene.camera.up))


def swap_sides(value):
    """left for right and right for left in every text of a claim."""
    if isinstance(value, str):
        return value.replace("left", "\0").replace("right", "left").replace("\0", "right")
    return type(value)(swap_sides(v) for v in value)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    c, s = np.cos, np.sin
    about_y = np.array([[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]])
    about_x = np.array([[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]])
    about_z = np.array([[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


angle = st.floats(-3, 3)


@quickly
@given(scenes)
def test_a_mirror_swaps_left_and_right_and_nothing_else(scene):
    swapped = {(type_, *swap_sides(claim)) for type_, *claim in all_said(scene, QUESTION_TYPES)}
    assert all_said(mirrored(scene), QUESTION_TYPES) == swapped


@quickly
@given(scenes, angle, angle, angle)
def test_turning_the_world_about_the_camera_changes_nothing(scene, yaw, pitch, roll):
    # The boxes in the picture stay as they are: only the 3D is turned, so the picture's own left and right follow it.
    assert all_said(moved(scene, rotation(yaw, pitch, roll)), QUESTION_TYPES) == all_said(scene, QUESTION_TYPES)


@quickly
@given(scenes, st.floats(0.05, 20))
def test_scaling_the_world_contradicts_nothing(scene, scale):
    before, after = all_said(scene), all_said(moved(scene, np.eye(3), scale))
    asked = {claim[:3]: claim[3] for claim in before}
    assert all(asked.get(claim[:3], claim[3]) == claim[3] for claim in after)


@quickly
@given(scenes, st.floats(0.2, 1.5))
def test_a_small_world_has_the_same_questions_at_any_scale(scene, scale):
    # Below a median distance of 5 m the margin in metres shrinks along, so that a table-top has questions too.
    small = moved(scene, np.eye(3), 0.1)
    assert all_said(moved(small, np.eye(3), scale), QUESTION_TYPES) == all_said(small, QUESTION_TYPES)


@quickly
@given(scenes)
def test_gravity_only_confirms_what_upright_objects_say(scene):
    assert all_said(replace(scene, camera=replace(scene.camera, up=None))) == all_said(scene)


@quickly
@given(scenes, st.randoms(use_true_random=False))
@example(random_scene(random.Random(14632), 14632), random.Random(0))  # two things that touch a third: a tie
@example(random_scene(random.Random(14632), 14632), random.Random(1))
@example(random_scene(random.Random(14632), 14632), random.Random(2))
def test_names_are_only_names(scene, rng):
    names = sorted({o.name for o in scene.objects} | set(scene.others))
    new = dict(zip(names, rng.sample(["apple", "boat", "crane", "drum", "eagle", "fork", "globe"], len(names))))
    objects = tuple(replace(o, name=new[o.name]) for o in scene.objects)
    renamed = replace(scene, objects=objects, others=tuple(new[n] for n in scene.others))

    def by_id(fact: Fact):
        if len(fact.objects) > len([role for role in fact.slots if not role.startswith("side")]):
            *roles, first, second = fact.objects
            return fact.type, fact.slots.get("side"), *roles, frozenset((first, second)), (first, second)[fact.answer]
        objects = frozenset(fact.objects) if fact.type in ("same_direction", "parallel") else fact.objects
        return fact.type, objects, frozenset(fact.options), fact.options[fact.answer]

    assert {by_id(f) for f in facts(scene, QUESTION_TYPES)} == {by_id(f) for f in facts(renamed, QUESTION_TYPES)}


@quickly
@given(scenes, st.integers(0, 10**6))
def test_swapping_the_options_swaps_the_letter_and_keeps_the_answer(scene, seed):
    for asked in facts(scene, QUESTION_TYPES):
        straight = question(asked, False, random.Random(seed), lettered=True)
        swapped = question(asked, True, random.Random(seed), lettered=True)
        assert {straight.gpt, swapped.gpt} == {"A", "B"}
        right = [
            next(line[3:] for line in turn.human.split("\n") if line.startswith(f"{turn.gpt}. "))
            for turn in (straight, swapped)
        ]
        assert right[0] == right[1] == option_texts(asked)[asked.answer]


@quickly
@given(scenes)
def test_objects_without_front_are_never_asked_which_way(scene):
    blank = replace(scene, objects=tuple(replace(o, front=None) for o in scene.objects))
    assert {f.type for f in facts(blank)} <= {
        "closer_to_viewer", "farther_from_viewer", "closer_to_object", "farther_from_object"
    }  # fmt: skip


@quickly
@given(scenes)
def test_objects_without_position_are_never_asked_how_far(scene):
    flat = replace(scene, objects=tuple(replace(o, center=None, dimensions=None) for o in scene.objects))
    # a pose without a position is the one seen by a camera of its own: enough for the viewer, not for a comparison
    assert {f.type for f in facts(flat)} <= {"side_to_viewer", "towards_viewer", "pointing"}
