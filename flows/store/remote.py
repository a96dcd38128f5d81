"""The DVC remote, where there is one: what is committed is pushed at once, what another machine has computed is pulled.
A remote that does not answer costs a warning and a note of what is owed to it, never a result."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from flows.designs.plan import read_plan
from flows.store.dvc_store import Store
from tasks.identity.files import read_json, write_json

if TYPE_CHECKING:
    from dvc.repo import Repo

_PAUSES_S = (1.0, 5.0)  # before the second and the third attempt
_OWED = Path(".work") / "push-owed.json"


class RemoteDown(RuntimeError):
    """The remote does not take or give what it should; the message is its own."""


class Remote:
    """The default remote of `.dvc/config`; every method does nothing where there is none.

    Args:
        warn: called with a warning.
    """

    def __init__(self, root: Path, warn: Callable[[str], object]) -> None:
        self.root, self._warn = root, warn
        self._store = Store(root)
        self._exists: bool | None = None

    @property
    def exists(self) -> bool:
        """Whether this repository has a default remote."""
        if self._exists is None:
            with self._store.repo() as repo:
                self._exists = bool(repo.config["core"].get("remote"))
        return self._exists

    def push(self, run: str) -> bool:
        """Push a committed stage run's outputs, then its run-cache entry; returns whether the remote has them.

        What could not be pushed is noted and pushed with the next one, or by the next flow.
        """
        if not self.exists:
            return False
        self._owe(run)
        for pause in (*_PAUSES_S, None):
            try:
                self._pay(run)
                return True
            except RemoteDown as error:
                if pause is None:
                    self._warn(f"the DVC remote does not take {run} ({error}); it is kept here and pushed later")
                else:
                    time.sleep(pause)
        return False

    def settle(self) -> None:
        """Push what earlier flows could not."""
        if self._due() and self.exists:
            try:
                self._pay()
            except RemoteDown as error:
                self._warn(f"the DVC remote still does not take what is owed to it ({error})")

    def look(self) -> None:
        """Learn what others have computed: copy new run-cache entries, so that `Store.fetch` finds them."""
        if not self.exists:
            return
        try:
            with _Unlocked(self.root) as repo:
                there = _odb(repo)
                _copy_missing(there, repo.cache.legacy)
        except RemoteDown as error:
            self._warn(f"the DVC remote does not answer ({error}); what others have computed is not seen")

    def _pay(self, *runs: str) -> None:
        """Push these and what is due, and take them off the note; what was added to it meanwhile stays there."""
        due = [*dict.fromkeys([*self._due(), *runs])]
        with self._store.repo() as repo:  # locked for as long as dvc.lock is read, not while bytes travel
            stages = self._store.stages(repo, due).values()
            objects = {one for stage in stages for some in stage.get_used_objs().values() for one in some}
        with _Unlocked(self.root) as repo:
            failed = repo.cloud.push(objects).failed
            if failed:
                raise RemoteDown(f"{len(failed)} of {len(objects)} outputs were not transferred")
            _copy_missing(repo.cache.legacy, _odb(repo))
        with self._note():
            self._write([run for run in self._owed() if run not in due])

    def _due(self) -> list[str]:
        """What is owed and in plan.yaml: a sweep's trials may have left it, and stay owed until they come back."""
        planned = set(read_plan(self.root).runs())
        return [run for run in self._owed() if run in planned]

    def _owe(self, run: str) -> None:
        with self._note():
            self._write([*self._owed(), run])

    def _owed(self) -> list[str]:
        path = self.root / _OWED
        if not path.exists():
            return []
        # A damaged list is made anew: pushing what the remote has already costs nothing.
        there = [run for run in read_plan(self.root).runs() if self._store.paths(run).out.exists()]
        return read_json(path, list, there)

    def _write(self, runs: list[str]) -> None:
        if runs:
            write_json(self.root / _OWED, list(dict.fromkeys(runs)))
        else:
            (self.root / _OWED).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _note(self) -> Iterator[None]:
        """Held while the note changes: stage runs that end at the same time all write into it."""
        path = self.root / ".locks" / "push-owed.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path):
            yield


class _Unlocked:
    """A `Repo` of our own for a transfer: objects are named by their contents, so no lock is needed to copy them.

    What the network throws (botocore's, aiohttp's and the system's errors have no common base) becomes `RemoteDown`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> "Repo":
        from dvc.repo import Repo

        self._repo = Repo(str(self._root))
        return self._repo

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        self._repo.close()
        if isinstance(error, Exception) and not isinstance(error, RemoteDown):
            raise RemoteDown(f"{type(error).__name__}: {error}") from error


def _odb(repo: "Repo") -> Any:
    return repo.cloud.get_remote_odb(None, "run-cache", hash_name="md5-dos2unix")  # DVC's own place for it


def _copy_missing(source: Any, target: Any) -> None:
    """Run-cache entries (runs/<aa>/<key>/<value>, never changed once written) that the target does not have."""
    from dvc_objects.fs.generic import copy

    def entries(odb: Any) -> set[str]:
        folder = odb.fs.join(odb.path, "runs")
        if not odb.fs.exists(folder):
            return set()
        names = {odb.fs.as_posix(odb.fs.relpath(path, odb.path)) for path in odb.fs.find(folder)}
        return {name for name in names if len(Path(name).parts) == 4 and not name.endswith(".tmp")}

    for name in sorted(entries(source) - entries(target)):
        parts = name.split("/")
        copy(source.fs, source.fs.join(source.path, *parts), target.fs, target.fs.join(target.path, *parts))
