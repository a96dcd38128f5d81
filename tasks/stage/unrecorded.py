"""Outputs that DVC has not recorded yet are there a second time, as hard links, and are put back when they are gone.
`dvc repro` removes an output that it does not know before it runs the stage's command, so that without them a kill
between the two, or a command that was typed by hand, would cost the whole computation. (`persist: true` in dvc.yaml
would keep outputs too, but it turns DVC's run-cache off.)"""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.identity import manifest
from tasks.identity.files import read_json, remove, write_json
from tasks.identity.identity import is_whole
from tasks.identity.paths import Paths
from tasks.stage import process
from tasks.stage.parent_watch import dvc_process

_OUTPUT, _BY = "output", "by.json"  # in the folder: the output, and under which `dvc repro` it was computed
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)


def keep(paths: Paths, output: Path) -> None:
    """Keep a whole output of a stage run until it is recorded, unless it is kept already."""
    digest = manifest.digest_of(manifest.read_manifest(output)["identity"])
    kept = paths.unrecorded(digest)
    if not is_whole(kept / _OUTPUT, contents=False):
        making = kept.with_suffix(".partial")
        remove(making)
        remove(kept)
        link(output, making / _OUTPUT)
        making.replace(kept)
    write_json(kept / _BY, _dvc())


def kept_output(paths: Paths, identity: dict[str, Any]) -> Path | None:
    """The output of this identity, if it is kept and whole."""
    kept = paths.unrecorded(manifest.digest_of(identity)) / _OUTPUT
    return kept if is_whole(kept, identity) else None


def recorded(paths: Paths) -> None:
    """DVC has the published output: it need not be kept."""
    if next(_kept(paths.out.parent, f".{paths.name}."), None) is not None:
        digest = manifest.digest_of(manifest.read_manifest(paths.out)["identity"])
        remove(paths.unrecorded(digest))


def clear_recorded(paths: Paths) -> None:
    """Remove what this same `dvc repro` has computed before: it records each stage run before it begins the next."""
    dvc, lock = _dvc(), paths.root / "dvc.lock"
    if not dvc or not lock.exists():
        return
    written = lock.stat().st_mtime
    for stage in paths.out.parent.parent.iterdir():
        for kept in _kept(stage, ".") if stage.is_dir() else ():
            by = kept / _BY
            if read_json(by, dict, {}) == dvc and by.stat().st_mtime <= written:
                remove(kept)


def _kept(folder: Path, start: str) -> Iterator[Path]:
    """What is kept in a stage's folder, of names that start so."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        yield from (folder / name for name in names if name.startswith(start) and name.endswith(".unrecorded"))


def _dvc() -> dict[str, Any]:
    """The `dvc repro` under which this process computes; empty where there is none."""
    pid = dvc_process()
    return {} if pid is None else {**process.this_process(), "pid": pid, "started": process.started(pid), "command": ""}


def link(source: Path, target: Path) -> None:
    """A folder a second time, at no cost where its file system has hard links: nobody writes into a published file."""
    remove(target)
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        other = target / path.relative_to(source)
        if path.is_dir():
            other.mkdir()
            continue
        try:
            os.link(path, other)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.copy2(path, other)
