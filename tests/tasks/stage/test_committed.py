"""Outputs that git has: whole in any clone, and brought back from git where one is damaged."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.identity import manifest
from tasks.identity.identity import is_whole
from tasks.identity.paths import Paths
from tasks.stage.harness import execute
from tests.tasks.stage.test_stage import DAMAGES, PARAMS, PLAN, change, write

REPO = Path(__file__).resolve().parents[3]


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def root(tmp_path):
    """A project whose only output is committed."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    execute("scenes", "train", write, tmp_path)
    for kept in (tmp_path / "runs/tiny/scenes").glob(".*"):
        shutil.rmtree(kept)  # a clone has the output alone
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "runs", "params.yaml", "plan.yaml")
    git(tmp_path, "commit", "-qm", "outputs")
    return tmp_path


def refuse(run):
    raise AssertionError("computed although git has it")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_committed_output_is_restored_and_not_computed(root, capsys, damage):
    paths = Paths(root, "tiny", "scenes", "train")
    damage(paths.out / "deep" / "file.txt")
    assert not is_whole(paths.out)
    assert not execute("scenes", "train", refuse, root)
    assert is_whole(paths.out)
    assert "restored as it is committed in git" in capsys.readouterr().out
    assert git(root, "status", "--porcelain", "runs") == ""


def test_one_of_other_parameters_is_computed(root):
    change(root, "images: 3", "images: 4")
    assert execute("scenes", "train", write, root)


def test_one_that_is_damaged_in_git_as_well_is_computed(root):
    file = Paths(root, "tiny", "scenes", "train").out / "deep" / "file.txt"
    file.write_text("altered")
    git(root, "commit", "-qam", "damaged")
    assert execute("scenes", "train", write, root)


def test_no_setting_of_git_converts_an_end_of_line(tmp_path):
    """A real clone of this repository, as Git for Windows is set up."""
    if not (REPO / ".git").exists():
        pytest.skip("this is no clone")
    git(tmp_path, "init", "-q", "source")
    source, clone = tmp_path / "source", tmp_path / "clone"
    kept = [".gitattributes", "dvc.lock", "plan.yaml", "runs/tiny/foundation"]
    for name in git(REPO, "ls-files", *kept).split():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((REPO / name).read_bytes())
    git(source, "add", "-f", ".")
    git(source, "commit", "-qm", "as it is")
    git(tmp_path, "clone", "-q", "-c", "core.autocrlf=true", str(source), str(clone))
    models = sorted((clone / "runs/tiny/foundation").iterdir())
    assert len(models) == 5
    for folder in models:
        manifest.verify(folder)
    assert (clone / "dvc.lock").read_bytes() == (REPO / "dvc.lock").read_bytes()
    assert git(clone, "status", "--porcelain") == ""
