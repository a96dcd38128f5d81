"""A user's own data set, encoder, LLM, question type, benchmark and reader, from a folder outside of the project."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from data_registry import extensions
from data_registry.benchmark import table as benchmarks
from data_registry.cards import datasets
from data_registry.errors import InputError
from data_registry.questions import types
from data_registry.questions.dialogue import DialogueRecipe, conversations
from data_registry.questions.geometry import Margins
from data_registry.readers import table as readers
from flows.costs.cost import Costs
from flows.designs.design import parse
from flows.designs.plan import plan_of
from flows.roadmap import describe
from model import zoo
from tasks import data
from tasks.identity import settings
from tasks.report import Entry, build_report, figures
from tasks.report.names import kind
from tests.data_registry.questions.question_worlds import random_scenes
from tests.tasks.report import study

CARD = """
name: rooms
title: My Rooms
kind: probing
source: rendered scenes
license: mine
obtain: {how: made, put: made by its data stage}
spatial_3d: true
work: 3.0
params:
  recipe: {types: [object_distance], sentences: [1, 2]}
"""
OWN = """
from pathlib import Path

from data_registry.benchmark import spatialvqa
from data_registry.benchmark.table import BENCHMARKS
from data_registry.questions.facts import between
from data_registry.questions.types import QUESTION_TYPES, QuestionType
from data_registry.readers import kitti
from data_registry.readers.table import READERS
from model.zoo import ENCODERS, LLMS, LLMSpec, Scales


def rightmost(scene, margins, drops):
    middle = [o.bbox[0] + o.bbox[2] for o in scene.objects]
    for i in range(len(middle)):
        for j in range(i + 1, len(middle)):
            yield between("rightmost", scene, i, j, i if middle[i] > middle[j] else j)


QUESTION_TYPES["rightmost"] = QuestionType("relation", rightmost, Path(__file__).with_name("rightmost.yaml"))
ENCODERS["eye"] = Scales("My Eye", tiny=ENCODERS["clip"]["tiny"])
LLMS["tongue"] = Scales("My Tongue", tiny=LLMSpec("chat"))
BENCHMARKS["rooms"] = spatialvqa.build
READERS["my-kitti"] = kitti.scenes
"""
WORDING = """
rightmost:
  training: ["Which stands rightmost{choice}?"]
  benchmark: ["Which is rightmost?"]
  answers: ["{answer}."]
"""
DESIGN = "eye_tongue_cc558k_mix665k+rooms"


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """The folder; what it adds is gone after the test."""
    folder = tmp_path / "own"
    (folder / "cards").mkdir(parents=True)
    (folder / "cards" / "rooms.yaml").write_text(CARD)
    (folder / "own.py").write_text(OWN)
    (folder / "rightmost.yaml").write_text(WORDING)
    tables = (zoo.ENCODERS, zoo.LLMS, types.QUESTION_TYPES, benchmarks.BENCHMARKS, readers.READERS, datasets.ADDED)
    before = [dict(table) for table in tables]
    yield folder
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def test_they_are_part_of_designs_plans_questions_costs_and_reports(tmp_path, own):
    extensions.load(tmp_path, ["own"])
    design = parse(DESIGN)
    plan = plan_of([design])
    assert plan.entry("data/rooms")["parts"] == {
        "dataset": "rooms",
        "params": {"recipe": {"types": ["object_distance"], "sentences": [1, 2]}},
    }
    assert {"foundation/eye", "foundation/tongue", "benchmark/rooms", "baselines/rooms"} <= set(plan.runs())
    spelled = figures.parts(
        {"encoders": ["eye"], "llm": "tongue", "stage1": ["cc558k"], "stage2": ["mix665k", "rooms"]}
    )
    assert (spelled["encoders"], spelled["llm"], spelled["stage2"]) == ("My Eye", "My Tongue", "Mix665K + My Rooms")
    (tmp_path / "params.yaml").write_text("scale: tiny\nextensions: [own]\n")
    with_rooms, without = f"instruct/{DESIGN}", "instruct/eye_tongue_cc558k_mix665k"
    costs = Costs(tmp_path, plan_of([design, parse("eye_tongue_cc558k_mix665k")]))
    assert costs.seconds(with_rooms) == pytest.approx(costs.seconds(without) * (2 + 3) / 2)
    recipe = DialogueRecipe(turns=(2, 6), extra=("rightmost",))
    made = conversations(random_scenes(40, seed=2), "x", 0, recipe, Margins(), Counter())
    assert "rightmost" in {type_ for record in made for type_ in record["types"]}
    assert readers.reader("my-kitti", "")


def test_they_run_in_a_flow(served, own):
    params = served.params()
    params["extensions"] = ["../own"]
    params["designs"] = []
    for name, like in (("eye", "clip"), ("tongue", "vicuna-7b")):
        params["foundation"]["tiny"]["each"][name] = params["foundation"]["tiny"]["each"][like]
    served.set_params(params)
    (served.root / "plan.yaml").unlink()  # rows that this test does not run
    served.spatialllm("run", DESIGN)
    assert {"data/rooms", "benchmark/rooms", "baselines/rooms", "foundation/eye", f"score/{DESIGN}"} <= set(
        served.executed
    )
    output = json.loads((served.out("data/rooms") / "output.json").read_text())
    recipe = {"types": ["object_distance"], "sentences": [1, 2]}
    assert output["params"] == {**params["data"]["tiny"]["common"], "recipe": recipe}

    served.forget()
    assert "up to date" in served.run(sys.executable, "-m", "dvc", "repro")
    assert served.executed == []
    card = own / "cards" / "rooms.yaml"
    card.write_text(card.read_text().replace("[1, 2]", "[2, 2]"))
    served.spatialllm("run", DESIGN)
    assert sorted(served.executed) == ["data/rooms", f"instruct/{DESIGN}", f"score/{DESIGN}"]


def test_the_report_prints_their_names(tmp_path, own):
    extensions.load(tmp_path, ["own"])
    questions = study.write_benchmark(tmp_path, per_class=(12, 12, 12), images=6)
    plain = "eye_tongue_cc558k_mix665k"
    designs = [parse(name) for name in (plain, DESIGN)]
    for skill, design in zip((0.5, 0.8), designs, strict=True):
        study.write_score(tmp_path, questions, design.name, skill, seed=3)
    entries = [Entry(design.name, describe(design)) for design in designs]
    results = build_report(tmp_path, "tiny", entries, tmp_path / "report")
    assert [row["name"] for row in results["designs"]] == [plain, DESIGN]
    page = (tmp_path / "report" / "report.html").read_text()
    for name in ("My Eye", "My Tongue", "My Rooms"):
        assert name in page
    assert [kind(describe(design)) for design in designs] == ["plain", "informed"], "as the card says of its 3D"
    assert kind({"stage0": "3di-pb-oi1m-ntp", "stage1": ["cc558k"]}) == "informed"


def test_an_edited_card_is_another_identity_of_its_set_and_of_no_other(tmp_path, own):
    """Promise 1: what a set is made of is in its identity, wherever it is written."""
    (tmp_path / "params.yaml").write_text(
        "scale: tiny\nseed: 0\nextensions: [own]\nversions: {data: 3}\n"
        "data: {tiny: {common: {seed: 3}, each: {cc558k: {}, mix665k: {}, 3di-ft1m: {}}}}\n"
    )

    def sections() -> dict[str, dict]:
        extensions.load(tmp_path, ["own"])
        plan = plan_of([parse("eye_tongue_cc558k_mix665k+rooms")])
        known = settings.Settings(tmp_path, settings.read_yaml(tmp_path / "params.yaml"), plan.entries)
        names = ("rooms", "mix665k")
        return {name: {"params": known.section("data", name), **plan.entry(f"data/{name}")} for name in names}

    before = sections()
    assert before["rooms"]["params"] == {"seed": 3, "recipe": {"types": ["object_distance"], "sentences": [1, 2]}}
    assert (before["rooms"]["section"], before["mix665k"]["section"]) == ("common", "each.mix665k")
    card = own / "cards" / "rooms.yaml"
    card.write_text(card.read_text().replace("[1, 2]", "[2, 2]"))
    after = sections()
    assert after["rooms"]["parts"] != before["rooms"]["parts"]
    assert after["rooms"]["params"] != before["rooms"]["params"]
    assert after["mix665k"] == before["mix665k"]


def test_parameters_in_the_card_and_in_params_yaml_are_one_too_many(tmp_path, own):
    (tmp_path / "params.yaml").write_text(
        "scale: tiny\nextensions: [own]\ndata: {tiny: {common: {seed: 3}, each: {rooms: {seed: 4}}}}\n"
    )
    extensions.load(tmp_path, ["own"])
    entries = plan_of([parse(DESIGN)]).entries
    known = settings.Settings(tmp_path, settings.read_yaml(tmp_path / "params.yaml"), entries)
    with pytest.raises(InputError, match=r"each\.rooms: its card has params too; keep one of them"):
        known.section("data", "rooms")


def test_a_wrong_recipe_in_a_card_is_named_by_the_card(tmp_path, own):
    """Before anything runs, and not as a key of params.yaml, which has none."""
    card = own / "cards" / "rooms.yaml"
    card.write_text(card.read_text().replace("sentences: [1, 2]", "sentences: 0"))
    extensions.load(tmp_path, ["own"])
    values = {"seed": 3, **datasets.card("rooms").params}
    with pytest.raises(InputError, match=r"^rooms\.yaml: params\.recipe\.sentences: expected a list"):
        data.read_params("rooms", values, "params.yaml: data.tiny")
