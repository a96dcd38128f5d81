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

from data_registry.errors import InputError
from flows.designs.plan import read_plan
from flows.store import dvc_adapter
from flows.store.dvc_store import Store, is_current
from tasks.identity import manifest
from tasks.identity import settings as config
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.stage import early_stop
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
    settings = config.load(root)
    needed = set(read_plan(root).runs())
    folders = {}
    for parent in (root / "runs", root / ".work"):
        for folder in sorted(parent.glob("*/*/*")):
            paths = _stage_run(root, folder)
            if paths.stage == "foundation" or not folder.is_dir() or holder_of(paths) is not None:
                continue
            run = f"{paths.stage}/{paths.name}"
            if run not in needed or paths.scale != settings.scale or _is_left_over(settings, folder, run, paths):
                files = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
                folders[folder.relative_to(root).as_posix()] = _bytes(files)
    if not cache:
        return Waste(folders)
    with Store(root).repo() as repo:
        unused = _unused(repo)
        where = str(dvc_adapter.cache_folder(repo))
    return Waste(folders, len(unused), _bytes(unused), where)


def remove(root: Path, waste: Waste, cache: bool = False) -> None:
    """Remove it, but for what a flow has begun to use since it was found: its user was asked in between."""
    still = find_waste(root).folders
    for folder in (root / folder_name for folder_name in waste.folders if folder_name in still):
        with contextlib.suppress(Timeout), FileLock(_stage_run(root, folder).lock, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    if cache:
        with Store(root).repo() as repo:
            repo.gc(workspace=True)


def _is_left_over(settings: Settings, folder: Path, run: str, paths: Paths) -> bool:
    """Whether a folder of a stage run that plan.yaml needs serves nothing: half an output, or the scratch of one that
    is there. An output that is kept until DVC has it does, and so do checkpoints of what is not there yet."""
    if folder == paths.work:
        stamp = folder / early_stop.STAMP
        try:
            if not stamp.exists() or not is_current(settings, run, contents=False):
                return False
        except InputError:  # params.yaml says nothing of it, as where plan.yaml is of another scale
            return False
        return stamp.read_text(encoding="utf-8") == manifest.digest_of(manifest.read_manifest(paths.out)["identity"])
    return folder.name.startswith(".") and folder.suffix not in (".unrecorded", ".rung")


def _stage_run(root: Path, folder: Path) -> Paths:
    """The stage run that a folder belongs to, also where that is a leftover (`.NAME.partial`)."""
    scale, stage, name = folder.parts[-3:]
    return Paths(root, scale, stage, name[1:].partition(".")[0] if name.startswith(".") else name)


def _unused(repo: "Repo") -> list[Path]:
    """Files of DVC's cache that no stage of this working tree uses."""
    folder = dvc_adapter.cache_folder(repo)
    used = dvc_adapter.used_objects(repo)
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
