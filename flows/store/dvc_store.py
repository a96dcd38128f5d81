"""DVC underneath a flow: what is there, what its cache can restore, what was computed and is to be committed.
Compute, then commit: no DVC lock is held while a stage run computes, and afterwards `dvc repro` finds nothing to do."""

import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from data_registry.errors import InputError
from flows.designs.plan import Plan
from flows.store.dvc_lock import DvcLock
from tasks.identity import manifest, settings
from tasks.identity.identity import identify, is_whole
from tasks.identity.manifest import Damaged
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings

if TYPE_CHECKING:
    from dvc.parsing import DataResolver
    from dvc.repo import Repo
    from dvc.stage import Stage

THERE, RESTORED = "there", "restored"
_PIPELINE = ("dvc.yaml", settings.PLAN_FILE, settings.PARAMS_FILE)  # what DVC resolves stages from


def is_current(found: Settings, run: str, contents: bool = True, known: dict[str, bool] | None = None) -> bool:
    """Whether the output of "stage/name" is there, unaltered, and what params.yaml and the plan ask for now.

    All that it reads must be so too: what was made from an input that is to be computed again is not what is asked for,
    though it fits the input that still lies there.

    Args:
        contents: digest every file of this output; False compares names and sizes only, as for what it reads.
        known: answers about what it reads, so that each is found once; this call adds its own.
    """
    known = {} if known is None else known
    known[run] = inputs_are_current(found, run, known) and _fits(found, run, contents)
    return known[run]


def inputs_are_current(found: Settings, run: str, known: dict[str, bool]) -> bool:
    """Whether all that a stage run reads is what is asked for now; `known` as for `is_current`."""
    needs = Plan(found.plan).needs(run)
    return all(known[one] if one in known else is_current(found, one, False, known) for one in needs)


def _fits(found: Settings, run: str, contents: bool) -> bool:
    stage, _, name = run.partition("/")
    try:
        identity, _ = identify(found, stage, name)
    except Damaged:
        return False  # an input is missing, so what this run would be is not known yet
    return is_whole(Paths(found.root, found.scale, stage, name).out, identity, contents)


class Store:
    """The versioned outputs of stage runs, written "stage/name".

    A `Repo` is opened afresh for each operation, under one repository-wide operating-system lock: DVC's objects may not
    be shared between threads, and its own lock gives up where another process of ours would have waited. Of dvc.yaml
    and dvc.lock only the stage runs asked for are read, so that one costs the same however many there are.

    Args:
        root: the repository's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock_file = DvcLock(root)
        self._resolver: DataResolver | None = None
        self._resolved: list[bytes] = []  # the files that the resolver has read

    def paths(self, run: str) -> Paths:
        """The files of a stage run at the scale of params.yaml."""
        stage, _, name = run.partition("/")
        return Paths(self.root, settings.load(self.root).scale, stage, name)

    def fetch(self, runs: Iterable[str]) -> dict[str, str]:
        """Which of these stage runs need no computing: {run: "there" | "restored"}.

        Args:
            runs: inputs before what reads them. A run that is there whole but unknown to DVC (made by hand) is
                committed; a damaged one is removed and, where the cache has it, restored, unless it is being computed.
        """
        from dvc.lock import LockError

        states: dict[str, str] = {}
        known: dict[str, bool] = {}
        found = settings.load(self.root)
        with self.repo() as repo:
            for run, stage in self.stages(repo, runs).items():
                with contextlib.suppress(LockError):  # `dvc repro` is computing it: our own command will wait for that
                    if is_current(found, run, known=known):
                        if stage.changed():
                            self._commit(stage)
                        states[run] = THERE
                    elif inputs_are_current(found, run, known) and self._restore(repo, stage, found, run, known):
                        states[run] = RESTORED
        return states

    def identity(self, run: str) -> str:
        """What a stage run is, in one word that is the same on every machine; its inputs must be there."""
        stage, _, name = run.partition("/")
        identity, _ = identify(settings.load(self.root), stage, name)
        return f"{run} {manifest.digest_of(identity)}"[:255]

    def commit(self, run: str) -> None:
        """Take a computed stage run into DVC's cache, run-cache and dvc.lock."""
        from dvc.lock import LockError

        while True:
            try:
                with self.repo() as repo:
                    self._commit(self.stages(repo, [run])[run])
                return
            except LockError:  # `dvc repro` waited for the same run and is about to commit it
                time.sleep(0.5)

    def commands(self, runs: Iterable[str]) -> dict[str, str]:
        """The command of each stage run exactly as dvc.yaml has it."""
        with self.repo() as repo:
            return {run: stage.cmd for run, stage in self.stages(repo, runs).items()}

    def forget(self, runs: Iterable[str]) -> None:
        """Take stage runs that have left plan.yaml out of dvc.lock.

        Their outputs stay in DVC's cache, and its run-cache finds them again.
        """
        with self.repo():
            self._lock_file.drop(map(_address, runs))

    def _commit(self, stage: "Stage") -> None:
        """What `Repo.commit(force=True)` does."""
        from dvc.stage.serialize import to_single_stage_lockfile

        stage.save()
        stage.commit()
        self._lock_file.set(stage.name, to_single_stage_lockfile(stage))

    def _restore(self, repo: "Repo", stage: "Stage", found: Settings, run: str, known: dict[str, bool]) -> bool:
        """Under the stage run's claim: its own command may be about to publish what lies in the way here."""
        lock = self.paths(run).lock
        lock.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(Timeout), FileLock(lock, timeout=0):
            return self._restore_claimed(repo, stage, found, run, known)
        return False  # somebody computes it

    def _restore_claimed(self, repo: "Repo", stage: "Stage", found: Settings, run: str, known: dict[str, bool]) -> bool:
        from dvc.stage.cache import RunCacheNotFoundError

        out = self.paths(run).out
        if out.exists() and not is_whole(out):
            shutil.rmtree(out)
        try:
            repo.stage_cache.restore(stage, pull=bool(repo.config["core"].get("remote")))
        except RunCacheNotFoundError:
            _drop_damaged(repo, stage)
            return False
        except Exception as error:  # a remote's errors have no common base; what it does not give is computed
            if not repo.config["core"].get("remote"):
                raise
            logging.getLogger("spatialllm").warning("%s: the DVC remote does not give it (%s)", run, error)
            return False
        if is_current(found, run, known=known):
            self._commit(stage)
            return True
        if not is_whole(out):
            _drop_damaged(repo, stage)
        return False

    def stages(self, repo: "Repo", runs: Iterable[str]) -> dict[str, "Stage"]:
        """Each stage run as DVC has it, in this order; `repo` is this store's own."""
        from dvc.dvcfile import load_file
        from dvc.parsing import EntryNotFound
        from dvc.stage.loader import StageLoader

        addresses = {run: _address(run) for run in runs}
        file = load_file(repo, str(self.root / "dvc.yaml"))
        texts = [path.read_bytes() for path in map(self.root.joinpath, _PIPELINE) if path.exists()]
        if self._resolver is None or texts != self._resolved:
            self._resolver, self._resolved = file.resolver, texts
        entries = self._lock_file.entries(addresses.values())
        stages = {}
        for run, address in addresses.items():
            try:
                definition = self._resolver.resolve_one(address)[address]
            except EntryNotFound:
                raise InputError(f"dvc.yaml: has no stage {address}, which {settings.PLAN_FILE} asks for") from None
            stages[run] = StageLoader.load_stage(file, address, definition, entries.get(address))
        return stages

    @contextlib.contextmanager
    def repo(self) -> Iterator["Repo"]:
        """DVC's repository, opened afresh, under our lock and its own."""
        os.environ.setdefault("DVC_NO_ANALYTICS", "1")
        path = self.root / ".locks" / "dvc.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path):
            from dvc.exceptions import DvcException
            from dvc.lock import LockError
            from dvc.repo import Repo, lock_repo

            logging.getLogger("dvc").setLevel(logging.ERROR)
            try:
                repo = Repo(str(self.root), _wait_for_lock=True)
            except DvcException as error:
                raise InputError(
                    f"{self.root}: not a DVC repository ({error}); run this in the project's root"
                ) from error
            try:
                with lock_repo(repo), _parameters_read_once():
                    _mend_rwlock(repo)
                    yield repo
            except LockError:
                raise
            except DvcException as error:
                raise InputError(f"dvc: {error}") from error
            finally:
                repo.close()


def _address(run: str) -> str:
    """A stage run's name in dvc.yaml."""
    return run.replace("/", "@", 1)


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


def _mend_rwlock(repo: "Repo") -> None:
    """Remove DVC's list of who reads and writes what where a kill cut it off: DVC truncates it and writes it anew, and
    every later command would stop at half of it."""
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    path = Path(repo.tmp_dir, RWLOCK_FILE)
    if _is_json(path):
        return
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with make_lock(str(path.with_name(RWLOCK_LOCK)), tmp_dir=repo.tmp_dir, hardlink_lock=hardlink):
        if not _is_json(path):  # nobody is about to write the rest of it
            path.unlink()


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def _drop_damaged(repo: "Repo", stage: "Stage") -> None:
    """Remove from DVC's cache what it has of a stage run's output and no longer has the contents it is named after.

    DVC trusts what lies in its cache: a commit of the same output, computed again, would leave the damaged file there.
    """
    known = repo.stage_cache._load(stage) or {}
    for name in (out["md5"] for out in known.get("outs", ()) if "md5" in out):
        listing = Path(repo.cache.local.oid_to_path(name))
        members: list[str] = []
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # gone, or itself damaged
            members = [entry["md5"] for entry in json.loads(listing.read_bytes())] if name.endswith(".dir") else []
        for one in (*members, name):
            path = Path(repo.cache.local.oid_to_path(one))
            with contextlib.suppress(FileNotFoundError):
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "md5").hexdigest()
                if found != one.removesuffix(".dir"):
                    path.unlink()
