"""Every question that is generated is answered again, from its text, by a solver that shares no code with it."""

import cmath
import math
import random
from collections import Counter

import numpy as np
import pytest

from data_registry.benchmark.spatialvqa import Quotas, build
from data_registry.conversations import pairs
from data_registry.errors import InputError
from data_registry.questions import statements
from data_registry.questions.dialogue import DialogueRecipe, conversations
from data_registry.questions.facts import fact
from data_registry.questions.general import GeneralRecipe, question
from data_registry.questions.geometry import Margins, layout
from data_registry.questions.phrasing import wordings
from data_registry.questions.probing import ProbingRecipe
from data_registry.questions.types import QUESTION_TYPES, STANDARD, claims
from data_registry.questions.words import elevation, quantity
from tests.data_registry.questions.question_check import check_question, check_turn
from tests.data_registry.questions.question_reader import readings
from tests.data_registry.questions.question_solver import Solver
from tests.data_registry.questions.question_worlds import random_scenes

MARGINS = Margins()
SIDES = ("front", "front left", "left", "behind left", "behind", "behind right", "right", "front right")

EXTRA = [name for name in QUESTION_TYPES if name not in STANDARD]


@pytest.fixture(scope="module")
def scenes():
    return {scene.image: scene for scene in random_scenes(400, seed=5)}


@pytest.fixture(scope="module")
def turns(scenes):
    """(scene, type, human, gpt) of a 3DI-Ft made from them."""
    records = conversations(list(scenes.values()), "3di-ft1m", 0, DialogueRecipe(turns=(3, 12)), MARGINS, Counter())
    return [
        (scenes[record["image"]], type_, human, gpt)
        for record in records
        for type_, (human, gpt) in zip(record["types"], pairs(record), strict=True)
    ]


def test_every_two_option_question_of_the_conversations(turns):
    asked = Counter()
    for scene, type_, human, gpt in turns:
        if type_ in STANDARD:
            asked[type_, check_turn(scene, type_, human, gpt)] += 1
    assert len(asked) == 2 * len(STANDARD), "a type was never asked in one of the two forms"


def test_distances_in_free_answers(turns):
    checked = 0
    for scene, type_, _, gpt in turns:
        if type_ not in STANDARD or QUESTION_TYPES[type_].class_ != "distance":
            continue
        solver = Solver(scene)
        with_distances = tuple(a for a in wordings()[type_].answers if "{d_" in a)
        for slots in readings(with_distances, gpt):
            near = solver.find(slots["x"]) if "x" in slots else None
            if near is None and "object" in type_:
                break  # this wording leaves {x} out; the statements below check the same table
            for role in ("answer", "other"):
                name = slots[role][0].lower() + slots[role][1:]
                assert slots[f"d_{role}"] == quantity(solver.distance(solver.find(name), near)), gpt
            checked += 1
            break
    assert checked > 10


def test_every_question_beyond_the_roadmaps(scenes):
    """The types of 3DSRBench and SpatialRGPT-Bench that a recipe may ask for besides, with letters and without."""
    asked, rng = Counter(), random.Random(0)
    for scene in scenes.values():
        known = layout(scene, MARGINS, Counter())
        extra = (claim for claim in claims(known, MARGINS, Counter(), EXTRA) if claim.type in EXTRA)
        for k, claim in enumerate(extra):
            if asked[claim.type, k % 2 == 0] < 60:
                turn = question(fact(claim, known), rng.random() < 0.5, rng, k % 2 == 0)
                assert check_turn(scene, claim.type, turn.human, turn.gpt) == (k % 2 == 0)
                asked[claim.type, k % 2 == 0] += 1
    assert len(asked) == 2 * len(EXTRA)


def test_a_recipe_names_what_it_wants_besides(scenes):
    recipe = DialogueRecipe(turns=(3, 12), extra=("taller", "shorter", "parallel", "object_width"))
    records = conversations(list(scenes.values()), "3di-ft1m", 0, recipe, MARGINS, Counter())
    types = Counter(type_ for record in records for type_ in record["types"])
    assert set(types) & {*EXTRA, *statements.MAKERS} - set(statements.SPATIAL) == set(recipe.extra)
    assert set(STANDARD) < set(types)
    with pytest.raises(InputError, match=r"recipe\.extra: 'taler': unknown, did you mean taller"):
        DialogueRecipe(extra=("taler",))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (DialogueRecipe, {"turns": (10, 6)}, r"turns: \[10, 6\]: must be the fewest, 1 or more, and the most"),
        (DialogueRecipe, {"turns": (0, 6)}, r"turns: \[0, 6\]: must be the fewest, 1 or more, and the most"),
        (GeneralRecipe, {"turns": (3, 1)}, r"turns: \[3, 1\]: must be the fewest"),
        (ProbingRecipe, {"types": ("object_size",), "sentences": (4, 2)}, r"sentences: \[4, 2\]: must be the fewest"),
        (GeneralRecipe, {"text_share": 6}, "text_share: 6: must be from 0 to 1"),
        (DialogueRecipe, {"choice_share": -0.5}, "choice_share: -0.5: must be from 0 to 1"),
        (DialogueRecipe, {"shard": 0}, "shard: 0: must be 1 or more"),
    ],
)
def test_a_recipe_that_makes_nothing_is_refused(kind, values, message):
    with pytest.raises(InputError, match=rf"^recipe\.{message}"):
        kind(**values)


def test_every_benchmark_question(scenes):
    questions = build(list(scenes.values()), Quotas(60, 60, 60), 3, MARGINS, 0, Counter())
    for q in questions:
        check_question(scenes[q.image], q)
    assert {q.type for q in questions} == set(STANDARD)


@pytest.mark.parametrize("type_", sorted(statements.MAKERS))
def test_every_statement(scenes, type_):
    rng, drops, made = random.Random(1), Counter(), 0
    for scene in scenes.values():
        statement = statements.MAKERS[type_](layout(scene, MARGINS, drops), MARGINS, rng)
        if statement is None:
            continue
        made += 1
        s, solver = statement.slots, Solver(scene)
        x = solver.find(s["x"]) if "x" in s else None
        y = solver.find(s["y"]) if "y" in s else None
        if type_ == "depth_order":
            order = s["ordered"].replace(" and ", ", ").split(", ")
            metres = [solver.distance(solver.find(name)) for name in order]
            assert metres == sorted(metres)
            assert sorted(order) == sorted(s["objects"].replace(" and ", ", ").split(", "))
        if "d" in s:
            assert s["d"] == quantity(solver.distance(x, y))
        if "h" in s:
            corners = solver.world[:3, :3] @ x.corners().T
            assert s["h"] == quantity(corners[2].max() - corners[2].min())
        if "w" in s:
            ahead = np.linalg.inv(solver.pose(x))[:3, :3] @ solver.world[:3, :3] @ x.front
            assert abs(ahead[0]) > 0.999, "in these worlds a front is the first axis, so the width lies along the third"
            assert s["w"] == quantity(float(np.ptp((x.corners() - x.center) @ x.R[:, 2])))
        if "across" in s:
            assert s["across"] == quantity(abs(solver.ground(x) - solver.ground(y)))
        if "climb" in s:
            assert s["climb"] == quantity(solver.pose(x)[2, 3] - solver.pose(y)[2, 3])
        if "place" in s:
            third = (x.bbox[0] + x.bbox[2]) / 2 / scene.camera.width
            assert (
                s["place"] == "on the left" if third < 1 / 3 else "on the right" if third > 2 / 3 else "in the middle"
            )
        if "facing" in s:
            assert s["seen"] == _seen(solver, x)
            assert (("left" in s["facing"]), ("right" in s["facing"])) == (
                "left side" in s["seen"],
                "right side" in s["seen"],
            )
            assert ("towards" in s["facing"]) == ("front" in s["seen"])
            assert ("away" in s["facing"]) == ("back" in s["seen"])
        if "relation" in s:
            sector = SIDES[round(solver.bearing(x, y) / 45) % 8].split()
            words = [word for word in ("front", "behind", "left", "right") if word in s["relation"]]
            assert words == sector
        if "azimuth" in s:
            off = (_azimuth(solver, x) - float(s["azimuth"]) + 180) % 360 - 180
            assert abs(off) <= 5.01
        if "elevation" in s:
            ahead, down, left = (np.linalg.inv(solver.pose(x)) @ [0, 0, 0, 1])[:3]
            assert s["elevation"] == elevation(math.degrees(math.atan2(-down, math.hypot(ahead, left))))
        for text in (statement.answer(rng), statement.question(rng) if wordings()[type_].training else ""):
            assert "{" not in text
    assert made > 30


def _azimuth(solver, x) -> float:
    """From the front of x to the left, to the camera."""
    return math.degrees(cmath.phase(-solver.ground(x) / solver.heading(x)))


def _seen(solver, x) -> str:
    names = ("its front", "its front and left side", "its left side", "its back and left side")
    names += ("its back", "its back and right side", "its right side", "its front and right side")
    return names[round(_azimuth(solver, x) / 45) % 8]
