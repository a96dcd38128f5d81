"""The only module, with `flows.store.dvc_files`, that touches DVC's private parts: a test has each of them by its name.

DVC's public `Repo.commit`, `Repo.checkout` and `Repo.reproduce` read and write all of dvc.yaml and dvc.lock each time:
1.4 s per stage run at 300 of them, more than most stage runs take. So single stages are loaded, saved and restored
here, and dvc.lock is changed an entry at a time (`flows.store.dvc_lock`). Which of two machines computes a stage run
is not DVC's to say either: `flows.execution.lease`.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_registry.errors import InputError
from flows.store.dvc_files import Entry, mend_rwlock

if TYPE_CHECKING:
    from dvc.parsing import DataResolver
    from dvc.repo import Repo
    from dvc.stage import Stage
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.hash_info import HashInfo


class Busy(RuntimeError):
    """A command of DVC's own works on the same output or holds the repository; the message names it."""


class NotCached(RuntimeError):
    """DVC's cache does not have the output of a stage."""


def quiet() -> None:
    """Neither a question nor a line from DVC: a flow has nobody to answer it, and a terminal of its own to show."""
    from dvc import prompt

    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    logging.getLogger("dvc").setLevel(logging.ERROR)
    prompt.ask = lambda prompt, limited_to=None: None  # as it answers without a terminal
    prompt.password = _no_password


def _no_password(statement: str) -> str:
    raise InputError(
        f"the DVC remote asks for a password ({statement}): put it into .dvc/config.local, nobody is asked"
    )


@contextlib.contextmanager
def repository(root: Path) -> Iterator["Repo"]:
    """DVC's repository, opened afresh, unlocked: its objects may not be shared between threads.

    Raises:
        InputError: there is none, or DVC refuses something.
        Busy: another command of DVC's works on the same.
    """
    from dvc.repo import Repo

    quiet()
    with errors(f"{root}: not a DVC repository (%s); run this in the project's root"):
        repo = Repo(str(root))
    try:
        if brace := re.search("[{}]", str(cache_folder(repo))):
            raise InputError(
                f"{cache_folder(repo)}: DVC cannot keep its cache in a folder with {brace[0]} in its name, which it "
                "takes for a place to fill in; move the project, or the cache (`dvc cache dir --local FOLDER`)"
            )
        with errors():
            yield repo
    finally:
        repo.close()


@contextlib.contextmanager
def errors(words: str = "dvc: %s") -> Iterator[None]:
    """DVC's errors as ours: `Busy`, and InputError with its message in these words."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        yield
    except LockError as error:
        raise Busy(str(error)) from error
    except DvcException as error:
        raise InputError(words % error) from error


@contextlib.contextmanager
def locked(repo: "Repo", wait: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """DVC's own lock on the repository, with its list of who uses what mended.

    Args:
        wait: called with the holder ({"pid"}, or nothing) after each attempt that failed; may raise, to give up.
    """
    from dvc.lock import LockError
    from dvc.repo import lock_repo

    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock_repo(repo))
                break
            except LockError:
                repo._lock_depth = 0
                wait(_holder(Path(repo.tmp_dir, "lock")))
        mend_rwlock(repo)
        stack.enter_context(_parameters_read_once())
        yield


def _holder(path: Path) -> dict[str, Any]:
    """zc.lockfile, which DVC uses, writes its holder's number into the file."""
    try:
        return {"pid": int(path.read_text().split()[0])}
    except (OSError, ValueError, IndexError):
        return {}


@contextlib.contextmanager
def _parameters_read_once() -> Iterator[None]:
    """Let DVC parse params.yaml and plan.yaml once: it does so five times for every stage run it looks at."""
    from dvc.utils import serialize

    load = serialize.LOADERS[".yaml"]
    serialize.LOADERS[".yaml"] = functools.lru_cache(load)
    try:
        yield
    finally:
        serialize.LOADERS[".yaml"] = load


class Stages:
    """Single stages of dvc.yaml, resolved without the rest of it.

    Args:
        root: the repository's root.
        pipeline: the files that DVC resolves stages from; they are read again once one has changed.
    """

    def __init__(self, root: Path, pipeline: Iterable[str]) -> None:
        self._root, self._pipeline = root, tuple(pipeline)
        self._resolver: DataResolver | None = None
        self._resolved: list[bytes] = []

    def load(self, repo: "Repo", address: str, entry: Entry | None) -> "Stage | None":
        """A stage by its name in dvc.yaml ("stage@name") and its entry of dvc.lock; None where dvc.yaml has none."""
        from dvc.dvcfile import load_file
        from dvc.parsing import EntryNotFound
        from dvc.stage.loader import StageLoader

        file = load_file(repo, str(self._root / "dvc.yaml"))
        texts = [path.read_bytes() for path in map(self._root.joinpath, self._pipeline) if path.exists()]
        if self._resolver is None or texts != self._resolved:
            self._resolver, self._resolved = file.resolver, texts
        try:
            definition = self._resolver.resolve_one(address)[address]
        except EntryNotFound:
            return None
        return StageLoader.load_stage(file, address, definition, entry)


def save(stage: "Stage") -> Entry:
    """Take a stage's output into DVC's cache and run-cache, as `Repo.commit(force=True)` does; returns its entry of
    dvc.lock."""
    from dvc.stage.serialize import to_single_stage_lockfile

    stage.save()
    stage.commit()
    return to_single_stage_lockfile(stage)


def is_recorded(stage: "Stage") -> bool:
    """Whether what lies there is what dvc.lock says of a stage's output, and in the cache."""
    return not stage.changed_outs()


def restore(repo: "Repo", stage: "Stage", pull: bool) -> None:
    """Bring a stage's output back from DVC's cache; nothing may lie in its way, or DVC would ask about it.

    Args:
        pull: from the default remote what the cache lacks.

    Raises:
        NotCached: it is in neither.
    """
    from dvc.stage.cache import RunCacheNotFoundError

    _prefer_exact(repo, stage)
    try:
        repo.stage_cache.restore(stage, pull=pull)
    except RunCacheNotFoundError as error:
        raise NotCached(str(error)) from error


def _prefer_exact(repo: "Repo", stage: "Stage") -> None:
    """Make the run-cache entry of exactly these parameters the newest under its key, which is the one that DVC takes.

    DVC leaves every key called `size` or `nfiles` out of what it hashes, parameters included: scenes of another `size`
    lie under the same key, and `dvc repro` gives those back that were saved last.
    """
    from dvc.stage.cache import _can_hash, _get_stage_hash
    from dvc.stage.serialize import to_single_stage_lockfile

    if not stage.changed_stage() and stage.deps_cached() and all(out.hash_info for out in stage.outs):
        return  # dvc.lock itself says what the output is
    stage.save_deps(allow_missing=True)
    stage.cmd_changed = True  # else DVC would take the dependencies of this moment for those of dvc.lock's output
    if not _can_hash(stage):
        return
    key, asked = _get_stage_hash(stage), to_single_stage_lockfile(stage)
    folder = Path(repo.stage_cache._get_cache_dir(key))
    for path in folder.iterdir() if folder.is_dir() else ():
        entry = repo.stage_cache._load_cache(key, path.name) or {}
        if all(entry.get(part) == asked.get(part) for part in ("cmd", "deps", "params")):
            os.utime(path)


def has_remote(repo: "Repo") -> bool:
    """Whether there is a default remote."""
    return bool(repo.config["core"].get("remote"))


def drop_damaged(repo: "Repo", stage: "Stage") -> None:
    """Remove from DVC's cache what it has of a stage run's output and no longer has the contents it is named after.

    DVC trusts what lies in its cache: a commit of the same output, computed again, would leave the damaged file there.
    """
    known = repo.stage_cache._load(stage) or {}
    for name in (out["md5"] for out in known.get("outs", ()) if "md5" in out):
        listing = Path(repo.cache.local.oid_to_path(name))
        members: list[str] = []
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # gone, or itself damaged
            members = [entry["md5"] for entry in json.loads(listing.read_bytes())] if name.endswith(".dir") else []
        for object_name in (*members, name):
            path = Path(repo.cache.local.oid_to_path(object_name))
            with contextlib.suppress(FileNotFoundError):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "md5").hexdigest()
                if digest != object_name.removesuffix(".dir"):
                    path.unlink()


def objects_of(stages: Iterable["Stage"]) -> "set[HashInfo]":
    """The objects of DVC's cache that the outputs of these stages are made of."""
    return {used for stage in stages for several in stage.get_used_objs().values() for used in several}


def push(repo: "Repo", objects: "set[HashInfo]") -> int:
    """Copy objects to the default remote; returns how many it did not take."""
    return len(repo.cloud.push(objects).failed)


def push_run_cache(repo: "Repo") -> None:
    """Copy the run-cache entries that the remote does not have."""
    _copy_missing(repo.cache.legacy, _remote(repo))


def pull_run_cache(repo: "Repo") -> None:
    """Copy the run-cache entries that only the remote has."""
    _copy_missing(_remote(repo), repo.cache.legacy)


def _remote(repo: "Repo") -> "HashFileDB":
    return repo.cloud.get_remote_odb(None, "run-cache", hash_name="md5-dos2unix")  # DVC's own place for it


def _copy_missing(source: "HashFileDB", target: "HashFileDB") -> None:
    """Run-cache entries (runs/<aa>/<key>/<value>, never changed once written) that the target does not have."""
    from dvc_objects.fs.generic import copy

    def entries(odb: "HashFileDB") -> set[str]:
        folder = odb.fs.join(odb.path, "runs")
        if not odb.fs.exists(folder):
            return set()
        names = {odb.fs.as_posix(odb.fs.relpath(path, odb.path)) for path in odb.fs.find(folder)}
        return {name for name in names if len(Path(name).parts) == 4 and not name.endswith(".tmp")}

    for name in sorted(entries(source) - entries(target)):
        parts = name.split("/")
        copy(source.fs, source.fs.join(source.path, *parts), target.fs, target.fs.join(target.path, *parts))


def cache_folder(repo: "Repo") -> Path:
    """Where DVC's cache is."""
    return Path(repo.cache.local.path)


def used_objects(repo: "Repo") -> set[str]:
    """Names of the objects that this working tree's outputs are, without the members of folders."""
    used = (getattr(entry, "hash_info", entry) for several in repo.used_objs().values() for entry in several)
    return {entry.value for entry in used}
