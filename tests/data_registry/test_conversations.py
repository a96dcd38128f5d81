"""Conversations on disk are LLaVA's records, whole or refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_registry.conversations import SCHEMA, Turn, multiple_choice, pairs, read, record, write
from data_registry.errors import InputError

TURNS = [Turn("Which is closer?", "A", "closer"), Turn("How far?", "3.2 m.", "distance")]


def test_a_record_has_llavas_fields():
    item = record("a/1", "1.jpg", TURNS)
    assert item["conversations"][0] == {"from": "human", "value": "<image>\nWhich is closer?"}
    assert [said["from"] for said in item["conversations"]] == ["human", "gpt", "human", "gpt"]
    assert "<image>" not in item["conversations"][2]["value"], "the image opens the first turn only"
    assert "<image>" not in record("a/2", None, TURNS)["conversations"][0]["value"]
    assert list(pairs(item)) == [("Which is closer?", "A"), ("How far?", "3.2 m.")]


def test_options_have_letters_and_one_instruction():
    text = multiple_choice("Which is closer?", ("the car", "the dog"))
    assert text == "Which is closer?\nA. the car\nB. the dog"


def test_parquet_keeps_records_across_batches(tmp_path):
    records = [record(f"a/{k}", f"{k}.jpg" if k % 3 else None, TURNS[: 1 + k % 2]) for k in range(25)]
    path = tmp_path / "conversations.parquet"
    assert write(path, iter(records), batch=10) == 25
    assert list(read(path, batch=4)) == records
    assert pq.read_schema(path).equals(SCHEMA)


def test_an_empty_data_set_can_be_read(tmp_path):
    path = tmp_path / "conversations.parquet"
    assert write(path, []) == 0
    assert list(read(path)) == []


def test_what_is_no_conversation_file_is_named(tmp_path):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"broken\.parquet"):
        list(read(broken))
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": ["a"], "image": ["b"]}), other)
    with pytest.raises(InputError, match="the column 'conversations' is missing"):
        list(read(other))
