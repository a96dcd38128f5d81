"""Nobody waits in silence: after seconds a line says for what, for whom, and how to end it."""

from types import SimpleNamespace

import pytest
from filelock import FileLock

from data_registry.storage import waiting
from data_registry.storage.streamed import Address, ShardCache
from flows.servers import prefect_database
from flows.tracking.flow_runs import Tracking
from tasks.stage import locks
from tasks.tracking import database
from tasks.tracking.mlflow import MlflowTracker
from tasks.training import features
from tests.flows.conftest import REPO


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").write_text((REPO / "params.yaml").read_text())
    return tmp_path


WAITS = {
    ".locks/prefect.lock": lambda root: prefect_database._lock(root),
    ".locks/roadmap.lock": lambda root: Tracking(root, locks.say).recording(),
    ".locks/mlflow.db.lock": lambda root: database.lock_of(root / "mlflow.db"),
    ".locks/mlflow.lock": lambda root: MlflowTracker._lock(SimpleNamespace(database=None, _root=root)),
    "table.lock": lambda root: features._missing(root / "table", wait=True),
}


@pytest.mark.parametrize("place", WAITS)
def test_who_waits_says_so(project, monkeypatch, capsys, place):
    path = project / place
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)
    lock.acquire()
    monkeypatch.setattr(locks, "SILENT_S", 0.0)
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: lock.release())
    monkeypatch.setattr("flows.tracking.flow_runs.pause", lambda seconds, doing: lock.release())
    with WAITS[place](project):
        pass
    assert f"holds {path}; it goes on by itself" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["shard.lock", ".lock"])
def test_who_waits_for_a_shard_says_so(tmp_path, monkeypatch, capsys, name):
    """The other lets go while the line is said."""
    shard = SimpleNamespace(name="images-0.parquet", sha256="shard", bytes=1)
    path = tmp_path / ("shard.parquet.lock" if name == "shard.lock" else name)
    lock = FileLock(path)
    lock.acquire()
    monkeypatch.setattr(waiting, "SILENT_S", 0.0)
    said: list[str] = []

    def say(text: str, **options: object) -> None:
        said.append(text)
        lock.release()

    monkeypatch.setattr(waiting, "print", say, raising=False)
    cache = ShardCache(tmp_path, budget=10)
    monkeypatch.setattr("data_registry.storage.fetch.bring", lambda *given: None)
    monkeypatch.setattr(Address, "source", lambda address: None)
    cache._bring(Address("bucket", "set"), shard, urgent=True)
    (line,) = said
    assert "waiting to" in line
    assert f"holds {path}; it goes on by itself" in line
