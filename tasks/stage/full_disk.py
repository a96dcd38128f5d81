"""A full disk, recognised in whatever words it comes, and said in one message with its remedy."""

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

# Libraries in Rust and C++, DVC and databases pass the operating system's error on as text only.
_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full", "Not enough free space")
# PyTorch and NumPy say only that less was written than should be; then what is left decides.
WRITE_FAILED = re.compile(r"PytorchStreamWriter failed writing|unexpected pos \d+ vs|\d+ requested and \d+ written")
_NOTHING_LEFT = 1 << 20  # bytes
_FOLDERS = ("runs", ".work", "logs", ".locks", ".dvc/cache", ".optuna", "mlartifacts", ".prefect", "reports")


def full_disk(error: BaseException | None, doing: str, root: Path) -> str | None:
    """The message of an error that comes from a full disk, None for every other error.

    Args:
        doing: what could not go on, e.g. "instruct clip_vicuna-7b_cc558k_mix665k".
        root: the repository's root; the message names the disk that is full, and of several the fullest.
    """
    least = min(_places(root), key=_free)
    while error is not None:
        code, text = getattr(error, "errno", None), str(error)
        written = any(words in text for words in _WORDS) or code in (errno.ENOSPC, errno.EDQUOT)
        if written or (_free(least) < _NOTHING_LEFT and WRITE_FAILED.search(text)):
            file = getattr(error, "filename2", None) or getattr(error, "filename", None)
            return _message(doing, _existing(root / file) if isinstance(file, str | os.PathLike) else least)
        error = error.__cause__ or error.__context__
    return None


def full_disk_of(folder: Path, doing: str) -> str | None:
    """The message of a folder whose disk is full, where nothing says so: a log whose writer could not write it."""
    return _message(doing, folder) if folder.exists() and _free(folder) < _NOTHING_LEFT else None


def _message(doing: str, place: Path) -> str:
    return (
        f"{doing}: the disk of {place} is full ({_free(place) / 2**30:.2f} GiB free); nothing half-written was kept. "
        "Free some space (`spatialllm gc` shows what no plan needs), then run the same again"
    )


def _places(root: Path) -> list[Path]:
    """Where we write: each may be a disk of its own."""
    folders = (root, *(root / name for name in _FOLDERS), Path(tempfile.gettempdir()))
    return [folder for folder in folders if folder.exists()]


def _existing(path: Path) -> Path:
    """The folder of a file, or the nearest above it that there is."""
    return next(folder for folder in path.absolute().parents if folder.exists())


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
