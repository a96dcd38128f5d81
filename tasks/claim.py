"""Where a stage run's files are, and its claim: an operating-system lock, which the kernel frees with its owner.
Beside the lock a note says who holds it and how far the work is."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Paths:
    """Where a stage run's files are, from the repository's root."""

    root: Path
    scale: str
    stage: str
    name: str

    @property
    def out(self) -> Path:
        """The published output."""
        return self.root / "runs" / self.scale / self.stage / self.name

    @property
    def partial(self) -> Path:
        """The output being computed, beside the published one so that a rename puts it in place."""
        return self.out.with_name(f".{self.name}.partial")

    @property
    def replaced(self) -> Path:
        """The former output, for the moment of the exchange."""
        return self.out.with_name(f".{self.name}.replaced")

    @property
    def work(self) -> Path:
        """Scratch that survives a kill."""
        return self.root / ".work" / self.scale / self.stage / self.name

    @property
    def lock(self) -> Path:
        """The claim: an operating-system lock, which the kernel frees with its owner."""
        return self.root / ".locks" / f"{self.scale}.{self.stage}.{self.name}.lock"

    @property
    def owner(self) -> Path:
        """Who holds the claim and how far the work is."""
        return self.lock.with_suffix(".json")

    @property
    def log(self) -> Path:
        """What the command printed under a flow."""
        return self.root / "logs" / self.scale / self.stage / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """When, where and how long it was computed: all that may differ between equal outputs."""
        return self.log.with_suffix(".json")


@contextlib.contextmanager
def claim(paths: Paths) -> Iterator[None]:
    """Hold the stage run's claim; waits while another process has it, however that one was started."""
    from filelock import FileLock, Timeout

    paths.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{paths.stage} {paths.name}: {holder(paths)} is computing it; waiting", flush=True)
        lock.acquire(poll_interval=0.2)
    try:
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        write_json(paths.owner, note)
        yield
    finally:
        paths.owner.unlink(missing_ok=True)
        lock.release()


def holder(paths: Paths) -> str:
    """Who holds the claim, in words."""
    try:
        note = json.loads(paths.owner.read_text())
        return f"process {note['pid']} on {note['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that is never seen half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")
    temporary.replace(path)


class Progress:
    """Progress of one stage run: in its claim's note (for the flow and `status`) and on the terminal."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.started = self.last = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done  # a resumed training starts in the middle
        elif now - self.last < 0.5 and done < total:
            return
        self.last = now
        note = {"pid": os.getpid(), "host": socket.gethostname(), "done": done, "total": total, "updated": time.time()}
        rate = (done - self.first) / (now - self.started) if now > self.started else 0
        if rate > 0:
            note["remaining_s"] = round((total - done) / rate, 1)
        write_json(self.paths.owner, note)
        if sys.stderr.isatty():
            left = f", {note['remaining_s']:.0f} s left" if "remaining_s" in note else ""
            line = f"\r{self.paths.stage} {self.paths.name}: {done}/{total}{left} \033[K"
            print(line, end="\n" if done >= total else "", file=sys.stderr, flush=True)
