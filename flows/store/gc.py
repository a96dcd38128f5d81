"""What no plan needs: outputs and scratch of stage runs that plan.yaml does not list, and their objects in DVC's cache.
Foundation models are never among them; what a process is computing neither."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from flows.designs.plan import read_plan
from flows.store.dvc_store import Store
from tasks.identity import settings
from tasks.identity.paths import Paths
from tasks.stage.claim import holder_of

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass(frozen=True)
class Waste:
    """What could go.

    Attributes:
        folders: {path from the root: bytes}, outputs and scratch; DVC's cache has what was committed of them.
        objects, object_bytes: in DVC's cache (its folder is `cache`), of stage runs that plan.yaml does not list, such
            as a sweep's trials; another clone that shares this cache may need them.
    """

    folders: dict[str, int]
    objects: int = 0
    object_bytes: int = 0
    cache: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "folders": self.folders,
            "folder_bytes": sum(self.folders.values()),
            "cache_objects": self.objects,
            "cache_bytes": self.object_bytes,
        }


def find_waste(root: Path, cache: bool = False) -> Waste:
    """What no plan needs.

    Args:
        cache: look into DVC's cache too.
    """
    needed, own_scale = set(read_plan(root).runs()), settings.load(root).scale
    folders = {}
    for parent in (root / "runs", root / ".work"):
        for folder in sorted(parent.glob("*/*/*")):
            paths = _stage_run(root, folder)
            if paths.stage == "foundation" or not folder.is_dir():
                continue
            leftover = folder.name.startswith(".")
            unneeded = f"{paths.stage}/{paths.name}" not in needed or paths.scale != own_scale
            if (leftover or unneeded) and holder_of(paths) is None:
                files = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
                folders[folder.relative_to(root).as_posix()] = _bytes(files)
    if not cache:
        return Waste(folders)
    with Store(root).repo() as repo:
        unused = _unused(repo)
        where = str(repo.cache.local.path)
    return Waste(folders, len(unused), _bytes(unused), where)


def remove(root: Path, waste: Waste, cache: bool = False) -> None:
    """Remove it, but for what a flow has begun to use since it was found: its user was asked in between."""
    still = find_waste(root).folders
    for folder in (root / one for one in waste.folders if one in still):
        with contextlib.suppress(Timeout), FileLock(_stage_run(root, folder).lock, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    if cache:
        with Store(root).repo() as repo:
            repo.gc(workspace=True)


def _stage_run(root: Path, folder: Path) -> Paths:
    """The stage run that a folder belongs to, also where that is a leftover (`.NAME.partial`)."""
    scale, stage, name = folder.parts[-3:]
    return Paths(root, scale, stage, name[1:].rsplit(".", 1)[0] if name.startswith(".") else name)


def _unused(repo: "Repo") -> list[Path]:
    """Files of DVC's cache that no stage of this working tree uses."""
    folder = Path(repo.cache.local.path)
    used = {one.value for objects in repo.used_objs().values() for one in (getattr(o, "hash_info", o) for o in objects)}
    used |= set(_members(folder, used))
    files = (path for path in folder.glob("??/*") if path.is_file())
    return [path for path in files if path.parent.name + path.name not in used]


def _members(folder: Path, used: Iterable[str]) -> Iterable[str]:
    for value in used:
        listing = folder / value[:2] / value[2:]
        if value.endswith(".dir") and listing.exists():
            yield from (entry["md5"] for entry in json.loads(listing.read_text()))


def _bytes(files: Iterable[Path]) -> int:
    total = 0
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # another process may use the folder, or clean up as well
            total += path.stat().st_size
    return total
