"""Operating-system locks that say who holds them: who waits for one says for whom, and how to end that one.
The kernel frees a lock with its holder, so that no kill leaves one behind."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tasks.identity.files import read_json, write_json
from tasks.stage import process

SILENT_S = 5.0  # of waiting before the first word about it
_POLL_S = 0.2


def say(text: str) -> None:
    """A line on the terminal, or in the log of a stage run."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def hold(
    path: Path,
    doing: str,
    warn: Callable[[str], object] = say,
    pause: Callable[[float, str], object] = lambda seconds, doing: time.sleep(seconds),
) -> Iterator[None]:
    """Hold the lock at a path; a file beside it says who does.

    Args:
        doing: what for, as the message names it: "waiting to ...".
        warn: takes that message, once somebody has had to wait for some seconds.
        pause: called as pause(seconds, doing) between two attempts; may raise, to give up.
    """
    waiting = Waiting(doing, warn)
    while (release := take(path)) is None:
        waiting.goes_on(path, lambda: holder(path))
        pause(_POLL_S, doing)
    try:
        yield
    finally:
        release()


def take(path: Path) -> Callable[[], None] | None:
    """Take the lock at a path; returns what releases it, or None while another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, beside = FileLock(path, thread_local=False), path.with_suffix(".json")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None

    def release() -> None:
        beside.unlink(missing_ok=True)
        lock.release()

    try:
        write_json(beside, process.this_process(), durable=False)
    except BaseException:
        release()
        raise
    return release


class Waiting:
    """Says once, after some seconds, for whom somebody waits.

    Args:
        doing: as for `hold`.
    """

    def __init__(self, doing: str, warn: Callable[[str], object] = say, silent_s: float | None = None) -> None:
        self._doing, self._warn = doing, warn
        self._silent_s = SILENT_S if silent_s is None else silent_s
        self._since = time.monotonic()
        self._said = False

    def goes_on(self, path: Path, who: Callable[[], dict[str, Any]]) -> None:
        """To be called at every attempt that failed.

        Args:
            path: of the lock.
            who: its holder, as `tasks.stage.process.this_process` says it; empty where it is not known.
        """
        if self._said or time.monotonic() - self._since < self._silent_s:
            return
        self._said = True
        other = who()
        self._warn(
            f"waiting to {self._doing}: {process.in_words(other)} holds {path}; it goes on by itself when that one "
            f"ends; should it hang, {process.how_to_end(other, path)}"
        )


def holder(path: Path) -> dict[str, Any]:
    """Who says that it holds the lock at a path; empty where nobody does."""
    return read_json(path.with_suffix(".json"), dict, {})


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock at a path."""
    if not path.exists():
        return True
    try:
        with FileLock(path, timeout=0):
            return True
    except Timeout:
        return False
