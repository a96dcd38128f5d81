"""No orphans: a stage run dies with the flow or `dvc repro` that started it, however that one died.
After kill -9 of a parent its child would go on writing (DVC leaves it running), so the child watches."""

import contextlib
import os
import select
import signal
import threading
import time
from pathlib import Path

PARENT = "SPATIALLLM_PARENT"  # the flow's process id, in the environment of its children
_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}


def die_with_parent() -> None:
    """Watch whoever started this stage run, and end this process (and its group, if it leads one) when it ends.

    That is the flow (by environment variable), a launcher of several processes, or, under `dvc repro`, DVC: our
    parent, or our parent's parent where DVC's shell stands between. A command typed by hand has none and is the
    shell's to end.
    """
    if os.environ.get(PARENT):
        watched = [int(os.environ[PARENT])]
    elif "RANK" in os.environ:
        watched = [os.getppid()]
    elif os.environ.get("DVC_STAGE"):
        watched = _parents()
    else:
        return
    die_with(*watched)


def dvc_process() -> int | None:
    """The number of the `dvc repro` that runs this stage run's command; None where that is not who runs it."""
    if os.environ.get(PARENT) or not os.environ.get("DVC_STAGE"):
        return None
    return _parents()[-1]


def die_with(*pids: int) -> None:
    """Watch these processes, and end this one (and its group, if it leads one) as soon as one of them ends."""
    if any(not _alive(pid) for pid in pids):
        _end()
    threading.Thread(target=_watch, args=(list(pids),), name="parent watch", daemon=True).start()


def _parents() -> list[int]:
    parent = os.getppid()
    if _name(parent) not in _SHELLS:
        return [parent]
    return [parent, _parent_of(parent)]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _parent_of(pid: int) -> int:
    try:
        # The command's name, in parentheses, may hold spaces; the parent is the second field after it.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return os.getppid()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _watch(pids: list[int]) -> None:
    if hasattr(os, "pidfd_open"):  # Linux: woken by the kernel, no polling
        with contextlib.suppress(ProcessLookupError):
            select.select([os.pidfd_open(pid) for pid in pids], [], [])
    else:
        while all(_alive(pid) for pid in pids):
            time.sleep(1)
    _end()


def _end() -> None:
    with contextlib.suppress(OSError):  # the pipe may have died with the parent
        os.write(2, b"whoever started this process is gone; it stops too (checkpoints stay)\n")
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
