"""MLflow's local database: whole or not there, mended after a kill, and at home in whatever folder it lies."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.identity import settings
from tasks.tracking import database
from tasks.tracking.mlflow import tracking_uri
from tasks.tracking.tracker import Spec
from tests.tasks.tracking.project import connect

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def as_another_process(monkeypatch):
    """MLflow keeps a run's place for as long as a process lasts, and a process has one project."""
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._artifact_repos_cache", _Forgetful(), raising=True)


class _Forgetful(dict):
    def get(self, key, default=None):
        return default


def run_with_file(root: Path, name: str = "report.html") -> str:
    """A run with an artifact; returns its id."""
    (root / name).write_text(str(root))
    tracker = connect(root)
    run, _ = tracker.open(Spec("group", "run", {"identity": name}))
    tracker.log(run, files=[root / name])
    return run


def artifact(root: Path, run: str, name: str = "report.html") -> str:
    return Path(connect(root).client.download_artifacts(run, name)).read_text()


def moved(root: Path, name: str) -> Path:
    """The project at another place."""
    place = root.with_name(f"{root.name}-elsewhere")
    place.mkdir(exist_ok=True)
    return root.rename(place / name)


def test_a_moved_project_shows_its_artifacts(root):
    run = run_with_file(root)
    assert artifact(moved(root, "new"), run) == str(root), "what was written there before"


def test_a_copied_project_writes_into_its_own_folder(root):
    run = run_with_file(root)
    copy = Path(shutil.copytree(root, root.with_name(f"{root.name}-copy")))
    (copy / "report.html").write_text("the copy's")
    connect(copy).log(run, files=[copy / "report.html"])
    assert artifact(copy, run) == "the copy's"
    assert artifact(root, run) == str(root), "the original's is as it was"


def test_a_copy_without_runs_and_a_registered_model_follow_too(root):
    client = connect(root).client
    client.create_experiment("empty", (root / "mlartifacts").as_uri())
    run = run_with_file(root)
    client.create_registered_model("best")
    client.create_model_version("best", f"{client.get_run(run).info.artifact_uri}/model", run)
    there = moved(root, "new")
    client = connect(there).client
    inside = f"{there.as_uri()}/mlartifacts"
    assert client.get_experiment_by_name("empty").artifact_location == inside
    (version,) = client.search_model_versions("name = 'best'")
    assert version.source == f"{inside}/{run}/artifacts/model"


def test_a_clone_that_uses_anothers_database_keeps_what_it_wrote_before(root, tmp_path_factory):
    """Versions before wrote the artifacts of such a clone into its own folder, and there they stay."""
    other = tmp_path_factory.mktemp("other")
    location = (other / "mlartifacts").as_uri()
    client = connect(root).client
    run = client.create_run(client.create_experiment("of the other", location)).info
    client.log_text(run.run_id, "the other's", "note.txt")
    assert artifact(root, run.run_id, "note.txt") == "the other's"


_RECORD = """
import sys
from pathlib import Path
from tests.tasks.tracking.test_database import artifact, run_with_file

root = Path(sys.argv[1])
assert artifact(root, run_with_file(root)) == str(root)
"""


@pytest.mark.parametrize("name", ["100%41", "what?#1"])
def test_any_folder_may_hold_a_project(root, name):
    """SQLAlchemy decodes %41, and takes what follows ? for options: the database lay outside the project."""
    odd = moved(root, name)
    (odd / "mlflow.db").unlink()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", _RECORD, str(odd)], cwd=odd, env=environment, check=True)
    assert (odd / "mlflow.db").stat().st_size
    assert name in (made := {path.name for path in odd.parent.iterdir()})
    assert made <= {"100%41", "what?#1"}, "nothing beside it"


def test_from_another_folder_the_odd_name_is_encoded(root):
    odd = moved(root, "100%41")
    assert tracking_uri(settings.load(odd)).endswith("/100%2541/mlflow.db")
    assert database.path_of(tracking_uri(settings.load(odd))) == odd / "mlflow.db"


_KILL = """
import os, signal, sys
from pathlib import Path
import alembic.command
from tasks.tracking import database

upgrade = alembic.command.upgrade

def killed(config, revision):
    upgrade(config, "+3")  # three of MLflow's migrations, then kill -9
    os.kill(os.getpid(), signal.SIGKILL)

alembic.command.upgrade = killed
if sys.argv[2] == "ours":
    database.prepare(Path(sys.argv[1]))
else:
    from mlflow import MlflowClient
    MlflowClient(f"sqlite:///{sys.argv[1]}").search_experiments()
"""


def kill_in_the_middle(path: Path, who: str) -> None:
    """Let a process die by kill -9 while it makes the database."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", _KILL, str(path), who], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_a_kill_while_the_database_is_made_leaves_none(root):
    (root / "mlflow.db").unlink()
    kill_in_the_middle(root / "mlflow.db", "ours")
    assert not (root / "mlflow.db").exists()
    assert connect(root).client.search_experiments()
    assert [path.name for path in root.glob("mlflow.db*")] == ["mlflow.db"], "and no leftovers"


def test_a_database_that_mlflow_itself_left_half_made_is_mended(root):
    (root / "mlflow.db").unlink()
    kill_in_the_middle(root / "mlflow.db", "mlflow")
    assert (root / "mlflow.db").stat().st_size
    assert connect(root).client.search_experiments()
    assert (root / "mlflow.db.half-made").exists()


def test_an_empty_database_is_made_anew(root):
    (root / "mlflow.db").write_bytes(b"")
    assert connect(root).client.search_experiments()


@pytest.mark.parametrize("fault", ["no database", "cut off"])
def test_a_broken_database_is_named_with_what_to_do(root, fault):
    path = root / "mlflow.db"
    path.write_bytes(b"<<<<<<< HEAD\n" * 999 if fault == "no database" else path.read_bytes()[:-4096])
    with pytest.raises(database.Unusable, match=rf"{path}: .*mv mlflow.db mlflow.db.broken"):
        connect(root)


def test_a_database_of_another_version_with_runs_in_it_is_kept(root):
    run_with_file(root)
    with sqlite3.connect(root / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'an older one'")
    before = (root / "mlflow.db").read_bytes()
    with pytest.raises(database.Unusable, match=r"version an older one.*mlflow db upgrade"):
        connect(root)
    assert (root / "mlflow.db").read_bytes() == before
