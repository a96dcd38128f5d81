"""DVC underneath a flow: what is there, what its cache can restore, what was computed and is to be committed.
Compute, then commit: no DVC lock is held while a stage run computes, and afterwards `dvc repro` finds nothing to do."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from data_registry.errors import InputError
from flows.designs.plan import Plan
from flows.store import dvc_adapter
from flows.store.dvc_lock import DvcLock
from tasks.identity import manifest
from tasks.identity import settings as config
from tasks.identity.files import remove
from tasks.identity.identity import identify, is_whole
from tasks.identity.manifest import Damaged
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.stage import early_stop, locks, unrecorded
from tasks.stage.harness import Changed
from tasks.stage.publishing import put_back

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

THERE, RESTORED = "there", "restored"
_PIPELINE = ("dvc.yaml", config.PLAN_FILE, config.PARAMS_FILE)  # what DVC resolves stages from
_POLL_S = 0.5


def is_current(settings: Settings, run: str, contents: bool = True, known: dict[str, bool] | None = None) -> bool:
    """Whether the output of "stage/name" is there, unaltered, and what params.yaml and the plan ask for now.

    All that it reads must be so too: what was made from an input that is to be computed again is not what is asked for,
    though it fits the input that still lies there.

    Args:
        contents: digest every file of this output; False compares names and sizes only, as for what it reads.
        known: answers about what it reads, so that each is looked up once; this call adds its own.
    """
    known = {} if known is None else known
    known[run] = inputs_are_current(settings, run, known) and _fits(settings, run, contents)
    return known[run]


def inputs_are_current(settings: Settings, run: str, known: dict[str, bool]) -> bool:
    """Whether all that a stage run reads is what is asked for now; `known` as for `is_current`."""
    needs = Plan(settings.plan).needs(run)
    return all(known[read] if read in known else is_current(settings, read, False, known) for read in needs)


def _fits(settings: Settings, run: str, contents: bool) -> bool:
    stage, _, name = run.partition("/")
    try:
        identity, _ = identify(settings, stage, name)
    except Damaged:
        return False  # an input is missing, so what this run would be is not known yet
    return is_whole(Paths(settings.root, settings.scale, stage, name).out, identity, contents)


class Store:
    """The versioned outputs of stage runs, written "stage/name".

    DVC is opened afresh for each operation, under one repository-wide operating-system lock: its objects may not be
    shared between threads, and its own lock gives up where another process of ours would have waited. Of dvc.yaml and
    dvc.lock only the stage runs asked for are read, so that one costs the same however many there are.

    Args:
        root: the repository's root.
        warn: takes a line about whom this waits for, and about a remote that does not answer.
        pause: called as pause(seconds, what for) while it waits; may raise, to give up.
    """

    def __init__(
        self,
        root: Path,
        warn: Callable[[str], object] = locks.say,
        pause: Callable[[float, str], object] = lambda seconds, doing: time.sleep(seconds),
    ) -> None:
        self.root = root
        self._warn, self._pause = warn, pause
        self._lock_file = DvcLock(root)
        self._stages = dvc_adapter.Stages(root, _PIPELINE)

    def paths(self, run: str) -> Paths:
        """The files of a stage run at the scale of params.yaml."""
        stage, _, name = run.partition("/")
        return Paths(self.root, config.load(self.root).scale, stage, name)

    def fetch(self, runs: Iterable[str]) -> dict[str, str]:
        """Which of these stage runs need no computing: {run: "there" | "restored"}.

        Args:
            runs: inputs before what reads them. A run that is there whole but unknown to DVC (made by hand) is
                committed; a damaged one is removed and, where the cache has it, restored, unless it is being computed.
        """
        states: dict[str, str] = {}
        known: dict[str, bool] = {}
        with self.repo() as repo:
            settings = config.load(self.root)  # not before: DVC, too, reads the parameters of this moment
            for run, stage in self.stages(repo, runs).items():
                with contextlib.suppress(dvc_adapter.Busy), dvc_adapter.errors():  # `dvc repro` computes it: our own
                    if is_current(settings, run, known=known):  # command will wait for that
                        self._record(run, stage)
                        states[run] = THERE
                    elif inputs_are_current(settings, run, known) and self._restore(repo, stage, settings, run, known):
                        states[run] = RESTORED
        return states

    def identity(self, run: str) -> str:
        """What a stage run is, in one word that is the same on every machine; its inputs must be there."""
        stage, _, name = run.partition("/")
        identity, _ = identify(config.load(self.root), stage, name)
        return f"{run} {manifest.digest_of(identity)}"[:255]

    def commit(self, run: str) -> None:
        """Take a computed stage run into DVC's cache, run-cache and dvc.lock.

        Raises:
            Changed: parameters were edited since, and DVC would take it for theirs; it is kept until they return.
        """
        doing = f"take {run} into DVC's cache"
        waiting = locks.Waiting(doing, self._warn)
        while True:
            try:
                with self.repo() as repo:  # which may have been waited for
                    if not _fits(config.load(self.root), run, contents=False):
                        raise Changed(f"{run}: {config.PARAMS_FILE} or {config.PLAN_FILE} was edited after it ended")
                    self._commit(run, self.stages(repo, [run])[run])
                return
            except dvc_adapter.Busy as error:  # `dvc repro` waited for the same run and is about to commit it
                waiting.goes_on(self.root / ".dvc" / "tmp" / "rwlock", partial(dict, words=str(error)))
                self._pause(_POLL_S, doing)

    def commands(self, runs: Iterable[str]) -> dict[str, str]:
        """The command of each stage run exactly as dvc.yaml has it."""
        with self.repo() as repo:
            return {run: stage.cmd for run, stage in self.stages(repo, runs).items()}

    def forget(self, runs: Iterable[str]) -> None:
        """Take stage runs that have left plan.yaml out of dvc.lock.

        Their outputs stay in DVC's cache, and its run-cache has them when they come back.
        """
        with self.repo():
            self._lock_file.drop(map(_address, runs))

    def _record(self, run: str, stage: "Stage") -> None:
        """Commit what is there unless DVC knows it, and remove what a kill left of its computation."""
        if stage.changed():
            self._commit(run, stage)
        paths = self.paths(run)
        unrecorded.recorded(paths)
        if paths.work.exists():
            with _claimed(paths) as ours:
                if ours:
                    early_stop.clear_scratch(paths, manifest.read_manifest(paths.out)["identity"])

    def _commit(self, run: str, stage: "Stage") -> None:
        self._lock_file.set(stage.name, dvc_adapter.save(stage))
        unrecorded.recorded(self.paths(run))

    def _restore(self, repo: "Repo", stage: "Stage", settings: Settings, run: str, known: dict[str, bool]) -> bool:
        """Under the stage run's claim: its own command may be about to publish what lies in the way here."""
        paths = self.paths(run)
        with _claimed(paths) as ours:
            if not ours:
                return False  # somebody computes it
            identity, _ = identify(settings, paths.stage, paths.name)
            if put_back(paths, identity):
                self._commit(run, stage)
            elif not self._restore_cached(repo, stage, run):
                return False
            if is_current(settings, run, known=known):
                self._record(run, stage)
                return True
            if not is_whole(paths.out):
                dvc_adapter.drop_damaged(repo, stage)
            return False

    def _restore_cached(self, repo: "Repo", stage: "Stage", run: str) -> bool:
        """Restore from DVC's cache or remote, into an empty place: DVC would ask what to do with what lies there."""
        paths, remote = self.paths(run), dvc_adapter.has_remote(repo)
        _move_aside(paths, stage)
        try:
            dvc_adapter.restore(repo, stage, pull=remote)
        except dvc_adapter.NotCached:
            dvc_adapter.drop_damaged(repo, stage)
        except Exception as error:  # a remote's errors have no common base; what it does not give is computed
            if not remote:
                raise
            logging.getLogger("spatialllm").warning("%s: the DVC remote does not give it (%s)", run, error)
        finally:
            restored = paths.out.exists()
            if not restored and paths.replaced.exists():
                paths.replaced.replace(paths.out)
        if restored:
            remove(paths.replaced)
        return restored

    def stages(self, repo: "Repo", runs: Iterable[str]) -> dict[str, "Stage"]:
        """Each stage run as DVC has it, in this order; `repo` is this store's own."""
        addresses = {run: _address(run) for run in runs}
        entries = self._lock_file.entries(addresses.values())
        stages = {}
        for run, address in addresses.items():
            stage = self._stages.load(repo, address, entries.get(address))
            if stage is None:
                raise InputError(f"dvc.yaml: has no stage {address}, which {config.PLAN_FILE} asks for")
            stages[run] = stage
        return stages

    @contextlib.contextmanager
    def repo(self) -> Iterator["Repo"]:
        """DVC's repository, opened afresh, under our lock and its own."""
        doing = "look at and change DVC's records"
        own = locks.hold(self.root / ".locks" / "dvc.lock", doing, self._warn, self._pause)
        with own, dvc_adapter.repository(self.root) as repo:
            waiting = locks.Waiting(doing, self._warn)

            def wait(who: dict[str, Any]) -> None:
                waiting.goes_on(Path(repo.tmp_dir, "lock"), lambda: who)
                self._pause(_POLL_S, doing)

            with dvc_adapter.locked(repo, wait):
                yield repo


def _address(run: str) -> str:
    """A stage run's name in dvc.yaml."""
    return run.replace("/", "@", 1)


@contextlib.contextmanager
def _claimed(paths: Paths) -> Iterator[bool]:
    """Hold a stage run's claim if nobody does; says whether it is ours."""
    paths.lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(paths.lock, timeout=0):
            yield True
    except Timeout:
        yield False


def _move_aside(paths: Paths, stage: "Stage") -> None:
    """Empty the place of an output. A whole one that DVC does not know stays beside, for when it is asked for again."""
    remove(paths.replaced)
    if not paths.out.exists():
        return
    if not is_whole(paths.out):
        remove(paths.out)
        return
    if not dvc_adapter.is_recorded(stage):
        unrecorded.keep(paths, paths.out)
    paths.out.replace(paths.replaced)
