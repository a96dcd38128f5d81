"""A set of designs from the plan to the table: run what is missing, record it, write the report.
The paper's roadmap is the default set."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.designs.design import BLIND_REFERENCE, Design, at_scale, parse
from flows.designs.plan import Plan, plan_of
from flows.execution.flow import run_plan
from flows.execution.protocols import Display, Warn
from flows.execution.result import AVAILABLE, Result
from flows.store.dvc_store import is_current
from flows.tracking.flow_runs import Tracking
from tasks.identity import manifest, settings
from tasks.identity.files import read_json
from tasks.identity.paths import Paths

REPORT = Path("reports/roadmap")


@dataclass(frozen=True)
class Roadmap:
    """What a roadmap has to show.

    Attributes:
        result: how each stage run ended.
        report: the report's content (`tasks.report.build_report`), None when no design could be scored.
    """

    result: Result
    report: dict[str, Any] | None


def run_roadmap(root: Path, designs: list[Design], display: Display, warn: Warn) -> Roadmap:
    """Compute what the designs and the blind reference need, record them in MLflow, and write reports/roadmap.

    Args:
        designs: in the order of the table.
        display: shows progress (`flows.execution.display`).
        warn: called with a warning, e.g. that MLflow is down.
    """
    chosen = list(dict.fromkeys([*designs, at_scale(BLIND_REFERENCE, settings.load(root).scale)]))
    plan = plan_of(chosen)
    result = run_plan(root, plan, f"roadmap of {len(designs)} designs", display)
    scored = [design for design in chosen if result.states.get(f"score/{design.name}") in AVAILABLE]
    fresh = bool(result.counts["executed"]) or not read_json(root / REPORT / "results.json", dict, {})
    shown = any(design in scored for design in designs)  # the blind reference alone is no table
    report = write_report(root, designs, result if fresh else None) if shown else None
    record(root, scored, plan, report, Tracking(root, warn))
    return Roadmap(result, report)


def write_report(root: Path, designs: list[Design], result: Result | None) -> dict[str, Any]:
    """Write reports/roadmap; without a result the times and counts of the report before are kept.

    What was scored with other parameters than those of this moment counts as missing.
    """
    from tasks.report import Entry, build_report
    from tasks.report.statistics import RESAMPLES

    config = settings.load(root)
    known: dict[str, bool] = {}
    scoring = (config.params.get("score") or {}).get(config.scale) or {}

    def asked_for(name: str) -> bool:
        plan = plan_of([parse(name)])
        return is_current(replace(config, plan=plan.entries), f"score/{name}", False, known)

    return build_report(
        root,
        config.scale,
        [Entry(design.name, describe(design), design.row) for design in designs],
        root / REPORT,
        blind=at_scale(BLIND_REFERENCE, config.scale).name,
        stage_counts=result.counts if result else None,
        seconds=result.seconds if result else None,
        resamples=scoring.get("bootstrap", RESAMPLES),
        is_current=asked_for,
        runtime=config.runtime,
    )


def record(root: Path, designs: list[Design], plan: Plan, report: dict[str, Any] | None, tracking: Tracking) -> None:
    """A parent run for this set of results with a child per design; the same results are one parent, ever."""
    scale = settings.load(root).scale
    scores = {d.name: manifest.read_manifest(Paths(root, scale, "score", d.name).out)["content"] for d in designs}
    if not tracking.delivery.is_pending(scores):
        return
    tracking.delivery.deliver(plan)
    if report is not None:
        with tracking.recording():
            _record_parent(root, designs, scores, report, tracking)
    tracking.delivery.done(scores)


def _record_parent(
    root: Path, designs: list[Design], scores: dict[str, str], report: dict[str, Any], tracking: Tracking
) -> None:
    from tasks.report.figures import save

    scale = settings.load(root).scale
    params = {"scale": scale, "seed": settings.load(root).params.get("seed"), "designs": len(designs)}
    parent = tracking.parent("roadmap", f"roadmap of {len(designs)} designs", {"scores": scores}, params)
    if tracking.is_finished(parent):
        return
    with tracking.killed_if_interrupted(parent), TemporaryDirectory() as folder:
        for design in designs:
            tracking.child(parent, design)
        best = max(report["designs"], key=lambda row: row["accuracy"]["average"])
        files = [root / REPORT / "report.html", root / REPORT / "results.json", root / settings.PLAN_FILE]
        metrics = {f"best.{key}": value for key, value in best["accuracy"].items()}
        tracking.finish(parent, metrics, files, save(report, Path(folder)))


def describe(design: Design) -> dict[str, Any]:
    """A design's parts as results.json lists them."""
    return {
        "encoders": list(design.encoders),
        "llm": design.llm,
        "stage0": design.stage0,
        "stage1": list(design.stage1),
        "stage2": list(design.stage2),
        **({"settings": dict(design.settings)} if design.settings else {}),
    }
