"""The registry gets the winner of a sweep once, with its lineage."""

import json
import shutil
from pathlib import Path

import pytest

from flows.designs.design import ROWS
from flows.designs.plan import plan_of
from flows.tracking.flow_runs import Tracking
from flows.tracking.lineage import lineage
from tasks.identity import manifest
from tasks.identity.paths import Paths
from tests.tasks.tracking.project import connect


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Row 1 as if it were computed: every stage run has an output with its manifest."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "params.yaml").write_text("scale: tiny\nversions: {}\n")
    plan = plan_of([ROWS[1]])
    for run in plan.runs():
        stage, _, name = run.partition("/")
        out = Paths(tmp_path, "tiny", stage, name).out
        out.mkdir(parents=True)
        (out / "metrics.json").write_text(json.dumps({"average": 0.5} if stage == "score" else {"run": run}))
        manifest.write_manifest(out, {"stage": stage, "name": name, "scale": "tiny"})
    return tmp_path, plan


def test_lineage_reaches_the_data(trained):
    root, plan = trained
    made_of = lineage(root, plan, ROWS[1])
    runs = made_of["stage_runs"]
    assert {"scenes/train", "data/cc558k", "data/mix665k", "foundation/clip", f"instruct/{ROWS[1].name}"} <= set(runs)
    assert not any(run.startswith(("score/", "benchmark/")) for run in runs), "what it was trained from, no more"
    written = json.loads((Paths(root, "tiny", "data", "mix665k").out / "MANIFEST.json").read_text())
    assert runs["data/mix665k"]["content"] == written["content"]


def test_the_winner_is_registered_once(trained, tracking_database):
    root, plan = trained
    shutil.copyfile(tracking_database, root / "mlflow.db")
    for _ in range(2):
        Tracking(root, pytest.fail).register(ROWS[1], plan)
    client = connect(root).client
    made_of = lineage(root, plan, ROWS[1])
    (version,) = client.search_model_versions("name = 'spatialllm-tiny'")
    assert client.get_run(version.run_id).info.run_name == f"instruct/{ROWS[1].name}"
    assert version.tags["design"] == ROWS[1].name
    assert version.tags["data.data.mix665k"] == made_of["stage_runs"]["data/mix665k"]["content"]
    assert version.tags["metric.average"] == "0.5"
    written = client.download_artifacts(version.run_id, "model/lineage.json")
    assert json.loads(Path(written).read_text()) == made_of
