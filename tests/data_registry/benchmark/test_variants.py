"""CircularEval and FlipEval: every variant is right by the second solver, and only who is right in all forms counts."""

import math
from collections import Counter

import pytest

from data_registry.benchmark import variants
from data_registry.benchmark.spatialvqa import Question, Quotas, build
from data_registry.errors import InputError
from data_registry.questions.geometry import Margins
from data_registry.questions.phrasing import wordings
from tests.data_registry.questions.question_check import check_question
from tests.data_registry.questions.question_reader import readings
from tests.data_registry.questions.question_solver import Solver
from tests.data_registry.questions.question_worlds import random_scenes
from tests.data_registry.questions.test_question_invariants import mirrored

MARGINS = Margins()
OTHER = {"left": "right", "right": "left"}


@pytest.fixture(scope="module")
def scenes():
    return {scene.image: scene for scene in random_scenes(400, seed=3)}


@pytest.fixture(scope="module")
def questions(scenes):
    return build(list(scenes.values()), Quotas(48, 80, 80), 2, MARGINS, 0, Counter())


@pytest.fixture(scope="module")
def made(questions, scenes):
    return variants.build(questions, scenes.values(), MARGINS)


def as_question(q: Question, variant: variants.Variant) -> Question:
    return q._replace(question=variant.question, options=variant.options, answer=variant.answer)


def test_every_question_has_each_other_order_and_a_mirror_image(questions, made):
    assert Counter(v.kind for v in made) == {"circular": len(questions), "flip": len(questions)}
    by_id = {q.id: q for q in questions}
    for v in made:
        q = by_id[v.id]
        assert v.mirrored == (v.kind == "flip")
        if v.kind == "circular":
            assert v.options == q.options[::-1]
            assert v.options[v.answer] == q.options[q.answer]


def test_flips_are_true_of_the_mirrored_scene(questions, made, scenes):
    """By the second solver, which knows nothing of mirrors; for sides it needs a word, since a loser may be between."""
    by_id = {q.id: q for q in questions}
    swapped = Counter()
    for v in made:
        if v.kind != "flip":
            continue
        q, world = by_id[v.id], mirrored(scenes[v.image])
        if q.type == "object_on_side":
            solver = Solver(world)
            slots = next(readings(wordings()[q.type].benchmark, v.question))
            x = solver.find(slots["x"])
            wanted = {"left": 90, "right": -90}[slots["side"]]
            off = [abs(math.remainder(solver.bearing(x, solver.find(o)) - wanted, 360)) for o in v.options]
            assert off[v.answer] < off[1 - v.answer]
            assert solver.side(x, solver.find(v.options[1 - v.answer])) == OTHER[slots["side"]]
        else:
            check_question(world, as_question(q, v)._replace(boxes=(), names=(), objects=()))
        swapped[q.type] += (v.options, v.answer) != (q.options, q.answer)
    assert swapped["left_or_right"] and swapped["pointing"] and swapped["object_on_side"] and swapped["side_to_viewer"]
    assert not swapped["closer_to_viewer"] and not swapped["facing_object"] and not swapped["same_direction"]


def test_they_survive_a_file(made, tmp_path):
    variants.write(tmp_path / variants.FILE, made)
    assert variants.read(tmp_path / variants.FILE) == made
    (tmp_path / variants.FILE).write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"set variants: true in params\.yaml: benchmark"):
        variants.read(tmp_path / variants.FILE)


def test_only_who_is_right_in_every_form_counts(questions, made):
    truth, answers = [q.answer for q in questions], [v.answer for v in made]
    assert all(all(right) for right in variants.consistent(questions, truth, made, answers).values())
    always_first = variants.consistent(questions, [0] * len(questions), made, [0] * len(made))
    assert not any(always_first["circular"]), "who always says A is right in one order only"
    flat = variants.consistent(questions, truth, made, [
        v.answer if v.kind == "circular" else dict(zip((q.id for q in questions), truth, strict=True))[v.id]
        for v in made
    ])  # fmt: skip
    assert all(flat["circular"])
    failed = Counter(q.type for q, ok in zip(questions, flat["flip"], strict=True) if not ok)
    sides = {"left_or_right", "object_on_side", "pointing", "side_to_viewer"}
    assert set(failed) == sides, "who does not see the mirror fails where left and right are meant, and nowhere else"
    assert flat["both"] == flat["flip"]


def test_a_question_without_variants_is_no_success(questions, made):
    with pytest.raises(InputError, match="has no variant of kind flip"):
        variants.consistent(
            questions, [q.answer for q in questions], [v for v in made if v.kind == "circular"],
            [v.answer for v in made if v.kind == "circular"],
        )  # fmt: skip


def test_questions_of_other_scenes_are_refused(questions, scenes):
    with pytest.raises(InputError, match="does not follow from its scene"):
        variants.build(questions, random_scenes(10, seed=99), MARGINS)


def test_the_datasheet_counts_what_is_there(questions, made, scenes):
    sheet = variants.datasheet(questions, made, {key: scene.source for key, scene in scenes.items()})
    assert sheet["questions"] == len(questions) == sum(sheet["types"].values()) == sum(sheet["sources"].values())
    assert sheet["classes"] == {"distance": 48, "orientation": 80, "relation": 80}
    assert sheet["images"] == len({q.image for q in questions}) == sum(sheet["questions_per_image"].values())
    assert sheet["variants"] == {"circular": len(questions), "flip": len(questions)}
    for type_, letters in sheet["answers_by_type"].items():
        assert sum(letters.values()) == sheet["types"][type_]
