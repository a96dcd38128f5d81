"""The manifest of what was fetched into a data set's folder, and how its files lie there beside manifest and card.
The manifest (`.fetched.json`) holds what the source does not publish, so that a later change is noticed."""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_registry.cards.card import File, Pictures
from data_registry.errors import InputError

RECORD = ".fetched.json"
_BLOCK = 1 << 22

State = Literal["good", "recorded", "missing", "wrong", "unchecked"]


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file, or folder of pictures, as it lies here.

    Attributes:
        state: "good": as the card or the record says; "recorded": nothing said what it must be, from now on the record
            does; "missing"; "wrong": cut off or altered, `detail` says how; "unchecked": nothing says what it must be.
    """

    path: str
    state: State
    detail: str = ""

    @property
    def usable(self) -> bool:
        return self.state not in ("missing", "wrong")


class FetchRecord:
    """The record of one folder; safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        path = folder / RECORD
        if path.exists():
            try:
                self._known = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise InputError(f"{path}: unreadable ({error}); delete it, files are then checked again") from None

    def check(self, file: File, thorough: bool, passed: Callable[[int], None] = lambda size: None) -> FileStatus:
        """How a file lies here.

        Args:
            thorough: hash it even where size and time are those of the record.
            passed: called with the bytes that were hashed.
        """
        path, known = self.folder / file.path, self._known.get(file.path, {})
        if not path.is_file():
            return FileStatus(file.path, "missing")
        status = path.stat()
        size = file.size if file.size is not None else known.get("size")
        if size is not None and status.st_size != size:
            how = "cut off" if status.st_size < size else "too long"
            return FileStatus(file.path, "wrong", f"{how}: {status.st_size:,} bytes instead of {size:,}")
        must = file.sha256 or known.get("sha256")
        origin = "its card" if file.sha256 else "the record of its download"
        if must is None:
            return FileStatus(file.path, "unchecked", "nothing says what it must be")
        if not thorough and known.get("sha256") == must and known.get("mtime_ns") == status.st_mtime_ns:
            return FileStatus(file.path, "good")
        is_now = digest(path, passed)
        if is_now != must:
            self.forget(file)
            return FileStatus(file.path, "wrong", f"altered: its SHA-256 is {is_now}, {origin} says {must}")
        self.remember(file, must)
        return FileStatus(file.path, "good", f"SHA-256 as {origin} says")

    def remember(self, file: File, sha256: str) -> None:
        """Remember a file that lies here, and that its content is this."""
        status = (self.folder / file.path).stat()
        with self._lock:
            self._known[file.path] = {"size": status.st_size, "sha256": sha256, "mtime_ns": status.st_mtime_ns}
            self._write()

    def forget(self, file: File) -> None:
        """Trust no more in the time of a file; its digest stays."""
        with self._lock:
            if self._known.get(file.path, {}).pop("mtime_ns", None) is not None:
                self._write()

    def _write(self) -> None:
        partial = self.folder / f"{RECORD}.partial"
        partial.write_text(json.dumps(self._known, indent=1), encoding="utf-8")
        partial.replace(self.folder / RECORD)


def count(folder: Path, pictures: Pictures) -> FileStatus:
    """How a folder of pictures lies here; only the number of its files is compared."""
    if not (folder / pictures.path).is_dir():
        return FileStatus(pictures.path, "missing")
    here = sum(len(files) for _, _, files in os.walk(folder / pictures.path, followlinks=True))
    if pictures.files is None:
        return FileStatus(pictures.path, "unchecked", f"{here:,} files; their number is not published")
    state: State = "good" if here == pictures.files else "wrong"
    return FileStatus(pictures.path, state, f"{here:,} of {pictures.files:,} files")


def digest(path: Path, passed: Callable[[int], None] = lambda size: None) -> str:
    """SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
            passed(len(block))
    return total.hexdigest()
