"""dvc.lock is written as DVC writes it, whatever it looked like before."""

from pathlib import Path

import pytest
from dvc.dvcfile import Lockfile
from dvc.utils.serialize import load_yaml, modify_yaml

from flows.store.dvc_lock import DvcLock
from tests.flows.conftest import REPO

ENTRIES = Lockfile.validate(load_yaml(REPO / "dvc.lock"))["stages"]
LONG = f"score@{'clip+dinov2_' * 12}lr=1e-3"  # such a name takes a line of its own
MERGED = "# ours and theirs\nschema: '2.0'\nstages:\n    scenes@train:\n        cmd: python -m tasks.scenes train\n"


def by_dvc(path: Path, changes: dict) -> str:
    """What DVC makes of a file."""
    with modify_yaml(path) as content:
        content.setdefault("schema", "2.0")
        content.setdefault("stages", {}).update(changes)
    return path.read_text()


def test_entries_are_written_as_dvc_writes_them(tmp_path):
    lock = DvcLock(tmp_path)
    for name, entry in ENTRIES.items():
        lock.set(name, entry)
    assert lock.path.read_text() == (REPO / "dvc.lock").read_text()
    assert lock.entries(ENTRIES) == ENTRIES
    first, *others = ENTRIES
    assert lock.entries([first, "scenes@nobody"]) == {first: ENTRIES[first]}

    lock.set(first, ENTRIES[first] | {"cmd": "python -m tasks.other"})
    assert list(lock.entries(ENTRIES)) == [first, *others], "in its old place"
    lock.drop([first, "scenes@nobody"])
    assert lock.entries(ENTRIES) == {name: ENTRIES[name] for name in others}
    lock.drop(others)
    assert lock.entries(ENTRIES) == {}
    lock.set(first, ENTRIES[first])
    assert load_yaml(lock.path) == {"schema": "2.0", "stages": {first: ENTRIES[first]}}


@pytest.mark.parametrize("before", ["", MERGED, MERGED.removeprefix("# ours and theirs\n")])
def test_a_name_too_long_and_a_layout_of_ones_own(tmp_path, before):
    """What a hand has written stays, comments too."""
    entry = next(iter(ENTRIES.values()))
    ours, theirs = DvcLock(tmp_path), tmp_path / "theirs.lock"
    for path in (ours.path, theirs):
        path.write_text(before)
    for name in (LONG, "scenes@test"):
        ours.set(name, entry)
        assert ours.path.read_text() == by_dvc(theirs, {name: entry})
    assert ours.entries([LONG])[LONG] == entry
    ours.drop([LONG])
    assert LONG not in ours.entries([LONG])
    assert ours.entries(["scenes@test"])["scenes@test"] == entry
