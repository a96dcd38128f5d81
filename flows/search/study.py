"""An Optuna study on disk: a journal file, or the database that OPTUNA_STORAGE names; one process at a time owns it.
Here too: samplers by name, and a study's designs as rows of its report."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from data_registry.errors import InputError
from flows.execution.lease import LEASE_S, Taken, shared_leases

if TYPE_CHECKING:
    import optuna


DIRECTIONS = {"accuracy": "maximize", "hours": "minimize"}
_TERMS = "terms"  # of a study: what all of its values have in common


@contextlib.contextmanager
def open_study(root: Path, name: str, objectives: Sequence[str] = ("accuracy",)) -> Iterator["optuna.Study"]:
    """The study of this name, created if there is none; held against other processes, and against other machines where
    they share both studies (OPTUNA_STORAGE) and leases (SPATIALLLM_LEASES).

    Raises:
        InputError: another process has it open, it has other objectives, or no file can have this name.
    """
    import optuna
    from optuna.exceptions import StorageInternalError

    if not re.fullmatch(r"[\w+=-][\w+=. -]*", name):
        raise InputError(f"study {name!r}: its files are named after it: letters, digits, and . + - = _ within")

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (root / ".locks").mkdir(exist_ok=True)
    directions = [DIRECTIONS[one] for one in objectives]
    leases = shared_leases() if os.environ.get("OPTUNA_STORAGE") else None
    try:
        with (
            FileLock(root / ".locks" / f"sweep.{name}.lock", timeout=0),
            leases.hold(f"sweep {name}", wait=False) if leases else contextlib.nullcontext(),
        ):
            try:
                study = optuna.create_study(
                    study_name=name, storage=_storage(root, name), directions=directions, load_if_exists=True
                )
            except (StorageInternalError, ImportError) as error:
                raise InputError(f"OPTUNA_STORAGE: the study's database does not answer: {error}") from error
            if [one.name.lower() for one in study.directions] != directions:
                raise InputError(
                    f"study {name}: has other objectives than params.yaml: sweep.objectives; use --study for a new one"
                )
            yield study
    except Timeout as error:
        raise InputError(f"sweep {name}: another process is running it; use --study for a second one") from error
    except Taken as error:
        raise InputError(
            f"sweep {name}: another machine is running it, or did so less than {LEASE_S:.0f} s ago and was killed; "
            "use --study for a second one"
        ) from error


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


def _storage(root: Path, name: str) -> "optuna.storages.BaseStorage":
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if os.environ.get("OPTUNA_STORAGE"):
        return RDBStorage(os.environ["OPTUNA_STORAGE"])
    folder = root / ".optuna"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.log"
    # Optuna's own lock file outlives a killed process; ours has just shown that there is none.
    (folder / f"{name}.log.lock").unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
