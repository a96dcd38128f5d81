"""DVC underneath a flow: what is there, what its cache can restore, what was computed and is to be committed.
Compute, then commit: no DVC lock is held while a stage run computes, and afterwards `dvc repro` finds nothing to do."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from data_registry.errors import InputError
from flows.plan import Plan
from tasks import digest, settings
from tasks.claim import Paths
from tasks.digest import Damaged
from tasks.settings import Settings
from tasks.stage import identify, is_whole

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

THERE, RESTORED = "there", "restored"


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
    be shared between threads, and its own lock gives up where another process of ours would have waited.

    Args:
        root: the repository's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def paths(self, run: str) -> Paths:
        """The files of a stage run at the scale of params.yaml."""
        stage, _, name = run.partition("/")
        return Paths(self.root, settings.load(self.root).scale, stage, name)

    def fetch(self, runs: Iterable[str]) -> dict[str, str]:
        """Which of these stage runs need no computing: {run: "there" | "restored"}.

        Args:
            runs: inputs before what reads them. A run that is there whole but unknown to DVC (made by hand) is
                committed; a damaged one is removed and, where the cache has it, restored.
        """
        from dvc.lock import LockError

        states: dict[str, str] = {}
        known: dict[str, bool] = {}
        found = settings.load(self.root)
        with self.repo() as repo:
            stages = {stage.addressing: stage for stage in repo.index.stages}
            for run in runs:
                stage = self._stage(stages, run)
                with contextlib.suppress(LockError):  # `dvc repro` is computing it: our own command will wait for that
                    if is_current(found, run, known=known):
                        if stage.changed():
                            repo.commit(stage.addressing, force=True)
                        states[run] = THERE
                    elif inputs_are_current(found, run, known) and self._restore(repo, stage, found, run, known):
                        states[run] = RESTORED
        return states

    def identity(self, run: str) -> str:
        """What a stage run is, in one word that is the same on every machine; its inputs must be there."""
        stage, _, name = run.partition("/")
        identity, _ = identify(settings.load(self.root), stage, name)
        return f"{run} {digest.digest_of(identity)}"[:255]

    def commit(self, run: str) -> None:
        """Take a computed stage run into DVC's cache, run-cache and dvc.lock."""
        from dvc.lock import LockError

        while True:
            try:
                with self.repo() as repo:
                    repo.commit(run.replace("/", "@", 1), force=True)
                return
            except LockError:  # `dvc repro` waited for the same run and is about to commit it
                time.sleep(0.5)

    def commands(self, runs: Iterable[str]) -> dict[str, str]:
        """The command of each stage run exactly as dvc.yaml has it."""
        with self.repo() as repo:
            stages = {stage.addressing: stage for stage in repo.index.stages}
            return {run: self._stage(stages, run).cmd for run in runs}

    def forget(self, runs: Iterable[str]) -> None:
        """Take stage runs that have left plan.yaml out of dvc.lock, whose length every commit pays for.

        Their outputs stay in DVC's cache, and its run-cache finds them again.
        """
        from dvc.utils.serialize import modify_yaml

        path = self.root / "dvc.lock"
        with self.repo():
            if path.exists():
                with modify_yaml(path) as content:
                    for run in runs:
                        (content.get("stages") or {}).pop(run.replace("/", "@", 1), None)

    def _restore(self, repo: "Repo", stage: "Stage", found: Settings, run: str, known: dict[str, bool]) -> bool:
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
            repo.commit(stage.addressing, force=True)
            return True
        if not is_whole(out):
            _drop_damaged(repo, stage)
        return False

    @staticmethod
    def _stage(stages: dict[str, "Stage"], run: str) -> "Stage":
        address = run.replace("/", "@", 1)
        if address not in stages:
            raise InputError(f"dvc.yaml: has no stage {address}, which {settings.PLAN_FILE} asks for")
        return stages[address]

    @contextlib.contextmanager
    def repo(self) -> Iterator["Repo"]:
        """DVC's repository, opened afresh, under our lock and its own."""
        from filelock import FileLock

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
                with lock_repo(repo), self._whole_lock_file():
                    yield repo
            except LockError:
                raise
            except DvcException as error:
                raise InputError(f"dvc: {error}") from error
            finally:
                repo.close()

    @contextlib.contextmanager
    def _whole_lock_file(self) -> Iterator[None]:
        """Keep what dvc.lock was while DVC may write it, and put it back where the last one to do so was killed.

        DVC truncates dvc.lock and writes it anew. What is lost with the newest entry comes back: the stage run itself
        is there, and the next `fetch` commits it. Where nobody was killed, a dvc.lock is its user's and stays as it is.
        """
        lock, before = self.root / "dvc.lock", self.root / ".locks" / "dvc.lock.before"  # empty: there was none
        if before.exists():
            known = _lock_entries(lock)
            if known is None or not (_lock_entries(before) or {}).items() <= known.items():
                before.replace(lock)
            if lock.exists() and not lock.stat().st_size:
                lock.unlink()
        writing = before.with_suffix(".writing")
        writing.write_bytes(lock.read_bytes() if lock.exists() else b"")
        writing.replace(before)
        try:
            yield
        finally:
            before.unlink()


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


def _lock_entries(path: Path) -> dict[str, str] | None:
    """The stage runs in a dvc.lock with all that it says of each; None where it is cut off."""
    from dvc.dvcfile import Lockfile
    from dvc.exceptions import DvcException
    from dvc.utils.serialize import load_yaml

    if not path.exists():
        return {}
    try:
        entries = Lockfile.validate(load_yaml(path), str(path)).get("stages") or {}
    except (DvcException, AttributeError):  # the latter for an empty file
        return None
    return {run: json.dumps(entry, sort_keys=True) for run, entry in entries.items()}
