"""No generator uses what a source does not have: poses without metres, boxes without 3D."""

import math
import random
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_registry.questions import probing
from data_registry.questions.geometry import Margins, layout
from data_registry.questions.statements import SPATIAL, several
from data_registry.questions.types import claims as spatial_claims
from data_registry.readers import imagenet3d, openimages
from data_registry.readers.imagenet3d_pickles import SCHEMA

DEPTH, POSE = ("object_distance", "pair_distance", "depth_order"), ("object_azimuth", "object_elevation")
METRIC = re.compile(r"\d\s*(m|cm|met|cent)|metre|meter|centi|feet|inch")
MARGINS = Margins()


@pytest.fixture(scope="module")
def posed(tmp_path_factory):
    """ImageNet3D pictures of a car, a chair and a bottle in random poses; the annotations by picture and class."""
    rng, rows = random.Random(4), []
    for number in range(40):
        for place, name in enumerate(("car", "chair", "bottle")):
            rows.append(
                {
                    "image": f"a/{number}.JPEG",
                    "width": 640,
                    "height": 480,
                    "class": name,
                    "azimuth": rng.uniform(0, 2 * math.pi),
                    "elevation": rng.uniform(-0.2, 1.0),
                    "theta": rng.uniform(-0.3, 0.3),
                    "distance": 5.0,
                    "bbox": [200.0 * place, 100.0, 200.0 * place + 180, 400.0],
                    "object_status": "status_good",
                }
            )
    path = tmp_path_factory.mktemp("imagenet3d") / "table.parquet"
    pq.write_table(pa.Table.from_pylist([dict.fromkeys(SCHEMA.names) | row for row in rows], SCHEMA), path)
    return list(imagenet3d.read(path)), {(row["image"], row["class"]): row for row in rows}


def test_the_azimuth_of_a_pose_is_the_annotated_one(posed):
    scenes, annotated = posed
    for scene in scenes:
        seen = layout(scene, MARGINS, Counter())
        for x, thing in enumerate(seen.objects):
            row = annotated[scene.image, thing.name]
            if thing.name == "bottle":
                assert math.isnan(seen.azimuth[x])
                continue
            difference = seen.azimuth[x] - math.degrees(row["azimuth"])
            assert abs((difference + 180) % 360 - 180) < 1e-6
            assert seen.elevation[x] == pytest.approx(math.degrees(row["elevation"]))


def test_a_pose_has_no_metres_and_compares_with_no_other(posed):
    seen = layout(posed[0][0], MARGINS, Counter())
    for table in (seen.distance, seen.near, seen.pair, seen.gap, seen.turn):
        assert np.isnan(np.array(table, dtype=float)[~np.eye(3, dtype=bool)] if table is seen.gap else table).all()


def test_captions_of_poses_say_azimuth_and_nothing_metric(posed):
    drops = Counter()
    records = list(probing.captions(posed[0], "pb", 1, probing.ProbingRecipe(POSE), MARGINS, drops))
    assert len(records) == len(posed[0])
    for record in records:
        text = record["conversations"][1]["value"]
        assert not METRIC.search(text)
        assert "bottle" not in text  # turned about its axis it looks the same


def test_depth_is_stated_of_nothing_without_a_position(posed):
    drops = Counter()
    assert not list(probing.captions(posed[0], "pb", 1, probing.ProbingRecipe(DEPTH), MARGINS, drops))
    assert drops["image: nothing to state"] == len(posed[0])


def test_questions_on_poses_are_about_one_object_and_the_viewer(posed):
    types = set()
    for scene in posed[0]:
        seen = layout(scene, MARGINS, Counter())
        for claim in spatial_claims(seen, MARGINS, Counter()):
            types.add(claim.type)
            assert len(claim.roles) == 1, claim
        for statement in several(seen, 6, SPATIAL, random.Random(scene.image), MARGINS):
            assert not METRIC.search(statement.answer(random.Random(1)))
    assert types


def test_boxes_alone_state_nothing_in_3d(tmp_path):
    (tmp_path / "classes.csv").write_text("LabelName,DisplayName\n/m/1,Car\n/m/2,Dog\n")
    rows = [f"00000000000000ff,xclick,/m/{k},1,{k / 10},{k / 5},0.2,0.8" for k in (1, 2)]
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax"
    (tmp_path / "boxes.csv").write_text("\n".join([head, *rows]))
    (scene,) = openimages.read(tmp_path / "boxes.csv", tmp_path / "classes.csv", lambda key: (640, 480))
    seen = layout(scene, MARGINS, Counter())
    assert len(seen.objects) == 2
    assert not list(spatial_claims(seen, MARGINS, Counter()))
    assert not several(seen, 4, (*DEPTH, *POSE, *SPATIAL), random.Random(1), MARGINS)
    assert not list(spatial_claims(layout(replace(scene, objects=()), MARGINS, Counter()), MARGINS, Counter()))
