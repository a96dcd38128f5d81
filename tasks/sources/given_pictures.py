"""Pictures that the user gives: a folder, taken in the order of names.
Where they lie is `runtime`, no part of the identity; what they are is `given`, a digest of every name and byte."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_registry.errors import InputError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp"))


def place(runtime: dict[str, Any], stage: str, name: str) -> Path:
    """The folder from `runtime.<stage>.<name>.pictures` of params.yaml."""
    given = ((runtime.get(stage) or {}).get(name) or {}).get("pictures")
    if not given:
        raise InputError(f"params.yaml: runtime.{stage}.{name}.pictures: missing; say where the pictures lie")
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; runtime.{stage}.{name}.pictures in params.yaml names it")
    return folder


def keys(folder: Path) -> list[str]:
    """Relative paths of the pictures below a folder, sorted; InputError where there are none."""
    found = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()
    )
    if not found:
        raise InputError(f"{folder}: no pictures ({', '.join(sorted(SUFFIXES))}) in it or below it")
    return found


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
