"""The same truth on what the readers give: rendered scenes through Omni3D files, and real KITTI frames."""

from collections import Counter
from dataclasses import replace

import pytest

from data_registry import render
from data_registry.benchmark.spatialvqa import Quotas, build
from data_registry.conversations import pairs
from data_registry.questions.dialogue import DialogueRecipe, conversations
from data_registry.questions.facts import fact
from data_registry.questions.geometry import Margins, layout
from data_registry.questions.phrasing import option_texts
from data_registry.questions.types import QUESTION_TYPES, STANDARD
from data_registry.questions.types import claims as spatial_claims
from data_registry.readers import omni3d
from tests.data_registry.questions.question_check import check_question, check_turn
from tests.data_registry.questions.question_solver import Solver
from tests.samples import SAMPLES

KITTI = SAMPLES / "omni3d_from_kitti/KITTI_sample_omni3d.json"
MARGINS = Margins()
FAR = replace(MARGINS, min_height=0.05)  # a street's objects are small in its wide pictures


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """150 rendered scenes as their Omni3D file gives them back, by key."""
    path = tmp_path_factory.mktemp("rendered") / "annotations.json"
    info = {"id": render.DATASET_ID, "source": render.SOURCE, "name": "t", "split": "test", "version": "1", "url": ""}
    with omni3d.Writer(path, info, render.categories()) as file:
        for index in range(150):
            world = render.sample(7, index)
            file.add(*render.records(world, render.render(world, 48), f"{index:06d}.jpg"))
    return {scene.image: scene for scene in omni3d.read(path)}


def test_conversations_about_rendered_scenes_are_true(rendered):
    checked = Counter()
    for record in conversations(rendered.values(), "3di-ft1m", 0, DialogueRecipe(turns=(4, 10)), MARGINS, Counter()):
        for type_, (human, gpt) in zip(record["types"], pairs(record), strict=True):
            if type_ in STANDARD:
                check_turn(rendered[record["image"]], type_, human, gpt)
                checked[type_] += 1
    assert set(checked) == set(STANDARD)


def test_a_benchmark_of_rendered_scenes_is_true(rendered):
    questions = build(list(rendered.values()), Quotas(36, 26, 36), 3, MARGINS, 0, Counter())
    for q in questions:
        check_question(rendered[q.image], q)


@pytest.mark.skipif(not KITTI.exists(), reason="the real samples are not on this machine")
def test_real_kitti_frames_give_true_questions():
    asked = Counter()
    for scene in omni3d.read(KITTI):
        scene = replace(scene, ignored=())  # beside what KITTI left out, no name is known to be of one thing
        known = layout(scene, FAR, Counter())
        solver = Solver(scene)
        for claim in spatial_claims(known, FAR, Counter()):
            f = fact(claim, known)
            options = option_texts(f)
            assert options[f.answer] == solver.answer(f.type, f.slots, options), (scene.image, f)
            asked[QUESTION_TYPES[f.type].class_] += 1
    assert set(asked) == {"distance", "orientation", "relation"}


@pytest.mark.skipif(not KITTI.exists(), reason="the real samples are not on this machine")
def test_a_real_frame_says_what_a_person_sees():
    """Frame 000001: a truck far ahead in the middle, a car on the left, a cyclist on the right."""
    scene = next(s for s in omni3d.read(KITTI) if s.image.endswith("000001.png"))
    assert len(scene.ignored) == 4
    known = layout(replace(scene, ignored=()), FAR, Counter())
    said = set()
    for claim in spatial_claims(known, FAR, Counter()):
        f = fact(claim, known)
        said.add((f.type, *f.slots.values(), option_texts(f)[f.answer]))
    assert ("closer_to_viewer", "the cyclist") in said
    assert ("farther_from_viewer", "the truck") in said
