"""One stage run as a child process: exactly dvc.yaml's command, in its own process group, its output in a log file.
Where it cannot go on the error is the child's own last lines."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from flows.execution.stopping import Stopped, children, guard, kill, stopping
from flows.store.dvc_store import Store
from tasks.identity import settings
from tasks.stage.claim import holder_of
from tasks.stage.full_disk import full_disk_of
from tasks.stage.harness import EXIT_DAMAGED, EXIT_PASSING
from tasks.stage.parent_watch import PARENT


class StageRunFailed(RuntimeError):
    """A stage run's command failed; the message ends with its last lines.

    Attributes:
        may_pass: whether running the same again can help (a connection, a killed process, an input damaged meanwhile).
    """

    def __init__(self, run: str, code: int, log: Path) -> None:
        reason = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed (exit code {code})"
        self.run, self.code, self.log = run, code, log
        self.may_pass = code < 0 or code in (EXIT_PASSING, EXIT_DAMAGED)
        full = full_disk_of(log.parent, run)  # then the log does not say why
        super().__init__(f"{run} {reason}; the end of {log}:\n{tail(log)}" + (f"\n{full}" if full else ""))


def execute(store: Store, run: str, command: str, extra: Mapping[str, str] | None = None) -> float:
    """Run a stage run's command to its end; returns the seconds it took.

    Args:
        extra: environment variables of it alone (which GPUs it sees).

    Raises:
        StageRunFailed: with the end of the log. Children die with this process, also when it is killed with -9.
        Stopped: after `stop_children`.
    """
    log = store.paths(run).log
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with guard, log.open("a") as output:
        if stopping.is_set():
            raise Stopped(run)
        if holder_of(store.paths(run)) is None:
            output.truncate(0)  # else this one waits for who computes it, and whose log it is
        child = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            cwd=store.root,
            env={**environment(store.root), **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        children.add(child)
    try:
        code = child.wait()
    except BaseException:
        kill(child)
        raise
    finally:
        with guard:
            children.discard(child)
    if stopping.is_set():
        raise Stopped(run)
    if code:
        raise StageRunFailed(run, code, log)
    return time.monotonic() - started


def environment(root: Path) -> dict[str, str]:
    """The environment of a stage run: this Python first on the path, its owner's process id, the threads it may use."""
    runtime = settings.load(root).runtime
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {
        **os.environ,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(runtime.get("threads", 1)),
        PARENT: str(os.getpid()),
    }


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log."""
    with contextlib.suppress(FileNotFoundError), log.open(errors="replace") as file:
        return "".join(deque(file, maxlen=lines)).rstrip()
    return ""
