"""Prefect's own database: what is broken is put aside, what a kill left half made is made anew, with a real server."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows.servers import prefect_database
from flows.servers.local import free_port

REPO = Path(__file__).parents[3]


@pytest.fixture
def home(tmp_path, monkeypatch):
    for key in [key for key in os.environ if key.startswith("PREFECT_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".prefect"))
    (tmp_path / ".prefect").mkdir()
    return tmp_path / ".prefect"


def table_of(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE flow_run (id TEXT)")
        database.executemany("INSERT INTO flow_run VALUES (?)", [(str(number) * 100,) for number in range(500)])


@pytest.mark.parametrize("fault", ["not a database", "malformed"])
def test_a_broken_one_is_put_aside_and_named(home, tmp_path, fault):
    path = home / "prefect.db"
    table_of(path)
    path.write_bytes(b"garbage\n" * 4096 if fault == "not a database" else path.read_bytes()[:-8192])
    before = path.read_bytes()
    warning = prefect_database.put_aside_if_broken(tmp_path)
    assert f"{path}: " in warning
    assert fault in warning
    assert not path.exists()
    assert (home / "prefect.db.broken").read_bytes() == before
    assert prefect_database.put_aside_if_broken(tmp_path) is None


def test_a_whole_one_is_left_alone(home, tmp_path):
    table_of(home / "prefect.db")
    assert prefect_database.put_aside_if_broken(tmp_path) is None
    with prefect_database.starting(tmp_path):
        pass
    with sqlite3.connect(home / "prefect.db") as database:
        assert database.execute("SELECT count(*) FROM flow_run").fetchone() == (500,)


def test_one_that_a_kill_left_half_made_is_made_anew(home, tmp_path):
    with pytest.raises(KeyboardInterrupt), prefect_database.starting(tmp_path):
        table_of(home / "prefect.db")  # as far as it came
        raise KeyboardInterrupt
    with prefect_database.starting(tmp_path):
        assert not (home / "prefect.db").exists()
        table_of(home / "prefect.db")
    with prefect_database.starting(tmp_path):
        assert (home / "prefect.db").exists()


@pytest.mark.slow
def test_a_server_killed_while_it_makes_its_database_starts_the_next_time(home, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "flows.servers.prefect", str(tmp_path), str(free_port())]
    first = subprocess.Popen(command, env=environment, cwd=tmp_path)
    while first.poll() is None and not (home / "prefect.db").exists():
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (home / "prefect.db").exists()
    from flows.servers.prefect import prefect_process

    with prefect_process(tmp_path, free_port()) as server:
        server.wait()
    assert not (home / "prefect.db.creating").exists()


@pytest.mark.parametrize("sign", ["%41", "a?b", "a#b"])
def test_a_path_with_signs_of_addresses_is_the_servers_too(tmp_path, monkeypatch, sign):
    """SQLAlchemy would read `%41` as `A`, and `?` as the beginning of an option."""
    from sqlalchemy.engine import make_url

    for key in [key for key in os.environ if key.startswith("PREFECT_")]:
        monkeypatch.delenv(key)
    path = tmp_path / sign / "prefect.db"
    monkeypatch.setenv("PREFECT_HOME", str(path.parent))
    given = prefect_database.environment()
    assert make_url(given["PREFECT_SERVER_DATABASE_CONNECTION_URL"]).database == str(path)
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", given["PREFECT_SERVER_DATABASE_CONNECTION_URL"])
    assert prefect_database.file() == path, "in the server it is still the project's own"
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://host/of-the-user")
    assert prefect_database.file() is None
    assert prefect_database.environment() == {}


def test_prefects_lines_do_not_go_between_our_own():
    """Prefect gives its loggers their handlers when its main module is first imported, which may be late."""
    code = """
import logging
from flows.servers.prefect_client import quiet_console
quiet_console()
from prefect import flow, task
names = ("prefect", "prefect.flow_runs", "prefect.task_runs", None)
handlers = [handler for name in names for handler in logging.getLogger(name).handlers]
print([handler for handler in handlers if "Console" in type(handler).__name__])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
