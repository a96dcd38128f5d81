"""State files: written whole and onto the disk or not at all, and read with the kinds of damage in mind that a power
loss leaves (a file of length zero, a cut one, one full of NULs)."""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, TypeVar

from data_registry.errors import InputError

T = TypeVar("T")


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write a JSON file that is never seen half-written; `durable` as for `write_text`."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(path, text, durable=durable)


def write_text(path: Path, text: str, beside: Path | None = None, durable: bool = True) -> None:
    """Write a text file that is never seen half-written.

    Args:
        beside: the temporary file's path on the same file system, before a suffix of this process's own; default:
            beside the file itself.
        durable: not even after a power loss; False for what is worth nothing then.
    """
    beside = beside or path
    beside.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside.with_name(f"{beside.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())  # else the rename may reach the disk before the contents do
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file's contents or a folder's entries onto the disk, so that a power loss takes nothing of them."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_files(folder: Path) -> None:
    """Bring the contents of every file below a folder onto the disk, and the folders' entries."""
    for where, _, names in os.walk(folder):
        for name in names:
            sync(Path(where, name))
        sync(Path(where))


def read_json(path: Path, kind: type[T], otherwise: T) -> T:
    """A JSON file that can be made anew; `otherwise` where there is none, or none that can be read.

    Args:
        kind: what must stand at its top level, dict or list.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return otherwise
    return value if isinstance(value, kind) else otherwise


def read_state(path: Path, kind: type[T], remedy: str) -> T:
    """A JSON file that cannot be made anew.

    Args:
        kind: what must stand at its top level, dict or list.
        remedy: what to do where it is damaged, e.g. "bring it back from a backup, or remove it: ...".

    Raises:
        FileNotFoundError: there is none.
        InputError: it is damaged; names it and the remedy.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {_damage(path, error)}; {remedy}") from error
    if not isinstance(value, kind):
        names: dict[type, str] = {dict: "keys with values", list: "a list"}
        wanted = names.get(kind, kind.__name__)
        raise InputError(f"{path}: expected {wanted}, found {type(value).__name__}; {remedy}")
    return value


def _damage(path: Path, error: Exception) -> str:
    """What is wrong with a file that cannot be read, in words."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 (byte {error.start})"
    return f"is not JSON ({error})" if path.stat().st_size else "is empty, as a power loss leaves files"


def remove(path: Path) -> None:
    """Remove a folder with all in it, a file or a link, whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
