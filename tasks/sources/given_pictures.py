"""Pictures without annotations, for `annotate`: every picture below a folder of the user's, in the order of names.
Where they lie is `runtime`, no part of the identity; what they are is `given`, a digest of every name and byte."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data_registry.errors import InputError
from data_registry.storage.pictures import shown

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp"))


def place(runtime: dict[str, Any], stage: str, name: str) -> Path:
    """The folder from `runtime.<stage>.<name>.pictures` of params.yaml."""
    named = ((runtime.get(stage) or {}).get(name) or {}).get("pictures")
    if not isinstance(named, str) or not named:
        raise InputError(f"params.yaml: runtime.{stage}.{name}.pictures: missing; say where the pictures lie")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; runtime.{stage}.{name}.pictures in params.yaml names it")
    return folder


def keys(folder: Path) -> list[str]:
    """Relative paths of the pictures below a folder and the folders linked there, sorted.

    Raises:
        InputError: there are none, or a name that is not UTF-8.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in _files(folder) if path.suffix.lower() in SUFFIXES)
    if not names:
        raise InputError(f"{folder}: no pictures ({', '.join(sorted(SUFFIXES))}) in it or below it")
    if odd := next((name for name in names if not _is_text(name)), None):
        raise InputError(f"{folder}: the picture {shown(odd)} has a name that is not UTF-8; rename it")
    return names


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, through links too; a folder that is linked into itself once."""
    seen = {os.path.realpath(folder)}
    for here, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if os.path.realpath(f"{here}/{name}") not in seen]
        seen.update(os.path.realpath(f"{here}/{name}") for name in folders)
        yield from (path for path in (Path(here, name) for name in files) if path.is_file())


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check(folder: Path, names: list[str], given: str, key: str, progress: Callable[[int, int], None]) -> None:
    """That the pictures are those that `given` says; InputError prints the digest to write."""
    digest = hashlib.sha256()
    for done, name in enumerate(names, 1):
        with (folder / name).open("rb") as file:
            digest.update(name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
        progress(done, len(names))
    if digest.hexdigest() != given:
        raise InputError(
            f"params.yaml: {key}: is {given!r}, but the {len(names)} pictures in {folder} have {digest.hexdigest()}; "
            "write that there if these are the files you mean"
        )
