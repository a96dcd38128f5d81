"""The DVC remote, where there is one: what is committed is pushed at once, what another machine has computed is pulled.
A remote that does not answer costs a warning and a list of what it lacks, never a result."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.designs.plan import read_plan
from flows.store import dvc_adapter
from flows.store.dvc_store import Store
from tasks.identity.files import read_json, write_json
from tasks.stage import locks

if TYPE_CHECKING:
    from dvc.repo import Repo

_PAUSES_S = (1.0, 5.0)  # before the second and the third attempt
_LIST = Path(".work") / "to-push.json"
_OLD_LIST = Path(".work") / "push-owed.json"  # its name until November 2026: read as long as it is there


class RemoteDown(RuntimeError):
    """The remote does not take or give what it should; the message is its own."""


class Remote:
    """The default remote of `.dvc/config`; every method does nothing where there is none.

    Args:
        warn: called with a warning.
        store: of the same root.
    """

    def __init__(self, root: Path, warn: Callable[[str], object], store: Store | None = None) -> None:
        self.root, self._warn = root, warn
        self._store = store or Store(root, warn)
        self._exists: bool | None = None

    @property
    def exists(self) -> bool:
        """Whether this repository has a default remote."""
        if self._exists is None:
            with self._store.repo() as repo:
                self._exists = dvc_adapter.has_remote(repo)
        return self._exists

    def push(self, run: str) -> bool:
        """Push a committed stage run's outputs, then its run-cache entry; returns whether the remote has them.

        What could not be pushed is noted and pushed with the next one, or by the next flow.
        """
        if not self.exists:
            return False
        self._list(run)
        for pause in (*_PAUSES_S, None):
            try:
                self._push(run)
                return True
            except RemoteDown as error:
                if pause is None:
                    self._warn(f"the DVC remote does not take {run} ({error}); it is kept here and pushed later")
                else:
                    time.sleep(pause)
        return False

    def push_missing(self) -> None:
        """Push what earlier flows could not."""
        if self._missing() and self.exists:
            try:
                self._push()
            except RemoteDown as error:
                self._warn(f"the DVC remote still does not take what it lacks ({error}); the next flow tries again")

    def look(self) -> None:
        """Learn what others have computed: copy new run-cache entries, so that `Store.fetch` finds them."""
        if not self.exists:
            return
        try:
            with _transfer(self.root) as repo:
                dvc_adapter.pull_run_cache(repo)
        except RemoteDown as error:
            self._warn(f"the DVC remote does not answer ({error}); what others have computed is not seen")

    def _push(self, *runs: str) -> None:
        """Push these and what it lacks, and take them off the list; what was added to it meanwhile stays there."""
        missing = [*dict.fromkeys([*self._missing(), *runs])]
        with self._store.repo() as repo:  # locked for as long as dvc.lock is read, not while bytes travel
            objects = dvc_adapter.objects_of(self._store.stages(repo, missing).values())
        with _transfer(self.root) as repo:
            if failed := dvc_adapter.push(repo, objects):
                raise RemoteDown(f"{failed} of {len(objects)} outputs were not transferred")
            dvc_adapter.push_run_cache(repo)
        with self._list_lock():
            self._write([run for run in self._listed() if run not in missing])

    def _missing(self) -> list[str]:
        """What it lacks of plan.yaml: a sweep's trials may have left it, and stay listed until they come back."""
        planned = set(read_plan(self.root).runs())
        return [run for run in self._listed() if run in planned]

    def _list(self, run: str) -> None:
        with self._list_lock():
            self._write([*self._listed(), run])

    def _listed(self) -> list[str]:
        return [run for path in (_OLD_LIST, _LIST) for run in self._read(self.root / path)]

    def _read(self, path: Path) -> list[str]:
        if not path.exists():
            return []
        # A damaged list is made anew: pushing what the remote has already costs nothing.
        there = [run for run in read_plan(self.root).runs() if self._store.paths(run).out.exists()]
        return read_json(path, list, there)

    def _write(self, runs: list[str]) -> None:
        if runs:
            write_json(self.root / _LIST, list(dict.fromkeys(runs)))
        else:
            (self.root / _LIST).unlink(missing_ok=True)
        (self.root / _OLD_LIST).unlink(missing_ok=True)

    def _list_lock(self) -> contextlib.AbstractContextManager[None]:
        """Held while the list changes: stage runs that end at the same time all write into it."""
        return locks.hold(self.root / ".locks" / "to-push.lock", "note what the DVC remote lacks", self._warn)


@contextlib.contextmanager
def _transfer(root: Path) -> Iterator["Repo"]:
    """DVC for a transfer: objects are named by their contents, so no lock is needed to copy them.

    What the network throws (botocore's, aiohttp's and the system's errors have no common base) becomes `RemoteDown`.
    """
    with dvc_adapter.repository(root) as repo:
        try:
            yield repo
        except RemoteDown:
            raise
        except Exception as error:
            raise RemoteDown(f"{type(error).__name__}: {error}") from error
