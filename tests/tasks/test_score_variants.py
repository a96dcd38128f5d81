"""Scores of CircularEval and FlipEval: shares by class, and pictures that are seen in a mirror."""

import io

import numpy as np
import pytest
from PIL import Image

from data_registry.benchmark.spatialvqa import Question
from data_registry.benchmark.variants import Variant
from data_registry.storage import shards
from tasks.score import consistency


def question(id_: str, class_: str, answer: int) -> Question:
    return Question(id_, f"{id_}.jpg", "Which?", ("the car", "the dog"), answer, "type", class_, (), (), ())


def test_only_questions_right_in_all_forms_count_by_class():
    questions = [question("a", "distance", 0), question("b", "distance", 1), question("c", "relation", 1)]
    asked = [
        Variant(q.id, kind, q.image, kind == "flip", q.question, q.options, answer)
        for q in questions
        for kind, answer in (("circular", 1 - q.answer), ("flip", q.answer))
    ]
    right = [v.answer for v in asked]
    wrong_flip = [1 - v.answer if (v.id, v.kind) == ("b", "flip") else v.answer for v in asked]
    truth = [q.answer for q in questions]
    assert consistency(questions, truth, asked, right)["both"] == {"average": 1.0, "distance": 1.0, "relation": 1.0}
    found = consistency(questions, truth, asked, wrong_flip)
    assert found["circular"]["average"] == 1
    assert found["flip"] == found["both"] == {"average": pytest.approx(2 / 3), "distance": 0.5, "relation": 1.0}
    first_wrong = consistency(questions, [1, 1, 1], asked, right)
    assert first_wrong["circular"] == {"average": pytest.approx(2 / 3), "distance": 0.5, "relation": 1.0}


def test_a_mirrored_picture_is_the_picture_from_right_to_left(tmp_path):
    from tasks.training.features import LiveImages, MirroredImages

    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[:, :8] = 255
    data = io.BytesIO()
    Image.fromarray(rgb).save(data, "PNG")
    with shards.Writer(tmp_path) as packed:
        packed.add("a.png", data.getvalue(), 32, 32)
    plain, mirrored = (
        kind(shards.Images(tmp_path), 32)(["a.png"])["pixel_values"] for kind in (LiveImages, MirroredImages)
    )
    assert (plain[..., :8] == 255).all()
    assert (mirrored[..., -8:] == 255).all()
    assert (mirrored == plain.flip(-1)).all()
