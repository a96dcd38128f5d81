"""What the stages `data` and `benchmark` make of given scenes, as digests.

Where one changes on purpose, raise `versions.data` or `versions.benchmark` in params.yaml with it: results computed by
the former code must not pass for results of this one."""

import hashlib
import json
from collections import Counter

import pytest

from data_registry.benchmark.spatialvqa import Quotas, build
from data_registry.questions import dialogue, general, probing
from data_registry.questions.geometry import Margins
from tests.data_registry.questions.question_worlds import random_scenes

SCENES = random_scenes(60, seed=31)
MARGINS = Margins()
PROBING = {
    "3di-pb-oi1m": ("object_distance", "pair_distance", "object_distance", "depth_order"),
    "3di-pb-in166k": ("object_azimuth",) * 5 + ("object_elevation",),
}


def digest(records) -> str:
    """Of a list of records, by value."""
    return hashlib.sha256(json.dumps(list(records), sort_keys=True).encode()).hexdigest()[:16]


def made(name: str) -> str:
    drops: Counter[str] = Counter()
    if name == "cc558k":
        return digest(general.captions(SCENES, name, 0, general.CaptionRecipe(), MARGINS, drops))
    if name == "mix665k":
        return digest(general.instructions(SCENES, name, 0, general.GeneralRecipe(), MARGINS, drops))
    if name == "3di-ft1m":
        return digest(dialogue.conversations(SCENES, name, 0, dialogue.DialogueRecipe(), MARGINS, drops))
    if name == "spatialvqa":
        questions = build(SCENES, Quotas(10, 10, 10), 3, MARGINS, 0, drops)
        return digest([*q[:-1]] for q in questions)
    return digest(probing.captions(SCENES, name, 0, probing.ProbingRecipe(PROBING[name]), MARGINS, drops))


@pytest.mark.parametrize(("name", "expected"), [
    ("cc558k", "194c9a410e70c012"),
    ("mix665k", "bf4cd1150b03220d"),
    ("3di-pb-oi1m", "b43aca37495dc85f"),
    ("3di-pb-in166k", "7d211c3b031093f5"),
    ("3di-ft1m", "b42f1038a37642e7"),
    ("spatialvqa", "b55e6df778beb082"),
])  # fmt: skip
def test_the_same_scenes_still_give_the_same_data(name, expected):
    assert made(name) == expected, "raise the stage's version in params.yaml with this digest"
