"""What a flow records: a parent run per roadmap or sweep, a child per design, linked to the stage runs they share.
Recording the same results again changes nothing."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.designs.design import Design
from flows.designs.plan import Plan, design_runs
from flows.execution.protocols import Warn
from flows.execution.stopping import pause
from flows.tracking.abandoned import RECORDING, close_abandoned
from flows.tracking.connections import Connections
from flows.tracking.delivery import Delivery
from flows.tracking.lineage import model_of
from flows.tracking.tree import tree_of
from tasks.identity import manifest, settings
from tasks.identity.paths import Paths
from tasks.stage import locks
from tasks.tracking import stage_runs
from tasks.tracking.pending import mark_pending
from tasks.tracking.tracker import Spec, Status, Tracker, place


@dataclass(frozen=True)
class Parent:
    """A roadmap's or a sweep's run: what it is listed under, and its id in each tracker."""

    group: str
    ids: Mapping[str, str]


class Tracking:
    """The runs of one flow, in every tracker; one that is down costs a warning, never a result.

    Attributes:
        delivery: of the stage runs that these runs are made of.
    """

    def __init__(self, root: Path, warn: Warn = print) -> None:
        self.root, self._warn = root, warn
        self._connections = Connections(root, warn)
        self.delivery = Delivery(root, self._connections)

    def parent(
        self, kind: str, title: str, identity: Mapping[str, Any], params: Mapping[str, Any], study: str | None = None
    ) -> Parent:
        """The parent run of a roadmap or sweep, known by its identity; none where every tracker is down.

        Args:
            study: of a sweep, which has a group of its own; its parent run is open again until it finishes.
        """
        scale = settings.load(self.root).scale
        group = f"{kind} {study} ({scale})" if study else f"{kind} ({scale})"
        tags = {"kind": kind, "git_commit": stage_runs.git_commit(self.root), **place(self.root)}
        tags |= {"study": study} if study else {}
        spec = Spec(group, title, {"identity": manifest.digest_of(dict(identity))}, params, tags)
        mark_pending(self.root)  # after a kill a later flow closes it
        return Parent(group, self._connections.each(lambda _, tracker: tracker.open(spec, resume=bool(study))[0]))

    def child(self, parent: Parent, design: Design, extra: Mapping[str, Any] | None = None) -> None:
        """A design's run below its parent: parts as parameters, the score's metrics, links to its stage runs."""
        known = settings.load(self.root)
        score = Paths(known.root, known.scale, "score", design.name).out
        if not (score / manifest.MANIFEST).exists():
            return  # of an earlier session, and removed since (`spatialllm gc`); recorded then
        identity = {"design": design.name, "score": manifest.read_manifest(score)["content"]}
        metrics = stage_runs.flatten(json.loads((score / "metrics.json").read_text()))
        params = {**design_params(design), **(extra or {})}
        tags = {"row": str(design.row or ""), **place(self.root)}

        def work(name: str, tracker: Tracker) -> None:
            if name not in parent.ids:
                return
            spec = Spec(parent.group, design.name, identity, params, tags, parent.ids[name])
            run_id, finished = tracker.open(spec)
            if finished:
                return
            linked = {
                stage: stage_runs.deliver(tracker, known, stage, run.partition("/")[2])
                for stage, run in design_runs(design).items()
            }
            tracker.link(run_id, stage_runs=linked)
            tracker.log(run_id, metrics)
            tracker.finish(run_id)

        self._connections.each(work)

    def finish(
        self,
        parent: Parent,
        metrics: Mapping[str, Any],
        files: Iterable[Path] = (),
        pictures: Iterable[Path] = (),
        status: Status = "FINISHED",
    ) -> None:
        """Close a parent run with its metrics, the files that go with it (the report, the plan) and its pictures; those
        of an earlier session are replaced."""
        files, pictures = list(files), list(pictures)

        def work(name: str, tracker: Tracker) -> None:
            if run_id := parent.ids.get(name):
                tracker.log(run_id, metrics, files=files)
                tracker.log(run_id, files=pictures, folder="plots")
                tracker.finish(run_id, status)

        self._connections.each(work)

    @contextlib.contextmanager
    def killed_if_interrupted(self, parent: Parent) -> Iterator[None]:
        """Close a parent run as killed when what is recorded in it ends by Ctrl-C, a signal or an error."""
        try:
            yield
        except BaseException:
            self._connections.each(lambda name, tracker: self._kill(tracker, parent.ids.get(name)))
            raise

    def _kill(self, tracker: Tracker, parent: str | None) -> None:
        if parent:
            tracker.finish(parent, "KILLED")
        close_abandoned(tracker, self.root)  # the stage runs that were stopped with it

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Held while a roadmap is recorded, so that others can tell whether its run is alive."""
        with locks.hold(self.root / ".locks" / RECORDING, "record a roadmap", self._warn, pause):
            yield

    def is_finished(self, parent: Parent) -> bool:
        """Whether a parent run was closed before, in every tracker."""
        ids = parent.ids
        ended = self._connections.each(lambda name, tracker: name in ids and tracker.read(ids[name]))
        return bool(ended) and all(run and run.status == "FINISHED" for run in ended.values())

    def tree(self, parent: Parent) -> dict[str, Any] | None:
        """A parent run as the first tracker that can say has it (`tree_of`); None where none can."""
        ids = parent.ids
        trees = self._connections.each(lambda name, tracker: tree_of(tracker, parent.group, ids.get(name)))
        return next((tree for tree in trees.values() if tree), None)

    def register(self, design: Design, plan: Plan) -> None:
        """Enter a sweep's best design into the model registry, with its lineage."""
        known = settings.Settings(self.root, settings.load(self.root).params, plan.entries)
        if not (Paths(self.root, known.scale, "instruct", design.name).out / manifest.MANIFEST).exists():
            return  # of an earlier session, and removed since; registered then

        def work(_: str, tracker: Tracker) -> None:
            run_id = stage_runs.deliver(tracker, known, "instruct", design.name)
            tracker.link(run_id, model=model_of(self.root, plan, design))

        self._connections.each(work)


def design_params(design: Design) -> dict[str, str]:
    """A design's parts as parameters of its run."""
    parts = {
        "encoders": "+".join(design.encoders) or "blind",
        "llm": design.llm,
        "stage0": design.stage0 or "none",
        "stage1": "+".join(design.stage1) or "none",
        "stage2": "+".join(design.stage2),
    }
    return {**parts, **dict(design.settings)}
