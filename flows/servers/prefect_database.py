"""The SQLite file of a Prefect server of the project's own: a history of flow runs, which holds no result.
So one that cannot be used is put aside, and a new one begun; nobody has to mend it by hand."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tasks.stage import locks

_ADDRESS = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_ADDRESSES = (_ADDRESS, "PREFECT_API_DATABASE_CONNECTION_URL")


def file() -> Path | None:
    """The file; None where the user has named another database."""
    own = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    named = {os.environ.get(key) for key in _ADDRESSES} - {None, "", _address(own)}
    return None if named else own


def environment() -> dict[str, str]:
    """What a server has to be told so that it finds the file, where its path has signs that mean something in an
    address: Prefect writes the path into one as it is, and SQLAlchemy reads `%41` as `A` and `?` as an option."""
    path = file()
    return {_ADDRESS: _address(path)} if path is not None and set(str(path)) & set("%?#") else {}


def _address(path: Path) -> str:
    return f"sqlite+aiosqlite:///{quote(str(path))}"


def put_aside_if_broken(root: Path) -> str | None:
    """Rename the file where it is no whole database; returns what to tell the user then."""
    path = file()
    if path is None or not path.exists():
        return None
    with _lock(root):
        fault = _fault(path)
        if fault is None:
            return None
        aside = path.with_name(f"{path.name}.broken")
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + end).replace(aside.with_name(aside.name + end))
    return (
        f"{path}: {fault}; it is now {aside.name}, and Prefect's history of flow runs, which has no result, begins anew"
    )


@contextlib.contextmanager
def starting(root: Path) -> Iterator[None]:
    """Held while a server starts, which may create the database: one that a kill has left half made is made anew."""
    path = file()
    if path is None:
        yield
        return
    with _lock(root):
        half_made = path.with_name(f"{path.name}.creating")
        if half_made.exists():
            for end in ("", "-wal", "-shm", "-journal"):
                path.with_name(path.name + end).unlink(missing_ok=True)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            half_made.touch()
        yield
        half_made.unlink(missing_ok=True)


def _lock(root: Path) -> contextlib.AbstractContextManager[None]:
    return locks.hold(root / ".locks" / "prefect.lock", "make or mend Prefect's database")


def _fault(path: Path) -> str | None:
    """What is wrong with a database, None for nothing that a look at its size and its list of tables can tell."""
    log = path.with_name(f"{path.name}-wal")
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (pages,), (size,) = (database.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "page_size"))
    except sqlite3.OperationalError:
        return None  # locked by a server that works with it
    except sqlite3.DatabaseError as error:
        return str(error)
    whole = log.exists() and log.stat().st_size  # what is missing may still be in the log
    return None if whole or path.stat().st_size >= pages * size else "is cut off"
