"""LLaVA's JSON: good records become ours, broken ones are counted by reason or refused by index."""

import json
import re
from pathlib import Path

import pytest

from data_registry import conversations
from data_registry.errors import InputError
from data_registry.readers import llava


def _record(*said: str, id_="000000033471", image: str | None = "coco/a.jpg") -> dict:
    turns = [{"from": ("human", "gpt")[k % 2], "value": value} for k, value in enumerate(said)]
    return {"id": id_, "conversations": turns} | ({"image": image} if image else {})


GOOD = _record("<image>\nWhat is it?", "A bus.", "Which colour?", "Red.")


def _file(folder: Path, *records: object) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps(records))
    return path


def test_records_become_ours(tmp_path):
    caption = _record("Describe it briefly.\n<image>", "a red bus", id_=17, image="00/b.jpg")
    text_only = _record("Two plus two?", "Four.", image=None)
    audit = llava.Audit()
    records = list(llava.read(_file(tmp_path, GOOD, caption, text_only), "mix665k", "instruction", None, audit))
    assert [r["id"] for r in records] == ["mix665k/000000033471#0", "mix665k/17#1", "mix665k/000000033471#2"]
    assert [r["image"] for r in records] == ["coco/a.jpg", "00/b.jpg", None]
    assert [turn["value"] for turn in records[0]["conversations"]] == [t["value"] for t in GOOD["conversations"]]
    assert records[1]["conversations"][0]["value"] == "<image>\nDescribe it briefly."  # the mark opens the turn
    assert list(conversations.pairs(records[2])) == [("Two plus two?", "Four.")]
    assert [r["types"] for r in records] == [["instruction"] * 2, ["instruction"], ["instruction"]]
    assert (audit.records, audit.kept, audit.drops.total()) == (3, 3, 0)


BROKEN = {
    "is no object": "text",
    "has no id": {**GOOD, "id": None},
    "has several images (image), which is not supported": {**GOOD, "image": ["a.jpg", "b.jpg"]},
    "image is no path": {**GOOD, "image": 5},
    "has no conversation": {**GOOD, "conversations": []},
    "a turn has no text": {**GOOD, "conversations": [{"from": "human"}]},
    "turns are not human and gpt in turn": {**GOOD, "conversations": GOOD["conversations"][1:]},
    "the last question has no answer": _record("<image>\nWhat?", "This.", "And?"),
    "an answer is empty": _record("<image>\nWhat?", " "),
    "a question is empty": _record(" ", "Yes.", image=None),
    "an image mark outside the start": _record("<image>\nWhat?", "This <image>."),
    "an image mark without an image": _record("<image>\nWhat?", "This.", image=None),
    "an image without its mark": _record("What?", "This."),
    "half of a surrogate pair": _record("<image>\nWhat?", "A smile \ud83d"),  # as of an emoji that was cut
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_record_is_counted_or_refused_by_index(tmp_path, reason):
    path = _file(tmp_path, GOOD, BROKEN[reason], GOOD)
    audit = llava.Audit()
    assert len(list(llava.read(path, "x", "caption", None, audit))) == 2
    assert (audit.drops, audit.kept) == ({reason: 1}, 2)
    with pytest.raises(InputError, match=rf"data\.json: record 1: {re.escape(reason)}"):
        list(llava.read(path, "x", "caption", None, strict=True))


def test_missing_images_are_named(tmp_path):
    (tmp_path / "images/coco").mkdir(parents=True)
    (tmp_path / "images/coco/a.jpg").write_bytes(b"")
    (tmp_path / "outside.jpg").write_bytes(b"")
    images = llava.FolderImages(tmp_path / "images")
    away = [_record("<image>\nWhat?", "This.", image=key) for key in ("coco/b.jpg", "../outside.jpg")]
    path = _file(tmp_path, GOOD, *away)
    audit = llava.Audit()
    assert len(list(llava.read(path, "x", "caption", images, audit))) == 1
    assert audit.missing == ["coco/b.jpg", "../outside.jpg"]
    assert audit.drops == {"image is missing": 2}
    with pytest.raises(InputError, match=r"record 1: image is missing \(coco/b\.jpg\)"):
        list(llava.read(path, "x", "caption", images, strict=True))


@pytest.mark.parametrize("key", ["x" * 300 + ".jpg", "a\0.jpg"], ids=["too long", "NUL"])
def test_what_no_file_can_be_called_is_missing(tmp_path, key):
    images, audit = llava.FolderImages(tmp_path), llava.Audit()
    path = _file(tmp_path, _record("<image>\nWhat?", "This.", image=key))
    assert not list(llava.read(path, "x", "caption", images, audit)) and audit.missing == [key]


@pytest.mark.parametrize("field", ["id", "image"])
def test_text_that_cannot_be_written_is_counted_wherever_it_is(tmp_path, field):
    audit = llava.convert(_file(tmp_path, GOOD, {**GOOD, field: "\ud83d"}), tmp_path / "out", "x", "caption", None)
    assert audit.drops == {"half of a surrogate pair": 1} and audit.kept == 1


def test_a_converted_file_is_whole_or_absent(tmp_path):
    path, out = _file(tmp_path, GOOD, BROKEN["an answer is empty"]), tmp_path / "out.parquet"
    audit = llava.convert(path, out, "cc558k", "caption", None)
    assert (audit.records, audit.kept) == (2, 1)
    assert [r["id"] for r in conversations.read(out)] == ["cc558k/000000033471#0"]
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InputError, match=r"data\.json: broken JSON at byte"):
        llava.convert(path, tmp_path / "second.parquet", "cc558k", "caption", None)
    with pytest.raises(InputError, match=r"none of its 1 records is usable: has no id \(1\)"):
        llava.convert(_file(tmp_path, {}), tmp_path / "second.parquet", "cc558k", "caption", None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.json", "out.parquet"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", r"byte 0: expected '\['"),
        ("[] []", "byte 3: something follows the end of the array"),
        ("[{}", "ends too early"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, text, message):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(InputError, match=message):
        list(llava.read(tmp_path / "data.json", "x", "caption", None))


# ---------------------------------------------------------------- conversations as others have them


MESSAGES = [{"role": "user", "content": "<image>\nWhat is it?"}, {"role": "assistant", "content": "A bus."}]
PARTS = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A bus."}]},
]
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
SAME = {
    "one image in a list": {"id": 1, "image": ["a.jpg"], "conversations": GOOD["conversations"][:2]},
    "messages": {"messages": MESSAGES, "images": ["a.jpg"]},
    "images as objects": {"messages": MESSAGES, "images": [{"path": "a.jpg"}]},
    "parts": {"id": "x", "messages": PARTS, "image": "a.jpg"},
    "system first": {"messages": [SYSTEM, *MESSAGES], "images": ["a.jpg"]},
    "ShareGPT": {"id": 2, "image": "a.jpg", "conversations": [
        {"from": "system", "value": "Be brief."}, {"from": "user", "value": "What is it?\n<image>"},
        {"from": "assistant", "value": "A bus."}]},
    "the image twice": {"image": "a.jpg", "images": ["a.jpg"], "messages": MESSAGES},
}  # fmt: skip


@pytest.mark.parametrize("form", SAME)
@pytest.mark.parametrize("lines", [False, True], ids=["list", "lines"])
def test_every_form_says_the_same(tmp_path, form, lines):
    path = tmp_path / "data.jsonl"
    text = json.dumps(SAME[form])
    path.write_text(f"{text}\n\n{text}\n" if lines else f"[{text},{text}]", encoding="utf-8")
    audit = llava.Audit()
    records = list(llava.read(path, "mine", "general", None, audit))
    assert audit.drops == {} and audit.kept == 2 and len({r["id"] for r in records}) == 2
    for record in records:
        assert record["image"] == "a.jpg"
        assert [t["value"] for t in record["conversations"]] == ["<image>\nWhat is it?", "A bus."]
    assert audit.left_out == ({"system turn": 2} if form in ("system first", "ShareGPT") else {})


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": MESSAGES, "images": ["a.jpg", "b.jpg"]}, "has several images (images), which is not supported"),
        ({"messages": MESSAGES, "image": ["a.jpg", "a.jpg"]}, "has several images (image), which is not supported"),
        ({"messages": MESSAGES, "image": "a.jpg", "images": ["b.jpg"]}, "has several images (image and images), which"),
        ({"messages": MESSAGES, "videos": ["a.mp4"]}, "has videos, which is not supported"),
        ({**GOOD, "video": "a.mp4"}, "has video, which is not supported"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "a turn has a part of type 'audio'"),
        ({"messages": [{"role": "tool", "content": "x"}, MESSAGES[1]]}, "turns are not human and gpt in turn"),
        ({"messages": [SYSTEM]}, "has no conversation"),
        ({"id": 1, "image": [5], "conversations": GOOD["conversations"]}, "image is no path"),
        ({"messages": MESSAGES, "images": []}, "an image mark without an image"),
    ],
)
def test_what_is_not_supported_is_counted_by_its_key(tmp_path, record, reason):
    audit = llava.Audit()
    assert len(list(llava.read(_file(tmp_path, GOOD, record), "x", "caption", None, audit))) == 1
    [(counted, times)] = audit.drops.items()
    assert counted.startswith(reason) and times == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1}\n{"id": \n', r"line 2: no JSON .*\(JSON Lines\)"),
        ('{\n "id": 1\n}', r"line 1: no JSON .*one record in each line"),
        ('{"id": 1}\n' + "[" * 200_000, "line 2: a value is nested too deep"),
        ('{"id": ' + "9" * 5000 + "}", "line 1: no JSON"),
        ("[" * 200_000, "nested too deep"),
        ('[{"id": ' + "9" * 5000 + "}]", "thousands of digits"),
    ],
)
def test_a_broken_file_of_lines_or_a_hostile_one_is_one_message(tmp_path, text, message):
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        list(llava.read(path, "x", "caption", None))
    assert len(str(error.value)) < 500 and "cut off" not in str(error.value)


@pytest.mark.parametrize("text", ["[]", " [ ]\n"])
def test_a_file_without_records_is_refused(tmp_path, text):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(InputError, match=r"data\.json: has no records"):
        list(llava.read(tmp_path / "data.json", "x", "instruction", None))
