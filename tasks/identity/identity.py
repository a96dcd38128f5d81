"""What a stage run is: everything that determines its result, and whether an output is there that has it."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from tasks.identity import manifest
from tasks.identity.manifest import Damaged
from tasks.identity.settings import NO_SLOTS, Settings

T = TypeVar("T")


def identify(settings: Settings, stage: str, name: str) -> tuple[dict[str, Any], dict[str, Path | list[Path]]]:
    """The identity of a stage run, all that determines its result, and its input folders.

    Device, workers, paths and tracking addresses are in `runtime:` of params.yaml and stay out. An input enters by
    the digest of its contents, so an upstream change that ends in equal bytes changes nothing downstream.
    """
    entry = settings.entry(stage, name)
    runs = settings.root / "runs" / settings.scale
    inputs: dict[str, Path | list[Path]] = {}
    digests: dict[str, list[str]] = {}
    for slot, value in entry.items():
        if slot in NO_SLOTS:
            continue
        if slot in entry.get("empty", ()):  # padding for dvc.yaml, whose deps cannot be left out
            inputs |= {slot: []} if isinstance(value, list) else {}
            continue
        several = value if isinstance(value, list) else [value]
        folders = [runs / run for run in dict.fromkeys(several)]  # lists are padded by repeating the first
        with with_remedy():
            digests[slot] = [manifest.read_manifest(folder)["content"] for folder in folders]
        inputs[slot] = folders if isinstance(value, list) else folders[0]
    identity = {
        "scale": settings.scale,
        "stage": stage,
        "name": name,
        "version": settings.version(stage),
        "params": settings.section(stage, name),
        "parts": entry.get("parts") or {},
        "seed": settings.seed(stage, name),
        "inputs": digests,
    }
    manifest.canonical(identity)
    return identity, inputs


def is_whole(out: Path, identity: dict[str, Any] | None = None, contents: bool = True) -> bool:
    """Whether an output is there, unaltered (by size only, unless `contents`), and, if given, of this identity."""
    try:
        published = manifest.verify(out, contents)
    except (Damaged, FileNotFoundError):  # the latter where another process publishes it anew at this moment
        return False
    return identity is None or published["identity"] == json.loads(json.dumps(identity))


@contextlib.contextmanager
def with_remedy() -> Iterator[None]:
    """Complete an error about an input with the command that recomputes it."""
    try:
        yield
    except Damaged as error:
        path = Path(str(error).partition(": ")[0])
        parts = path.parts
        try:
            at = len(parts) - 1 - parts[::-1].index("runs")
            stage, name = parts[at + 2], parts[at + 3]
        except (ValueError, IndexError):
            raise error from None
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        package = spec.name.rpartition(".")[0] if spec and "." in spec.name else "tasks"
        raise Damaged(f"{error}; recompute it with `python -m {package}.{stage} {name}`") from None
