"""The claim of a stage run: an operating-system lock, which the kernel frees with the process that holds it.
Beside the lock a file says who holds it and how far the work is; its heartbeat shows that the holder is not frozen."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from data_registry.errors import InputError
from tasks.identity.files import read_json, write_json
from tasks.identity.paths import Paths

LEASE_S = 300.0  # a claim whose holder gives no sign of life for so long lapses; `runtime.lease_s` overrides it
_BEATS_PER_LEASE = 10


@contextlib.contextmanager
def claim(paths: Paths, lease_s: float = LEASE_S) -> Iterator["Heartbeat"]:
    """Hold the stage run's claim; waits while another process has it, however that one was started.

    A holder on this machine that gives no sign of life for a lease (stopped, paused, hung) is killed and its claim
    taken: a holder that lapsed must not wake up and publish. One on another machine cannot be killed, so it is waited
    for; the kernel frees the claim when it dies.

    Yields:
        The holder's heartbeat, for progress.
    """
    paths.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _wait(lock, paths, lease_s)
    heartbeat = Heartbeat(paths.holder, lease_s / _BEATS_PER_LEASE)
    try:
        with heartbeat:
            yield heartbeat
    finally:
        lock.release()


class Heartbeat(threading.Thread):
    """What the holder of a claim says about itself: a JSON file, rewritten at every beat, gone with the `with` block.

    Args:
        path: of the file.
        beat_s: seconds between signs of life.
    """

    def __init__(self, path: Path, beat_s: float) -> None:
        super().__init__(name="claim", daemon=True)
        self._path, self._beat_s = path, beat_s
        self._over, self._guard = threading.Event(), threading.Lock()
        pid = os.getpid()
        self._content = {"pid": pid, "started": _started(pid), "host": socket.gethostname(), "since": time.time()}

    def say(self, **more: Any) -> None:
        """Write the file with these keys added."""
        with self._guard:
            self._content |= {**more, "updated": time.time()}
            write_json(self._path, self._content, durable=False)

    def run(self) -> None:
        while not self._over.wait(self._beat_s):
            with contextlib.suppress(OSError):  # a full disk fails the work itself, with a message
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


def _wait(lock: BaseFileLock, paths: Paths, lease_s: float) -> None:
    def say(text: str) -> None:
        print(f"{paths.stage} {paths.name}: {text}", flush=True)

    say(f"{holder_in_words(paths)} is computing it; waiting")
    silence = Silence(lease_s)
    while True:
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=min(5.0, lease_s), poll_interval=0.2)
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
    said = read_holder(paths)
    return f"process {said['pid']} on {said['host']}" if "pid" in said else "another process"


def end_holder(paths: Paths) -> None:
    """Kill the process that holds a claim, with its group where it leads one; the kernel frees the claim with it.

    Raises:
        InputError: it runs on another machine, or is not known.
    """
    said = read_holder(paths)
    if "pid" not in said:
        raise InputError(f"{paths.lock}: its holder has not said who it is; `fuser {paths.lock}` names the process")
    pid, host = said["pid"], said["host"]
    if host != socket.gethostname():
        raise InputError(f"its holder runs on {host}; end process {pid} there")
    if _started(pid) != said["started"]:
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


def holder_of(paths: Paths) -> dict[str, Any] | None:
    """What the holder of a claim says about itself; None when nobody holds it."""
    return None if is_free(paths) else read_holder(paths)


def is_free(paths: Paths) -> bool:
    """Whether nobody holds the claim."""
    if not paths.lock.exists():
        return True
    try:
        with FileLock(paths.lock, timeout=0):
            return True
    except Timeout:
        return False
