"""What a training reads: shares of data sets, rows of turns, and samples that cannot be learned from."""

import dataclasses
import json
import shutil

import pytest

from data_registry import conversations
from data_registry.errors import InputError
from tasks import instruct
from tasks.training import mix_reader
from tests.tasks.training_project import BLIND, IMAGES, stage_run


def test_fractions_are_nested_and_independent_of_order(root, tmp_path):
    run = stage_run(root, "instruct", BLIND, tmp_path)
    ids = {f: [c.id for c in mix_reader.read_conversations(run, f)] for f in (0.3, 0.6, 1.0)}
    assert set(ids[0.3]) < set(ids[0.6]) < set(ids[1.0])
    assert len(ids[1.0]) == IMAGES
    with pytest.raises(InputError, match=r"instruct\.tiny\.fraction"):
        dataclasses.replace(run, params={**run.params, "fraction": 0}).parse(instruct.Params)
    (name,) = {folder.name for folder in run.inputs["data"]}
    half = dataclasses.replace(run, parts={**run.parts, "shares": {name: 0.5}})
    shared = [c.id for c in mix_reader.read_conversations(half, 0.6)]
    assert shared == ids[0.3], "half of the data set at 0.6 of all is 0.3 of it"
    mixed = [c.id for c in mix_reader.read_conversations(half, 1.0, {name: IMAGES})]
    assert len(mixed) == IMAGES // 2, "the design's share is of the number that the mix names"
    assert mixed == [c.id for c in mix_reader.read_conversations(run, 1.0, {name: IMAGES // 2})]


def test_regrouped_turns_are_all_there_once():
    from model.conversations.samples import Conversation

    found = [Conversation(f"s{k}", f"i{k % 2}", tuple((f"q{k}{j}" * (j + 1), "a") for j in range(5))) for k in range(6)]
    rows = mix_reader.regroup(found, 4)
    assert all(len(row.turns) <= 4 for row in rows)
    assert sorted((row.image, t) for row in rows for t in row.turns) == sorted(
        (c.image, t) for c in found for t in c.turns
    )
    assert len(rows) == 8


def test_sample_that_cannot_be_learned_from_is_named(root, tmp_path):
    run = stage_run(root, "instruct", BLIND, tmp_path)
    data = tmp_path / "mix665k"
    shutil.copytree(run.inputs["data"][0], data)
    record = conversations.record("mix665k/odd", None, [conversations.Turn("what ?", "", "what")])
    conversations.write(data / "conversations.parquet", [record])
    run.inputs["data"] = [data]
    with pytest.raises(InputError, match="mix665k/odd: no answer to learn from"):
        instruct.compute(run)


def test_what_cannot_be_learned_from_is_counted_where_that_is_asked_for(root, tmp_path):
    run = stage_run(root, "instruct", BLIND, tmp_path)
    data = tmp_path / "mix665k"
    shutil.copytree(run.inputs["data"][0], data)
    records = [
        conversations.record("mix665k/odd", None, [conversations.Turn("what ?", "", "what")]),
        conversations.record("mix665k/long", None, [conversations.Turn("what ? " * 200, "it", "what")]),
        conversations.record("mix665k/good", None, [conversations.Turn("what ?", "it", "what")] * 4),
        conversations.record("mix665k/half", None, [conversations.Turn("what ?", a, "what") for a in ("", "it")]),
    ]
    conversations.write(data / "conversations.parquet", records)
    run.inputs["data"] = [data]
    found = instruct.compute(dataclasses.replace(run, params={**run.params, "faults": "count"}))
    assert found["faults"] == {"no_answer": 2, "too_long": 1, "not_finite": 0}
    assert found["turns"] == 5, "turns are isolated here, so a fault costs its turn alone"
    lines = [json.loads(line) for line in (run.out / "faults.jsonl").read_text().splitlines()]
    assert {(line["sample"], line["kind"]) for line in lines} == {
        ("mix665k/odd", "no_answer"), ("mix665k/half", "no_answer"), ("mix665k/long", "too_long"),
    }  # fmt: skip
    with pytest.raises(InputError, match=r"faults: 'skip' is unknown"):
        instruct.compute(dataclasses.replace(run, params={**run.params, "faults": "skip"}))
