"""A tracker of one's own is one entry of the table; several work side by side, and one that is down harms no other."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_registry.errors import InputError
from flows.designs.design import ROWS
from flows.designs.plan import plan_of
from flows.tracking.flow_runs import Tracking
from tasks.identity import manifest, settings
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.stage.harness import execute
from tasks.tracking.recorder import Dataset
from tasks.tracking.tracker import Model, Spec, Status, Tracker
from tasks.tracking.trackers import TRACKERS, trackers_of
from tests.tasks.tracking.project import compute, plan_of_two, runs_of


class Diary(Tracker):
    """One JSON object per call in diary.jsonl; a run's id is what it is called with its parent's."""

    def __init__(self, settings: Settings) -> None:
        self.path = settings.root / "diary.jsonl"
        self.address = str(self.path)

    def open(self, spec: Spec, resume: bool = False) -> tuple[str, bool]:
        run_id = f"{spec.group}: {spec.name}"
        finished = any(entry["what"] == "finish" and entry["run"] == run_id for entry in entries(self.path))
        if not finished:
            self._write("open", run_id, params=dict(spec.params), parent=spec.parent)
        return run_id, finished

    def log(
        self,
        run_id: str,
        metrics: Mapping[str, Any] | None = None,
        curves: Sequence[Mapping[str, float]] = (),
        tags: Mapping[str, Any] | None = None,
        files: Iterable[Path] = (),
        folder: str = "",
    ) -> None:
        self._write("log", run_id, metrics=dict(metrics or {}), steps=len(curves), files=[file.name for file in files])

    def finish(self, run_id: str, status: Status = "FINISHED", ended: float | None = None) -> None:
        self._write("finish", run_id, status=status)

    def link(
        self,
        run_id: str,
        datasets: Iterable[Dataset] = (),
        stage_runs: Mapping[str, str] | None = None,
        model: Model | None = None,
    ) -> None:
        self._write("link", run_id, datasets=[one.name for one in datasets], stage_runs=dict(stage_runs or {}))

    def _write(self, what: str, run_id: str, **content: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"what": what, "run": run_id, **content}) + "\n")


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def diary(root, monkeypatch):
    """A project that records in MLflow and in a diary."""
    monkeypatch.setitem(TRACKERS, "diary", Diary)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params.setdefault("runtime", {})["trackers"] = ["diary", "mlflow"]
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return root / "diary.jsonl"


def test_a_stage_run_is_recorded_in_each_tracker(root, diary):
    execute("scenes", "train", compute, root)
    for _ in range(2):
        Tracking(root, pytest.fail).delivery.deliver(plan_of_two())
    written = entries(diary)
    assert {entry["run"] for entry in written} == {"stage runs (tiny): scenes/train"}
    assert [entry["what"] for entry in written].count("finish") == 1, "delivered once"
    (last,) = [entry for entry in written if entry["what"] == "log" and entry["metrics"]]
    assert (last["metrics"]["types.closer"], last["steps"]) == (0.5, 5)
    _, (run,) = runs_of(root)
    assert run.info.status == "FINISHED"


def test_one_that_is_down_harms_no_other(root, diary, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:pa55word@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    execute("scenes", "train", lambda run: {"rows": 3}, root)
    warnings = []
    tracking = Tracking(root, warnings.append)
    tracking.delivery.deliver(plan_of_two())
    tracking.delivery.done()
    (warning,) = warnings
    assert warning.startswith("mlflow does not take this")
    assert "pa55word" not in warning
    assert entries(diary)[-1] == {"what": "finish", "run": "stage runs (tiny): scenes/train", "status": "FINISHED"}
    assert Tracking(root).delivery.is_pending(), "of MLflow"


def test_a_roadmap_with_its_designs_is_recorded_in_it(root, diary):
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["runtime"]["trackers"] = ["diary"]
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    plan = plan_of([ROWS[1]])
    (root / "plan.yaml").write_text(yaml.safe_dump({"plan": plan.entries}))
    for run in plan.runs():
        stage, _, name = run.partition("/")
        out = Paths(root, "tiny", stage, name).out
        out.mkdir(parents=True)
        (out / "metrics.json").write_text(json.dumps({"average": 0.5}))
        manifest.write_manifest(out, {"stage": stage, "name": name, "scale": "tiny"})
    tracking = Tracking(root, pytest.fail)
    parent = tracking.parent("roadmap", "all", {"scores": {}}, {"seed": 0})
    tracking.child(parent, ROWS[1])
    tracking.finish(parent, {"best": 0.5}, pictures=[root / "params.yaml"])
    top, design = "roadmap (tiny): all", f"roadmap (tiny): {ROWS[1].name}"
    opened = {entry["run"]: entry for entry in entries(diary) if entry["what"] == "open"}
    assert opened[design]["parent"] == top
    assert opened[design]["params"]["llm"] == ROWS[1].llm
    (linked,) = [entry for entry in entries(diary) if entry["what"] == "link" and entry["run"] == design]
    assert set(linked["stage_runs"]) == {"align", "instruct", "score"}
    finished = {entry["run"] for entry in entries(diary) if entry["what"] == "finish"}
    assert {top, design, *linked["stage_runs"].values()} <= finished
    assert tracking.tree(parent) is None, "a diary cannot be asked"


def test_an_unknown_tracker_is_named(root):
    known = settings.load(root)
    params = {**known.params, "runtime": {"trackers": ["mlfow"]}}
    with pytest.raises(InputError, match=r"params.yaml: runtime.trackers: 'mlfow' is unknown, did you mean mlflow"):
        trackers_of(Settings(root, params, {}))
