"""Brings published stage runs to the trackers that do not have them yet, and knows whether anything is pending."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flows.designs.plan import Plan, read_plan
from flows.execution.protocols import Warn
from flows.tracking.abandoned import close_abandoned
from flows.tracking.connections import Connections
from tasks.identity import manifest, settings
from tasks.identity.paths import Paths
from tasks.tracking import database, stage_runs
from tasks.tracking.pending import clear_pending, pending_since
from tasks.tracking.tracker import Tracker


class Delivery:
    """What this flow brings to the trackers; a tracker that is down costs a warning, and all stays pending."""

    def __init__(self, root: Path, connections: Connections) -> None:
        self.root = root
        self._connections = connections
        self._pending_before = pending_since(root) is not None
        self._delivered: int | None = None  # when something was last marked, as all was looked for
        self._complete = False

    def is_pending(self, results: Mapping[str, Any] | None = None) -> bool:
        """Whether a tracker may lack anything, or these results: a look at files alone, no tracker is imported.

        Args:
            results: what is recorded as a whole, e.g. a roadmap's scores; `done` remembers them.
        """
        files = [database.path_of(tracker.address) for tracker in self._connections.trackers.values()]
        gone = any(path is not None and not path.exists() for path in files)
        return self._pending_before or gone or (results is not None and not self._mark_of(results).exists())

    def deliver(self, plan: Plan) -> None:
        """Bring every published stage run of a plan and of plan.yaml (what another flow or `dvc repro` left) to each
        tracker that lacks it, and close the runs that nobody computes any more."""
        since = pending_since(self.root)
        # This plan too: plan.yaml may have let go of a sweep's trials.
        whole = read_plan(self.root).merge(plan)
        known = settings.Settings(self.root, settings.load(self.root).params, whole.entries)

        def work(_: str, tracker: Tracker) -> bool:
            delivered = self._deliver_all(tracker, known, whole)
            return close_abandoned(tracker, self.root) and delivered

        answers = self._connections.each(work)
        self._complete = not self._connections.down and all(answers.values())
        self._delivered = since

    def _deliver_all(self, tracker: Tracker, known: settings.Settings, plan: Plan) -> bool:
        """Whether nothing is left to deliver to this tracker."""
        complete = True
        finished = tracker.find(stage_runs.group_of(known.scale), status="FINISHED")
        there = {run.tags.get("identity", "") for run in finished}
        for run in plan.runs():
            stage, _, name = run.partition("/")
            paths = Paths(known.root, known.scale, stage, name)
            if not (paths.out / manifest.MANIFEST).exists():
                continue
            try:
                if manifest.digest_of(manifest.read_manifest(paths.out)["identity"]) in there:
                    continue
                with FileLock(paths.lock, timeout=0):
                    stage_runs.deliver(tracker, known, stage, name)
            except Timeout:
                complete = False  # its own process delivers it, unless that is killed
            except manifest.Damaged:
                complete = False  # it, or the data that it read, is gone: pending until that is back
            except Exception as error:
                if not tracker.refuses_run(error):
                    raise
                complete = False
                self._connections.refused(tracker, run, error)
        return complete

    def done(self, results: Mapping[str, Any] | None = None) -> None:
        """Remember that every tracker has everything, unless one was down."""
        if self._connections.down:
            return
        if self._complete:
            clear_pending(self.root, self._delivered)
        if results is not None:
            mark = self._mark_of(results)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()

    def _mark_of(self, results: Mapping[str, Any]) -> Path:
        """A file for results that every tracker has been given, named after both."""
        addresses = {name: tracker.address for name, tracker in self._connections.trackers.items()}
        return self.root / ".work" / "recorded" / manifest.digest_of({"trackers": addresses, "results": dict(results)})


def deliver_pending(root: Path, plan: Plan, warn: Warn) -> None:
    """Bring to the trackers what they may not have: where that is nothing, none is even imported."""
    delivery = Delivery(root, Connections(root, warn))
    if delivery.is_pending():
        delivery.deliver(plan)
        delivery.done()
