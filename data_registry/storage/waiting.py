"""Locks of data_registry, held by one process at a time; who waits for one in vain for some seconds says so."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

SILENT_S = 5.0  # of waiting before the first word about it


@contextlib.contextmanager
def hold(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock at a path, which the kernel frees with its process.

    Args:
        doing: what for, as the message names it: "waiting to ...".
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=SILENT_S)
    except Timeout:
        print(
            f"waiting to {doing}: another process holds {path}; it goes on by itself when that one ends; should it "
            f"hang, `fuser {path}` names it",
            file=sys.stderr,
            flush=True,
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
