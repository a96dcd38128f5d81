"""Stopping a flow: its children are killed with their groups, nothing more is started, and nobody waits on."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator

children: set[subprocess.Popen] = set()
guard = threading.Lock()
stopping = threading.Event()


class Stopped(RuntimeError):
    """The flow is being stopped; nothing more is started, waited for or tried again."""


def pause(seconds: float, doing: str) -> None:
    """Wait before trying again for something that another flow has; `Stopped` as soon as this flow is being stopped."""
    if stopping.wait(seconds):
        raise Stopped(doing)


@contextlib.contextmanager
def no_questions() -> Iterator[None]:
    """Close standard input meanwhile: whatever a library asks gets no answer instead of stopping the flow."""
    before, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, 0)
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(nothing)


def stop_children() -> None:
    """Kill every stage run of this process, with all of its group, and start no more; their checkpoints stay."""
    with guard:
        stopping.set()
        running = list(children)
    for child in running:
        kill(child)


def allow_children() -> None:
    """Take back `stop_children`, for the next flow of this process."""
    stopping.clear()


def kill(child: subprocess.Popen) -> None:
    """Kill a child with all of its process group, and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
