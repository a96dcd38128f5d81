"""The identity of a process: its number alone is used again after a reboot and in every container.
What holds a lock leaves this beside it, so that who waits can say for whom, and how to end that."""

import contextlib
import os
import signal
import socket
import sys
from functools import cache
from pathlib import Path
from typing import Any

from data_registry.errors import InputError

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LONGEST_COMMAND = 200


def this_process() -> dict[str, Any]:
    """{"pid", "started", "host", "boot", "container", "command"}: of this process, as JSON can hold it."""
    pid = os.getpid()
    return {**_machine(), "pid": pid, "started": started(pid), "command": " ".join(sys.argv)[:_LONGEST_COMMAND]}


def started(pid: int) -> str | None:
    """When a process began, as the kernel says it, so that a number used again is not taken for it; None for nobody."""
    try:
        # The command's name, in parentheses, may hold spaces; this is field 22, the 20th after it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def is_alive(who: dict[str, Any]) -> bool | None:
    """Whether a process (as `this_process` says it) lives; None where that cannot be seen from here."""
    return started(who["pid"]) == who.get("started") if is_here(who) else None


def is_here(who: dict[str, Any]) -> bool:
    """Whether its number means the same process here: this host since its last boot, and this container of it."""
    return all(who.get(key) == value for key, value in _machine().items())


def in_words(who: dict[str, Any]) -> str:
    """A process as a message names it; `words` of it are taken as they are."""
    if "words" in who:
        return who["words"]
    if "pid" not in who:
        return "another process"
    command = f" ({who['command']})" if who.get("command") else ""
    host = f" on {who['host']}" if "host" in who else ""
    return f"process {who['pid']}{host}{command}"


def how_to_end(who: dict[str, Any], lock: Path) -> str:
    """What a person can do to end a process that holds a lock."""
    if "pid" not in who:
        return f"`fuser {lock}` names it"
    if "host" not in who:
        return f"`kill -9 {who['pid']}` ends it"
    if who.get("host") != _machine()["host"]:
        return f"end it on {who['host']}: `kill -9 {who['pid']}`"
    if not is_here(who):
        return f"end it in the container where it runs: `kill -9 {who['pid']}`"
    return f"`kill -9 {who['pid']}` ends it"


def end(who: dict[str, Any], lock: Path) -> None:
    """Kill the process that holds a lock, with its group where it leads one; the kernel frees the lock with it.

    Raises:
        InputError: it runs on another machine or in another container, or is not known.
    """
    if "pid" not in who:
        raise InputError(f"{lock}: its holder has not said who it is; `fuser {lock}` names the process")
    pid = who["pid"]
    if who.get("host") != _machine()["host"]:
        raise InputError(f"its holder runs on {who['host']}; end process {pid} there")
    if not is_here(who):
        raise InputError(f"its holder runs in another container of {who['host']}; end process {pid} there")
    if not is_alive(who):
        raise InputError(f"process {pid} is gone and left one behind that holds {lock}; `fuser` names it")
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)


@cache
def _machine() -> dict[str, str]:
    """Where the numbers of processes mean the same: a host, from one boot to the next, and a container of it."""
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    namespace = Path("/proc/self/ns/pid")
    container = str(namespace.readlink()) if namespace.is_symlink() else ""
    return {"host": socket.gethostname(), "boot": boot, "container": container}
