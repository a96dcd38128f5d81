"""Identities and manifests: what a stage run is, and what proves that its output is whole.
A manifest is the last file written into an output; without a matching one the output does not exist."""

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

from data_registry.errors import InputError

MANIFEST = "MANIFEST.json"


class Damaged(InputError):
    """An output that is missing, incomplete or altered since it was computed."""


def canonical(value: Any) -> str:
    """JSON with one spelling per value; InputError on what has none (dates, NaN, objects)."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"an identity holds only text, finite numbers, lists and keys with values: {error}") from error


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(out: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Digest every file of `out` and write its manifest: {identity, files: {path: {sha256, bytes}}, content}.

    `content` is one digest of all files. Nothing in it depends on when or where it was computed.
    """
    files = {
        path.relative_to(out).as_posix(): {"sha256": digest_of_file(path), "bytes": path.stat().st_size}
        for path in _files(out)
    }
    manifest = {"identity": identity, "files": files, "content": digest_of(files)}
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (out / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of an output; `Damaged` when there is none that can be read."""
    path = out / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = "has no manifest, so it is incomplete" if out.exists() else "does not exist"
        raise Damaged(f"{out}: {what}") from error
    except (NotADirectoryError, IsADirectoryError, ValueError, RecursionError) as error:
        raise Damaged(f"{path}: is not a manifest ({error})") from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise Damaged(f"{out}: is a link that leads back to itself") from error
    if not _is_manifest(manifest):
        raise Damaged(f"{path}: is not a manifest: it needs an identity, files with sha256 and bytes, and content")
    return manifest


def verify(out: Path, contents: bool = True) -> dict[str, Any]:
    """Check an output against its manifest and return it.

    Args:
        contents: digest every file; False compares names and sizes only.

    Raises:
        Damaged: names the first file that is missing, extra, truncated or altered.
    """
    manifest = read_manifest(out)
    files = manifest["files"]
    present = {path.relative_to(out).as_posix(): path for path in _files(out)}
    for name in sorted(files.keys() | present.keys()):
        if name not in present:
            raise Damaged(f"{out / name}: is missing")
        if name not in files:
            raise Damaged(f"{out / name}: is not in the manifest")
        size = present[name].stat().st_size
        if size != files[name]["bytes"]:
            raise Damaged(f"{out / name}: has {size} bytes instead of {files[name]['bytes']}")
    if contents:
        for name, path in present.items():
            if digest_of_file(path) != files[name]["sha256"]:
                raise Damaged(f"{path}: was altered since it was computed")
    if digest_of(files) != manifest["content"]:
        raise Damaged(f"{out / MANIFEST}: was altered since it was written")
    return manifest


def _is_manifest(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("identity"), dict)
        and isinstance(value.get("content"), str)
        and isinstance(value.get("files"), dict)
        and all(isinstance(file, dict) and {"sha256", "bytes"} <= file.keys() for file in value["files"].values())
    )


def _files(out: Path) -> list[Path]:
    return sorted(p for p in out.rglob("*") if p.is_file() and p != out / MANIFEST)
