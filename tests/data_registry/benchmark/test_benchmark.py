"""The SpatialVQA builder: quotas, room per image, ids that never change, and clear refusals."""

import random
from collections import Counter
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from data_registry.benchmark import spatialvqa
from data_registry.benchmark.spatialvqa import Quotas, build, question_id, shared_images
from data_registry.errors import InputError
from data_registry.paper import BENCHMARK
from data_registry.questions.facts import fact
from data_registry.questions.geometry import Margins, layout
from data_registry.questions.types import QUESTION_TYPES, STANDARD
from data_registry.questions.types import claims as spatial_claims
from tests.data_registry.questions.question_worlds import random_scenes

MARGINS = Margins()


@pytest.fixture(scope="module")
def scenes():
    return random_scenes(400, seed=3)


@pytest.fixture(scope="module")
def questions(scenes):
    return build(scenes, Quotas(60, 51, 72), 2, MARGINS, 0, Counter())


def test_the_default_is_as_large_as_the_papers():
    quotas = Quotas()
    assert quotas.distance + quotas.orientation + quotas.relation == BENCHMARK["questions"] == 1323


def test_quotas_and_room_per_image(questions):
    assert Counter(q.class_ for q in questions) == {"distance": 60, "orientation": 51, "relation": 72}
    assert max(Counter(q.image for q in questions).values()) <= 2
    for class_ in spatialvqa.CLASSES:
        shares = Counter(q.type for q in questions if q.class_ == class_).values()
        assert max(shares) - min(shares) <= 2, "types share their class's quota evenly"


def test_no_question_is_asked_twice(questions):
    assert len({q.id for q in questions}) == len(questions)
    about = Counter((q.image, q.class_, frozenset(q.objects)) for q in questions)
    assert max(about.values()) == 1, "closer and farther of the same objects are one question"


def test_ids_depend_on_image_question_and_objects_alone(scenes, questions):
    shuffled = random.Random(1).sample(scenes, len(scenes))
    again = build(shuffled, Quotas(60, 51, 72), 2, MARGINS, 99, Counter())

    def about(q):
        side = next((s for s in ("left", "right", "front", "ahead", "behind") if s in q.question), "")
        words = frozenset(q.options) if q.type == "side_to_viewer" else frozenset()
        return q.image, q.type, q.objects, words, side if q.type in ("object_on_side", "object_ahead") else ""

    known = {q.id: about(q) for q in questions}
    both = [q for q in again if q.id in known]
    assert len(both) >= 5, "another seed chooses other questions, but some must coincide"
    assert all(known[q.id] == about(q) for q in both)


def test_ids_are_what_they_were(scenes):
    """Golden: a change here breaks every comparison with results of the past."""
    ids = {}
    for scene in scenes[:40]:
        known = layout(scene, MARGINS, Counter())
        for claim in spatial_claims(known, MARGINS, Counter()):
            ids.setdefault(claim.type, question_id(scene.image, fact(claim, known)))
    assert ids == GOLDEN


def test_the_same_seed_gives_the_same_questions(scenes, questions):
    assert build(scenes, Quotas(60, 51, 72), 2, MARGINS, 0, Counter()) == questions


def test_too_few_scenes_says_how_many_more(scenes):
    with pytest.raises(
        InputError, match=r"40 test scenes give .* of 420 distance.*about \d+ more test scenes"
    ) as error:
        build(scenes[:40], Quotas(), 3, MARGINS, 0, Counter())
    assert "params.yaml: scenes" in str(error.value)
    with pytest.raises(InputError, match="more test scenes are needed"):
        build([], Quotas(), 3, MARGINS, 0, Counter())


def test_parquet_keeps_every_field(tmp_path, questions):
    path = tmp_path / "questions.parquet"
    spatialvqa.write(path, questions)
    back = spatialvqa.read(path)
    assert [q._replace(boxes=()) for q in back] == [q._replace(boxes=()) for q in questions]
    for ours, theirs in zip(questions, back, strict=True):
        assert theirs.boxes == tuple(pytest.approx(box) for box in ours.boxes)
    assert pq.read_schema(path).names[:9] == [
        "id", "image", "question", "options", "answer", "type", "class", "names", "objects"
    ]  # fmt: skip


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "questions.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"questions\.parquet.*build the benchmark again"):
        spatialvqa.read(path)


def test_shared_images_are_found_by_content_not_by_name():
    test = [("a.jpg", b"one"), ("b.jpg", b"two")]
    assert shared_images(test, [("x.jpg", b"three"), ("a.jpg", b"four")]) == []
    assert shared_images(test, [("x.jpg", b"three"), ("y.jpg", b"two")]) == [("b.jpg", "y.jpg")]


def test_margins_drop_and_count(scenes):
    strict, drops = replace(MARGINS, closer_ratio=1.0, axis_deg=5.0), Counter()
    loose_drops = Counter()
    counts = [
        Counter(c.type for s in scenes[:60] for c in spatial_claims(layout(s, m, d), m, d))
        for m, d in ((strict, drops), (MARGINS, loose_drops))
    ]
    assert counts[0]["closer_to_viewer"] < counts[1]["closer_to_viewer"]
    assert drops["closer_to_viewer: margin"] > loose_drops["closer_to_viewer: margin"]
    # Nothing vanishes uncounted: what one margin keeps and another drops is in the difference of the counts.
    kept = counts[1]["closer_to_viewer"] + sum(n for k, n in loose_drops.items() if k.startswith("closer_to_viewer"))
    assert kept == counts[0]["closer_to_viewer"] + sum(n for k, n in drops.items() if k.startswith("closer_to_viewer"))


def flat(q: spatialvqa.Question) -> int:
    return QUESTION_TYPES[q.type].flat(q)


def test_flat_rules_answer_every_type(questions):
    answers = {q.type: set() for q in questions}
    for q in questions:
        answers[q.type].add(flat(q))
        assert flat(q) in (0, 1)
    assert set(answers) == set(STANDARD)


def test_flat_rules_read_the_boxes():
    q = spatialvqa.Question(
        "0", "i", "Which object is nearer to the viewer?", ("the dog", "the car"), 0, "closer_to_viewer", "distance",
        ("car", "dog"), (1, 2), ((0, 0, 10, 20), (20, 0, 30, 40)),
    )  # fmt: skip
    assert flat(q) == 0, "the dog stands lower in the picture"
    assert flat(q._replace(type="farther_from_viewer")) == 1
    side = q._replace(type="left_or_right", options=("on the left", "on the right"))
    assert flat(side) == 1, "y is right of x in the picture"


GOLDEN = {
    "closer_to_object": "38238644cb388beb",
    "closer_to_viewer": "d75b807c105206c6",
    "facing_object": "8fe791b8f6019501",
    "farther_from_object": "c5ea7f9be7a140c2",
    "farther_from_viewer": "89957c5a81672bd3",
    "front_or_behind": "e603aba8db217ec8",
    "left_or_right": "6a57b21c329ae713",
    "object_ahead": "d3dadec61eb077ab",
    "object_on_side": "de204315a4360f70",
    "pointing": "af1d11729c36e197",
    "same_direction": "059db8f9ea99786d",
    "side_to_viewer": "7c48212b6a595eea",
    "towards_viewer": "dc75299573ce5506",
}
