"""How an output comes to be there whole or not at all: it is computed beside its place and put there by one rename.
What a kill left behind is cleared first, and what it had finished is kept."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_registry.errors import InputError
from tasks.identity import manifest
from tasks.identity.files import remove, sync, sync_files
from tasks.identity.identity import is_whole, with_remedy
from tasks.identity.paths import Paths
from tasks.stage import early_stop, unrecorded

Inputs = dict[str, Path | list[Path]]  # by slot of the plan's entry


def check_place(paths: Paths) -> None:
    """Make sure, before anything is computed, that an output's place is free or holds a folder.

    Raises:
        InputError: a file or a link that leads nowhere is there, what nobody of us wrote is not ours to remove; or a
            folder on the way is a link.
    """
    out = paths.out
    for folder in (out.parents[2], out.parents[1], out.parents[0]):  # runs/, the scale's, the stage's
        if folder.is_symlink():
            raise InputError(
                f"{folder}: is a link to {folder.readlink()}, and neither git nor DVC follows one; mount what it "
                f"points to in its place (`mount --bind`), or keep only DVC's cache there (`dvc cache dir`)"
            )
    if out.is_dir():
        return
    if out.is_symlink():
        raise InputError(
            f"{out}: is a link to {out.readlink()}, which leads nowhere; remove it or bring back what it points to, "
            "then run the same again"
        )
    if out.exists():
        raise InputError(f"{out}: is no folder, as an output is; move it away, then run the same again")


def publish(paths: Paths, keep: bool = True) -> None:
    """Exchange the published output for the finished one. A kill in between leaves one of the two, whole.

    Args:
        keep: it a second time until DVC has recorded it (`tasks.stage.unrecorded`).
    """
    sync_files(paths.partial)  # its checkpoints are removed next: a power loss must not take the output too
    if keep:
        unrecorded.keep(paths, paths.partial)
    remove(paths.replaced)
    if paths.out.exists():
        paths.out.replace(paths.replaced)
    paths.partial.replace(paths.out)
    sync(paths.out.parent)
    remove(paths.replaced)


def put_back(paths: Paths, identity: dict[str, Any]) -> bool:
    """Publish the output of this identity again, if it is kept since DVC has not recorded it; its claim is ours."""
    kept = unrecorded.kept_output(paths, identity)
    if kept is None:
        return False
    unrecorded.link(kept, paths.partial)
    publish(paths)
    return True


def clear_leftovers(paths: Paths, identity: dict[str, Any]) -> None:
    """What a killed run left behind; its claim is ours now. A finished output that only missed its rename is kept."""
    remove(paths.replaced)
    if is_whole(paths.partial, identity):
        publish(paths)
    remove(paths.partial)


def prepare_scratch(work: Path, identity: dict[str, Any]) -> None:
    """Keep checkpoints of the same identity, or take those of the same training stopped earlier; drop all others."""
    stamp, wanted = work / early_stop.STAMP, manifest.digest_of(identity)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(work, ignore_errors=True)
        if not early_stop.adopt_scratch(work, identity):
            work.mkdir(parents=True)
        stamp.write_text(wanted, encoding="utf-8")


def verify_inputs(inputs: Inputs) -> None:
    """Digest every file of every input.

    Raises:
        Damaged: one is missing, truncated or altered; the message has the command that recomputes it.
    """
    for folder in _folders(inputs):
        with with_remedy():
            manifest.verify(folder)


def _folders(inputs: Inputs) -> Iterable[Path]:
    for value in inputs.values():
        yield from value if isinstance(value, list) else [value]
