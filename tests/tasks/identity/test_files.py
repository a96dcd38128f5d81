"""State files: on the disk before the rename, and read with every damage in mind that a power loss leaves."""

import json
import os
from pathlib import Path

import pytest

from data_registry.errors import InputError
from tasks.identity import files
from tasks.identity.paths import Paths
from tasks.stage.record import read_record

DAMAGES = {  # what a state file may hold after a power loss, a bad merge or a slip of the hand
    "empty": b"",
    "NULs": bytes(64),
    "truncated": b'{"a": [1, 2',
    "another kind": b'"text"',
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "nested without end": b"[" * 100_000,
}


def damage(path, kind):
    """Put a damaged file, or a folder, in a state file's place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "a folder":
        path.mkdir()
    else:
        path.write_bytes(DAMAGES[kind])


KINDS = [*DAMAGES, "a folder"]


def test_contents_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    path, events = tmp_path / "state.json", []

    def fsync(number):
        what = str(Path(f"/proc/self/fd/{number}").readlink())
        events.append((what.replace(f".{os.getpid()}", ".new"), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_json(path, {"a": 1})
    assert events == [(f"{path}.new", False), (str(tmp_path), True)]
    assert json.loads(path.read_text()) == {"a": 1}
    events.clear()
    files.write_json(path, {"a": 2}, durable=False)
    assert events == []


def test_a_write_that_fails_leaves_the_former_contents(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    files.write_json(path, {"a": 1})

    def refuse(number):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_made_anew_is(tmp_path, kind):
    path = tmp_path / "state.json"
    damage(path, kind)
    assert files.read_json(path, dict, {}) == {}
    assert files.read_json(path, list, ["all"]) == ["all"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_made_anew_is_named_with_its_remedy(tmp_path, kind):
    path = tmp_path / "state.json"
    damage(path, kind)
    with pytest.raises(InputError) as refused:
        files.read_state(path, dict, "remove it")
    assert str(refused.value).startswith(f"{path}: ")
    assert str(refused.value).endswith("; remove it")


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_record_says_nothing(tmp_path, kind):
    paths = Paths(tmp_path, "tiny", "scenes", "train")
    damage(paths.record, kind)
    assert read_record(paths) == {}


@pytest.mark.parametrize("change", [{"seconds": "1"}, {"seconds": None}, {"earlier": 3}, {"processor_s": -1.0}])
def test_a_record_of_other_kinds_says_nothing(tmp_path, change):
    paths = Paths(tmp_path, "tiny", "scenes", "train")
    whole = {"identity": "a", "seconds": 1.0, "processor_s": 0.5, "earlier": {"seconds": 2.0}}
    files.write_json(paths.record, whole)
    assert read_record(paths) == read_record(paths, "a") == whole
    assert read_record(paths, "b") == {}
    files.write_json(paths.record, whole | change)
    assert read_record(paths) == {}
