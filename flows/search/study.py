"""An Optuna study on disk: a journal file, or the database that OPTUNA_STORAGE names; one process at a time has it."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from data_registry.errors import InputError
from flows.execution.lease import LEASE_S, Taken, shared_leases
from flows.execution.protocols import Warn
from tasks.identity.addresses import masked

if TYPE_CHECKING:
    import optuna


DIRECTIONS = {"accuracy": "maximize", "hours": "minimize"}
STORAGE = "OPTUNA_STORAGE"
_NAME = re.compile(r"[\w+=-][\w+=.-]{0,99}")
_TERMS = "terms"  # of a study: what all of its values have in common


@contextlib.contextmanager
def open_study(
    root: Path, name: str, objectives: Sequence[str] = ("accuracy",), warn: Warn = print
) -> Iterator["optuna.Study"]:
    """The study of this name, created if there is none; held against other processes, and against other machines where
    they share both studies (OPTUNA_STORAGE) and leases (SPATIALLLM_LEASES).

    Raises:
        InputError: another process has it open, it has other objectives, no file can have this name, its journal is
            damaged, or its database does not answer.
    """
    check_name(name)
    (root / ".locks").mkdir(exist_ok=True)
    leases = shared_leases() if os.environ.get(STORAGE) else None
    try:
        with (
            FileLock(root / ".locks" / f"sweep.{name}.lock", timeout=0),
            leases.hold(f"sweep {name}", wait=False) if leases else contextlib.nullcontext(),
            _answering(),
        ):
            yield _study(root, name, [DIRECTIONS[objective] for objective in objectives], warn)
    except Timeout as error:
        raise InputError(f"sweep {name}: another process is running it; use --study for a second one") from error
    except Taken as error:
        raise InputError(
            f"sweep {name}: another machine is running it, or did so less than {LEASE_S:.0f} s ago and was killed; "
            "use --study for a second one"
        ) from error


def check_name(name: str) -> None:
    """InputError unless files can have a study's name."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--study {name!r}: its files are named after it: up to 100 letters, digits and + - = _, and . after the "
            "first, without spaces; such as lr-2"
        )


def _study(root: Path, name: str, directions: list[str], warn: Warn) -> "optuna.Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wanted = [optuna.study.StudyDirection[direction.upper()] for direction in directions]
    study = optuna.create_study(
        study_name=name, storage=_storage(root, name, warn), directions=wanted, load_if_exists=True
    )
    if [direction.name.lower() for direction in study.directions] != directions:
        raise InputError(
            f"study {name}: has other objectives than params.yaml: sweep.objectives; use --study for a new one"
        )
    return study


def _storage(root: Path, name: str, warn: Warn) -> "optuna.storages.BaseStorage":
    from optuna.storages import JournalStorage

    if address := os.environ.get(STORAGE):
        return _database(address)
    from flows.search.journal import open_journal

    path = root / ".optuna" / f"{name}.log"
    journal = open_journal(path, warn)
    try:
        return JournalStorage(journal)
    except (AssertionError, KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: its lines do not make a study ({type(error).__name__}: {error}); put back a copy of the file, or "
            "use --study for a new study"
        ) from error


def _database(address: str) -> "optuna.storages.BaseStorage":
    """The database at an address.

    Raises:
        InputError: it is no address, there is no driver for it, or nobody answers there.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        make_url(address)
        return RDBStorage(address)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise InputError(
            f"{STORAGE}: no address of a database that can be used ({_said(error)}); such as "
            "postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE, or unset it for a file in .optuna/"
        ) from None
    except SQLAlchemyError as error:
        raise _unanswered(error) from None


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """A database that does not answer (any more), as one message."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except StorageInternalError as error:
        raise _unanswered(error.__cause__ or error) from None


def _unanswered(error: BaseException) -> InputError:
    return InputError(
        f"{STORAGE}: the study's database does not answer ({_said(error)}); start it and run the same again"
    )


def _said(error: BaseException) -> str:
    """An error's first line, without passwords."""
    return masked((str(error).strip().splitlines() or [type(error).__name__])[0])


def agree_on(study: "optuna.Study", terms: Mapping[str, Any]) -> None:
    """Note what makes the values of a study comparable (scale, space, metric, ...) with a new one.

    Raises:
        InputError: it was begun with other terms; names the first that differs.
    """
    known = study.user_attrs.get(_TERMS)
    if known is None or not study.get_trials(deepcopy=False):
        study.set_user_attr(_TERMS, dict(terms))
        return
    for term, value in terms.items():
        if known.get(term) != value:
            other = f"another {term}" if isinstance(value, dict) else f"{term} {known.get(term)!r}, now {value!r}"
            raise InputError(f"study {study.study_name}: was begun with {other}; use --study for a new one")
