"""Closes runs that a tracker shows as running and that nobody computes any more: killed, or stopped by Ctrl-C.

Who computes something holds an operating-system lock in its clone, which the kernel frees with its process. So a run is
closed by whoever can see that lock: on the same machine also for another clone that records in the same database."""

import socket
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.identity.paths import Paths
from tasks.tracking import database
from tasks.tracking.tracker import HOST, ROOT, Recorded, Tracker

RECORDING = "roadmap.lock"  # in .locks/: held while a roadmap is recorded


def close_abandoned(tracker: Tracker, root: Path) -> bool:
    """Close each, with the runs below it; returns whether none is left open that this clone will have to close."""
    closed_all = True
    for run in tracker.find(status="RUNNING"):
        clone = _clone_of(run, tracker, root)
        lock = clone and _lock_of(run, clone)
        if lock is None:
            continue
        if not lock.parent.exists():  # nobody has ever computed anything there
            lock = root / ".locks" / lock.name
        lock.parent.mkdir(exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                for child in tracker.find(run.group, status="RUNNING", parent=run.id):
                    tracker.finish(child.id, "KILLED")
                tracker.finish(run.id, "KILLED")
        except Timeout:
            closed_all = False
    return closed_all


def _clone_of(run: Recorded, tracker: Tracker, root: Path) -> Path | None:
    """The folder whose locks say whether a run is alive; None where that cannot be told from here."""
    if run.tags.get(HOST, socket.gethostname()) != socket.gethostname():
        return None
    clone = Path(run.tags.get(ROOT, str(root)))
    if clone.exists():
        return clone
    # The project was moved, unless another machine or container with this host's name writes into the same database.
    file = database.path_of(tracker.address)
    return root if file is not None and file.is_relative_to(root) else None


def _lock_of(run: Recorded, clone: Path) -> Path | None:
    """What whoever works on a run holds; None for one that is below another."""
    if "stage_run" in run.tags:
        stage, _, name = run.tags["stage_run"].partition("/")
        return Paths(clone, run.tags["scale"], stage, name).lock
    if run.tags.get("kind") == "sweep":
        return clone / ".locks" / f"sweep.{run.tags.get('study')}.lock"
    return clone / ".locks" / RECORDING if run.tags.get("kind") == "roadmap" else None
