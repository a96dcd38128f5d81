"""DVC underneath a flow when what it keeps was damaged: what its cache gives is checked, and mended."""

import json
import os
import shutil
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from flows.execution.result import COMPUTED
from flows.store.dvc_store import RESTORED, THERE
from tasks.identity.settings import read_yaml
from tasks.stage.harness import Changed
from tests.flows.conftest import Project
from tests.flows.store.conftest import RUNS


def in_cache(project: Project, run: str, file: str = "") -> Path:
    """Where DVC's cache has an output's listing, or one of its files."""

    def place(md5: str) -> Path:
        return project.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]

    entry = read_yaml(project.root / "dvc.lock")["stages"][run.replace("/", "@")]
    listing = place(entry["outs"][0]["md5"])
    return place(next(e["md5"] for e in json.loads(listing.read_text()) if e["relpath"] == file)) if file else listing


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def flip(path: Path) -> None:
    """One bit, with the old time of change."""
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("file", ["", "output.json"], ids=["listing", "file"])
@pytest.mark.parametrize("damage", [Path.unlink, cut, flip])
def test_what_the_cache_has_damaged_is_computed_once_and_then_restored_again(project, session, damage, file):
    cached = in_cache(project, "scenes/train", file)
    cached.chmod(0o644)
    damage(cached)
    if cached.exists():
        cached.chmod(0o444)  # DVC trusts what is read-only
    manifest = (project.out("scenes/train") / "MANIFEST.json").read_bytes()
    shutil.rmtree(project.out("scenes/train"))
    assert session.store.fetch(RUNS) == {"scenes/test": THERE}
    assert session.perform("scenes/train") == COMPUTED
    assert session.store.fetch(RUNS) == dict.fromkeys(RUNS, THERE), "what was made from it counts as before"

    shutil.rmtree(project.out("scenes/train"))
    assert session.store.fetch(["scenes/train"]) == {"scenes/train": RESTORED}
    assert (project.out("scenes/train") / "MANIFEST.json").read_bytes() == manifest
    assert project.executed == ["scenes/train"]


def test_what_is_being_computed_is_left_to_who_computes_it(project, session):
    """Its former output, damaged or of other parameters, may be exchanged for the new one at any moment."""
    out = project.out("scenes/train")
    cut(out / "output.json")
    with FileLock(session.store.paths("scenes/train").lock):
        assert session.store.fetch(["scenes/train"]) == {}
        assert (out / "output.json").stat().st_size == 5
    assert session.store.fetch(["scenes/train"]) == {"scenes/train": RESTORED}


@pytest.mark.parametrize("left", ["", '{"write": {"/runs/tiny/scenes'])
def test_a_kill_while_dvc_writes_who_uses_what_stops_nobody(project, session, left):
    """DVC truncates its list of readers and writers and writes it anew, and stops at half of one."""
    users = project.root / ".dvc" / "tmp" / "rwlock"
    users.write_text(left)
    assert session.store.fetch(RUNS) == dict.fromkeys(RUNS, THERE)
    shutil.rmtree(project.out("scenes/train"))
    users.write_text(left)
    assert session.store.fetch(["scenes/train"]) == {"scenes/train": RESTORED}
    alive = {"pid": os.getppid(), "cmd": " ".join(psutil.Process(os.getppid()).cmdline())}
    whole = json.dumps({"write": {}, "read": {"elsewhere": [alive]}})
    users.write_text(whole)
    assert session.store.fetch(["scenes/test"]) == {"scenes/test": THERE}
    assert json.loads(users.read_text())["read"] == json.loads(whole)["read"], "another's entry stays"


@pytest.mark.parametrize("key", ["seed", "size"])
def test_what_was_edited_before_the_commit_is_not_taken_for_the_new_parameters(project, session, key):
    """DVC records an output under the parameters of the moment at which it is told of it."""
    asked, edited = project.params(), project.params()
    shutil.rmtree(project.out("data/cc558k"))
    lock = (project.root / "dvc.lock").read_bytes()
    asked["data"]["tiny"]["each"]["cc558k"][key] = 7
    project.set_params(asked)
    project.stage("data/cc558k")
    edited["data"]["tiny"]["each"]["cc558k"][key] = 8
    project.set_params(edited)
    with pytest.raises(Changed, match=r"data/cc558k: params.yaml or plan.yaml was edited after it ended"):
        session.store.commit("data/cc558k")
    assert (project.root / "dvc.lock").read_bytes() == lock

    project.set_params(asked)
    project.forget()
    assert session.store.fetch(["data/cc558k"]) == {"data/cc558k": THERE}
    assert project.executed == []
