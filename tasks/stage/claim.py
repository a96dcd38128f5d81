"""The claim of a stage run: an operating-system lock, which the kernel frees with the process that holds it.
Beside the lock a file says who holds it and how far the work is; its heartbeat shows that the holder is not frozen."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from data_registry.errors import InputError
from tasks.identity.files import read_json, write_json
from tasks.identity.paths import Paths
from tasks.stage import locks, process

LEASE_S = 300.0  # a claim whose holder gives no sign of life for so long lapses; `runtime.lease_s` overrides it
_BEATS_PER_LEASE = 10
_LOOK_S = 1.0  # between two looks whether the lock was removed


@contextlib.contextmanager
def claim(paths: Paths, lease_s: float = LEASE_S) -> Iterator["Heartbeat"]:
    """Hold the stage run's claim; waits while another process has it, however that one was started.

    A holder on this machine that gives no sign of life for a lease (stopped, paused, hung) is killed and its claim
    taken: a holder that lapsed must not wake up and publish. One on another machine cannot be killed, so it is waited
    for; the kernel frees the claim when it dies.

    Yields:
        The holder's heartbeat, for progress.
    """
    held = _Held(paths.lock)
    if not held.take():
        _wait(held, paths, lease_s)
    heartbeat = Heartbeat(paths.holder, lease_s / _BEATS_PER_LEASE, held.again)
    try:
        with heartbeat:
            yield heartbeat
    finally:
        held.release()


class Lost(RuntimeError):
    """The claim was taken by another process, since its file was removed (`rm -rf .locks`)."""


class _Held:
    """An operating-system lock that can be taken again where its file was removed under it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._locks: list[BaseFileLock] = []
        self._file: tuple[int, int] | None = None
        self._guard = threading.Lock()

    def take(self, timeout: float = 0.0) -> bool:
        """Whether the lock is ours within so many seconds."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path, thread_local=False)  # the heartbeat's thread takes it again
        try:
            lock.acquire(timeout=timeout, poll_interval=0.2)
        except Timeout:
            return False
        self._locks.append(lock)
        self._file = self._on_disk()
        return True

    def again(self) -> bool:
        """Whether the lock's file is still the one that we hold, or was removed and is ours again."""
        with self._guard:  # the heartbeat's thread looks as well
            return self._on_disk() == self._file or self.take()

    def release(self) -> None:
        for lock in self._locks:
            lock.release()

    def _on_disk(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


class Heartbeat(threading.Thread):
    """What the holder of a claim says about itself: a JSON file, rewritten at every beat, gone with the `with` block.

    Args:
        path: of the file.
        beat_s: seconds between signs of life.
        still_ours: whether the lock beside it is still held, or was taken again.
    """

    def __init__(self, path: Path, beat_s: float, still_ours: Callable[[], bool] = lambda: True) -> None:
        super().__init__(name="claim", daemon=True)
        self._path, self._beat_s, self._still_ours = path, beat_s, still_ours
        self._over, self._guard = threading.Event(), threading.Lock()
        self._content = {**process.this_process(), "since": time.time()}

    def say(self, **more: Any) -> None:
        """Write the file with these keys added."""
        with self._guard:
            self._content |= {**more, "updated": time.time()}
            write_json(self._path, self._content, durable=False)

    def confirm(self) -> None:
        """Make sure that the claim is still ours, before something is published.

        Raises:
            Lost: it is not.
        """
        if not self._still_ours():
            raise Lost(f"{self._path}: the lock beside it was removed and is another's now; nothing is published here")

    def run(self) -> None:
        next_beat = time.monotonic() + self._beat_s
        while not self._over.wait(min(self._beat_s, _LOOK_S)):
            with contextlib.suppress(OSError):  # a full disk fails the work itself, with a message
                self._still_ours()
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + self._beat_s
                    self.say()

    def __enter__(self) -> "Heartbeat":
        self.say()
        self.start()
        return self

    def __exit__(self, *exit: object) -> None:
        self._over.set()
        self.join()
        self._path.unlink(missing_ok=True)


class Silence:
    """Whether a holder has given no sign of life for a lease, as seen by one who waits.

    It counts what the waiter itself has seen on its own clock, which stands still while the machine sleeps, so that
    waking up a laptop costs nobody their claim.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._sign: Any = object()
        self._since = 0.0

    def too_long(self, sign: Any, now: float) -> bool:
        """Take in the holder's latest sign of life at a time in seconds."""
        if sign != self._sign:
            self._sign, self._since = sign, now
        return now - self._since > self._lease_s


def _wait(held: _Held, paths: Paths, lease_s: float) -> None:
    def say(text: str) -> None:
        print(f"{paths.stage} {paths.name}: {text}", flush=True)

    say(f"{holder_in_words(paths)} is computing it; waiting (`spatialllm unlock {paths.stage}/{paths.name}` ends it)")
    silence = Silence(lease_s)
    while True:
        if held.take(timeout=min(5.0, lease_s)):
            return
        if not silence.too_long(read_holder(paths).get("updated"), time.monotonic()):
            continue
        silence = Silence(lease_s)
        who = holder_in_words(paths)
        try:
            end_holder(paths)
        except InputError as error:
            say(f"no sign of life from {who} for {lease_s:.0f} s, but it cannot be ended from here: {error}")
        else:
            say(f"no sign of life from {who} for {lease_s:.0f} s: ended it, its claim has lapsed")


def read_holder(paths: Paths) -> dict[str, Any]:
    """What the holder of a claim says about itself: {"pid", "host", "updated"...}; empty while it says nothing."""
    return read_json(paths.holder, dict, {})


def holder_in_words(paths: Paths) -> str:
    """Who holds the claim, in words."""
    return process.in_words(read_holder(paths))


def end_holder(paths: Paths) -> None:
    """Kill the process that holds a claim, with its group where it leads one; the kernel frees the claim with it.

    Raises:
        InputError: it runs on another machine or in another container, or is not known.
    """
    process.end(read_holder(paths), paths.lock)


def holder_of(paths: Paths) -> dict[str, Any] | None:
    """What the holder of a claim says about itself; None when nobody holds it."""
    return None if is_free(paths) else read_holder(paths)


def is_free(paths: Paths) -> bool:
    """Whether nobody holds the claim."""
    return locks.is_free(paths.lock)
