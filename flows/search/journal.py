"""A study's journal (`.optuna/<study>.log`): what Optuna appends to it, and what to do where a line of it is damaged.
A process that is killed while it appends, or whose disk is full, leaves part of a line, which Optuna refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from data_registry.errors import InputError
from flows.execution.protocols import Warn


def open_journal(path: Path, warn: Warn) -> JournalFileBackend:
    """The journal at a path, created if there is none, mended if its last line is incomplete.

    Args:
        warn: called with what was mended. Whoever opens a journal holds the study's lock: nobody else writes to it.

    Raises:
        InputError: another line is damaged; names it and the remedy.
    """
    path.parent.mkdir(exist_ok=True)
    # Optuna's own lock file outlives a killed process; the study's lock has shown that there is none.
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        _mend(path, warn)
        _check(path)
    return _Journal(str(path), lock_obj=JournalFileOpenLock(str(path)))


class _Journal(JournalFileBackend):
    """Optuna's journal file, on which a full disk leaves no part of a line."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        path = Path(self._file_path)
        size = path.stat().st_size
        try:
            super().append_logs(logs)
        except OSError:
            with path.open("r+b") as file:
                file.truncate(size)
            raise


def _mend(path: Path, warn: Warn) -> None:
    """Drop a last line that has no end, or end it where it is whole."""
    content = path.read_bytes()
    last = content.rpartition(b"\n")[2]
    if not last:
        return
    copy = _copy(path)
    if _problem(last) is None:
        with path.open("ab") as file:
            file.write(b"\n")
        warn(f"{path}: its last line was not ended; ended it (as it was: {copy.name})")
        return
    with path.open("r+b") as file:
        file.truncate(len(content) - len(last))
    warn(
        f"{path}: its last line was incomplete, as after a kill or on a full disk; dropped it (as it was: {copy.name})"
    )


def _copy(path: Path) -> Path:
    number = 1
    while (copy := path.with_name(f"{path.name}.torn-{number}")).exists():
        number += 1
    shutil.copyfile(path, copy)
    return copy


def _check(path: Path) -> None:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if problem := _problem(line):
            raise InputError(
                f"{path}: line {number}: {problem}; put back a copy of the file, or delete this line with those after "
                "it (the study goes on from there), or use --study for a new study"
            )


def _problem(line: bytes) -> str | None:
    """What is wrong with a line, which is to be one operation of Optuna's."""
    try:
        operation = json.loads(line)
    except ValueError:
        return "not JSON"
    if not (isinstance(operation, dict) and isinstance(operation.get("op_code"), int) and "worker_id" in operation):
        return "no operation of a study"
    return None
