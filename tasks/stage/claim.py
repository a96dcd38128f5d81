"""Where a stage run's files are, and its claim: an operating-system lock, which the kernel frees with its owner.
Beside the lock a note says who holds it, how far the work is, and that its holder is not frozen: it beats."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from data_registry.errors import InputError
from tasks.identity.files import write_json
from tasks.identity.paths import Paths

if TYPE_CHECKING:
    from filelock import BaseFileLock

LEASE_S = 300.0  # a claim whose holder gives no sign of life for so long lapses; `runtime.lease_s` overrides it
_BEATS_PER_LEASE = 10


@contextlib.contextmanager
def claim(paths: Paths, lease_s: float = LEASE_S) -> Iterator["Note"]:
    """Hold the stage run's claim; waits while another process has it, however that one was started.

    A holder on this machine that gives no sign of life for a lease (stopped, paused, hung) is killed and its claim
    taken: a holder that lapsed must not wake up and publish. One on another machine cannot be killed, so it is waited
    for; the kernel frees the claim when it dies.

    Yields:
        The note beside the lock, for progress.
    """
    from filelock import FileLock, Timeout

    paths.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _wait(lock, paths, lease_s)
    note = Note(paths.owner, lease_s / _BEATS_PER_LEASE)
    try:
        with note:
            yield note
    finally:
        lock.release()


class Note(threading.Thread):
    """What the holder of a claim says about itself, rewritten at every beat, gone with the `with` block.

    Args:
        path: of the note.
        beat_s: seconds between signs of life.
    """

    def __init__(self, path: Path, beat_s: float) -> None:
        super().__init__(name="claim", daemon=True)
        self._path, self._beat_s = path, beat_s
        self._over, self._guard = threading.Event(), threading.Lock()
        pid = os.getpid()
        self._content = {"pid": pid, "started": _started(pid), "host": socket.gethostname(), "since": time.time()}

    def say(self, **more: Any) -> None:
        """Write the note with these keys added."""
        with self._guard:
            self._content |= {**more, "updated": time.time()}
            write_json(self._path, self._content)

    def run(self) -> None:
        while not self._over.wait(self._beat_s):
            with contextlib.suppress(OSError):  # a full disk fails the work itself, with a message
                self.say()

    def __enter__(self) -> "Note":
        self.say()
        self.start()
        return self

    def __exit__(self, *exit: object) -> None:
        self._over.set()
        self.join()
        self._path.unlink(missing_ok=True)


class Patience:
    """Whether a holder has given no sign of life for a lease, as seen by one who waits.

    It counts what the waiter itself has seen on its own clock, which stands still while the machine sleeps, so that
    waking up a laptop costs nobody their claim.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._sign: Any = object()
        self._since = 0.0

    def over(self, sign: Any, now: float) -> bool:
        """Take in the holder's latest sign of life at a time in seconds."""
        if sign != self._sign:
            self._sign, self._since = sign, now
        return now - self._since > self._lease_s


def _wait(lock: "BaseFileLock", paths: Paths, lease_s: float) -> None:
    from filelock import Timeout

    def say(text: str) -> None:
        print(f"{paths.stage} {paths.name}: {text}", flush=True)

    say(f"{holder(paths)} is computing it; waiting")
    patience = Patience(lease_s)
    while True:
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=min(5.0, lease_s), poll_interval=0.2)
            return
        if not patience.over(read_note(paths).get("updated"), time.monotonic()):
            continue
        patience = Patience(lease_s)
        who = holder(paths)
        try:
            end_holder(paths)
        except InputError as error:
            say(f"no sign of life from {who} for {lease_s:.0f} s, but it cannot be ended from here: {error}")
        else:
            say(f"no sign of life from {who} for {lease_s:.0f} s: ended it, its claim has lapsed")


def read_note(paths: Paths) -> dict[str, Any]:
    """What the holder of a claim says about itself: {"pid", "host", "updated"...}; empty while it says nothing."""
    try:
        return json.loads(paths.owner.read_text())
    except (OSError, ValueError):
        return {}


def holder(paths: Paths) -> str:
    """Who holds the claim, in words."""
    note = read_note(paths)
    return f"process {note['pid']} on {note['host']}" if "pid" in note else "another process"


def end_holder(paths: Paths) -> None:
    """Kill the process that holds a claim, with its group where it leads one; the kernel frees the claim with it.

    Raises:
        InputError: it runs on another machine, or is not known.
    """
    note = read_note(paths)
    if "pid" not in note:
        raise InputError(f"{paths.lock}: its holder has not said who it is; `fuser {paths.lock}` names the process")
    pid, host = note["pid"], note["host"]
    if host != socket.gethostname():
        raise InputError(f"its holder runs on {host}; end process {pid} there")
    if _started(pid) != note["started"]:
        raise InputError(f"process {pid} is gone and left one behind that holds {paths.lock}; `fuser` names it")
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)


def _started(pid: int) -> str | None:
    """When a process began, as the kernel says it, so that a number used again is not taken for it; None for nobody."""
    try:
        # The command's name, in parentheses, may hold spaces; this is field 22, the 20th after it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def owner_note(paths: Paths) -> dict[str, Any] | None:
    """What the holder of a claim says about itself; None when nobody holds it."""
    return None if is_free(paths) else read_note(paths)


def is_free(paths: Paths) -> bool:
    if not paths.lock.exists():
        return True
    try:
        with FileLock(paths.lock, timeout=0):
            return True
    except Timeout:
        return False
