"""MLflow's database where it is a local SQLite file: made whole or not at all, mended, and not bound to its folder.

MLflow makes and upgrades its tables without a transaction: a kill in the middle leaves a database that it never takes
again. So it is made beside its place and renamed, under a lock. And MLflow writes absolute paths of artifacts into it:
when the project was moved or copied, they are those of another folder, and are rewritten here."""

import contextlib
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tasks.stage import locks

PREFIX = "sqlite:///"
ARTIFACTS = "mlartifacts"
_PATHS = (  # columns with the path of an artifact
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


class Unusable(RuntimeError):
    """MLflow's database cannot be used, and trying again does not help; the message says what does."""


def path_of(uri: str) -> Path | None:
    """The file of a SQLite address; None for any other, and for one with options, which we leave as it is."""
    return Path(unquote(uri.removeprefix(PREFIX))).absolute() if uri.startswith(PREFIX) and "?" not in uri else None


def uri_of(path: Path) -> str:
    """The address of a SQLite file. SQLAlchemy decodes `%41`, and `?` begins options; MLflow would make a folder of the
    encoded name, so a path that needs encoding is written from the current folder, where that is possible."""
    for text in (str(path), os.path.relpath(path)):
        if not set(text) & set("%?#"):
            return f"{PREFIX}{text}"
    return f"{PREFIX}{quote(str(path))}"


def artifacts_of(path: Path) -> str:
    """Where artifacts of a local database lie: beside it."""
    return (path.parent / ARTIFACTS).as_uri()


def lock_of(path: Path) -> contextlib.AbstractContextManager[None]:
    """Held while a database is made or mended, and while something is looked for in it and made if it is not there."""
    return locks.hold(path.parent / ".locks" / f"{path.name}.lock", f"use {path}")


def prepare(path: Path) -> None:
    """See to it that a database can be used: make it, mend it, and bring its paths up to date.

    Raises:
        Unusable: it is no database, is cut off, or another version of MLflow has made it.
    """
    with lock_of(path):
        new = path.with_name(f"{path.name}.new")
        for left in (new, new.with_name(f"{new.name}-journal")):  # of a process that was killed
            left.unlink(missing_ok=True)
        if not path.exists() or not path.stat().st_size:
            _create(path, new)
            return
        version = _version(path)
        if version != _newest():
            _replace_half_made(path, new, version)
        _rebase(path)


def _create(path: Path, new: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    store = SqlAlchemyStore(uri_of(new), artifacts_of(path))
    store.engine.dispose()
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(path)


def _newest() -> str:
    from mlflow.store.db.utils import _get_latest_schema_revision

    return _get_latest_schema_revision()


def _version(path: Path) -> str | None:
    """The version of its tables; None where it has none (a kill in its first second)."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            (pages,), (size,) = database.execute("PRAGMA page_count"), database.execute("PRAGMA page_size")
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            known = "alembic_version" in tables
            rows = database.execute("SELECT version_num FROM alembic_version").fetchall() if known else []
    except sqlite3.DatabaseError as error:
        raise Unusable(f"{path}: {error}; {_remedy(path)}") from error
    if path.stat().st_size < pages[0] * size[0]:
        raise Unusable(f"{path}: is cut off; {_remedy(path)}")
    return rows[0][0] if rows else None


def _remedy(path: Path) -> str:
    return f"put back a copy, or move it away (`mv {path.name} {path.name}.broken`): what is published is recorded anew"


def _replace_half_made(path: Path, new: Path, version: str | None) -> None:
    """A database that was never finished holds no run: it is made anew, and the old one kept beside it."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        try:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
        except sqlite3.OperationalError:  # no such table
            runs = 0
    if runs:
        raise Unusable(
            f"{path}: its tables are of version {version}, this MLflow's of {_newest()}; copy it, then "
            f"`mlflow db upgrade {uri_of(path)}` (or install the MLflow that made it)"
        )
    path.replace(path.with_name(f"{path.name}.half-made"))
    _create(path, new)


def _rebase(path: Path) -> None:
    """Rewrite the paths of artifacts to the folder beside the database, where those of another folder came with it."""
    here = artifacts_of(path)
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
        known = database.execute("SELECT DISTINCT artifact_location FROM experiments")
        folders = {folder for (uri,) in known if uri and (folder := _folder(uri))}
        for old in sorted(folders - {here}):
            runs = database.execute("SELECT run_uuid FROM runs WHERE artifact_uri LIKE ? || '/%'", (old,))
            if not _came_along(old, here, [run for (run,) in runs]):
                continue
            with database:
                for table, column in _PATHS:
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} LIKE ?",
                        (here, len(old) + 1, old, f"{old}/%"),
                    )


def _folder(uri: str) -> str | None:
    """The `mlartifacts` folder of a local path, None for any other."""
    head, folder, tail = uri.partition(f"/{ARTIFACTS}")
    return f"{head}{folder}" if uri.startswith("file:") and folder and tail[:1] in ("", "/") else None


def _came_along(old: str, here: str, runs: list[str]) -> bool:
    """Whether artifacts of an old folder are to be looked for here: unless they lie there, and none of them here
    (another clone writes into the same database)."""
    before, now = (Path(unquote(urlsplit(uri).path)) for uri in (old, here))
    return any((now / run).exists() for run in runs) or not any((before / run).exists() for run in runs)
