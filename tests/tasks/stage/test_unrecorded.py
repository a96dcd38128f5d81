"""Nobody removes a whole output before DVC has it: `dvc repro` does so before it runs a stage's command."""

import os
import shutil
from pathlib import Path

import pytest

from data_registry.errors import InputError
from tasks.identity import manifest
from tasks.identity.identity import is_whole
from tasks.identity.paths import Paths
from tasks.stage import claim, harness, locks, process, unrecorded
from tasks.stage.claim import Lost
from tasks.stage.harness import Changed, execute
from tests.tasks.stage.test_stage import PARAMS, PLAN, change, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


@pytest.fixture
def paths(root: Path) -> Paths:
    return Paths(root, "tiny", "scenes", "train")


def kept(paths: Paths) -> list[Path]:
    return sorted(paths.out.parent.glob(".*.unrecorded"))


def test_what_dvc_removes_before_it_runs_the_command_is_put_back(root, paths):
    """`dvc repro` after a kill between publishing and DVC's record, or after a command typed by hand."""
    execute("scenes", "train", write, root)
    before = manifest.read_manifest(paths.out)
    for _ in range(2):  # DVC may be killed again
        shutil.rmtree(paths.out)
        assert not execute("scenes", "train", write, root), "not computed"
        assert manifest.verify(paths.out) == before
    unrecorded.recorded(paths)
    assert kept(paths) == []


def test_an_output_that_is_damaged_in_place_is_not_put_back(root, paths):
    """A hard link shares the damage; the digest tells."""
    execute("scenes", "train", write, root)
    (paths.out / "deep" / "file.txt").write_text("other")
    assert execute("scenes", "train", write, root)
    assert is_whole(paths.out)


def test_a_disk_without_hard_links_gets_a_copy(root, paths, monkeypatch):
    monkeypatch.setattr(
        os, "link", lambda source, target: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link"))
    )
    execute("scenes", "train", write, root)
    shutil.rmtree(paths.out)
    assert not execute("scenes", "train", write, root)


def test_parameters_edited_meanwhile_cost_no_finished_result(root, paths):
    """Finished under the old value, refused under the new one, then the old value again: it is still there."""
    computed = []

    def edit(run):
        computed.append(run.params["images"])
        if len(computed) == 1:
            change(root, "images: 3", "images: 9")
        return write(run)

    with pytest.raises(Changed):
        execute("scenes", "train", edit, root)
    assert execute("scenes", "train", edit, root)
    change(root, "images: 9", "images: 3")
    assert not execute("scenes", "train", edit, root)
    assert computed == [3, 9]
    assert manifest.read_manifest(paths.out)["identity"]["params"]["images"] == 3


def test_the_same_dvc_repro_removes_what_it_has_recorded(root, paths, monkeypatch):
    """It records each stage run before it begins the next; one that it could not record stays."""
    monkeypatch.setattr(unrecorded, "dvc_process", os.getpid)
    assert process.this_process()["started"]
    execute("scenes", "train", write, root)
    lock = root / "dvc.lock"
    lock.write_text("schema: '2.0'\n")
    written = lock.stat().st_mtime
    os.utime(lock, (written - 10, written - 10))
    execute("scenes", "test", write, root)
    assert kept(paths) != [], "DVC has written nothing since"
    os.utime(lock, (written + 10, written + 10))
    execute("data", "cc558k", write, root)
    assert kept(paths) == []
    assert is_whole(paths.out)


def test_a_kill_between_publishing_and_clean_up_leaves_no_scratch(root, paths, monkeypatch):
    def die(*given):
        raise KeyboardInterrupt

    def train(run):
        (run.work / "checkpoint").write_text("3")
        return write(run)

    with monkeypatch.context() as patch:
        patch.setattr(harness, "write_record", die)
        with pytest.raises(KeyboardInterrupt):
            execute("scenes", "train", train, root)
    assert (paths.work / "checkpoint").exists()
    assert not execute("scenes", "train", train, root)
    assert not paths.work.exists()


def test_an_output_folder_behind_a_link_is_refused_before_anything_is_computed(root, paths):
    """DVC refuses it after hours of computing."""
    (root / "elsewhere").mkdir()
    (root / "runs").symlink_to(root / "elsewhere")
    computed = []
    with pytest.raises(InputError, match=r"runs: is a link to .*elsewhere, and neither git nor DVC follows one"):
        execute("scenes", "train", computed.append, root)
    assert computed == []


def test_removing_the_locks_during_a_run_gives_nobody_the_same_claim(root, paths, monkeypatch):
    """`rm -rf .locks`: the holder takes its claim again, or does not publish where another was faster."""
    monkeypatch.setattr(claim, "_LOOK_S", 3600.0)

    def removed(run):
        shutil.rmtree(root / ".locks")
        return write(run)

    assert execute("scenes", "train", removed, root)
    assert is_whole(paths.out)

    def taken(run):
        shutil.rmtree(root / ".locks")
        others.append(locks.take(Paths(root, "tiny", "scenes", "test").lock))
        return write(run)

    others = []
    with pytest.raises(Lost):
        execute("scenes", "test", taken, root)
    assert not Paths(root, "tiny", "scenes", "test").out.exists()
    others[0]()
    assert execute("scenes", "test", write, root)
