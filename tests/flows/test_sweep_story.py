"""A sweep from the command line to the registry, on the small project: what it leaves in plan.yaml, DVC and MLflow."""

import json
import subprocess

import pytest

from flows.plan import read_plan
from tasks import settings
from tasks.mlflow_log import connect

SPACE = {
    "encoders": ["clip"],
    "llm": ["vicuna-7b", "llama3-8b"],
    "stage0": ["none"],
    "stage1": ["cc558k"],
    "stage2": ["mix665k", "mix665k+3di-ft1m"],
}


@pytest.mark.slow
def test_trials_leave_the_plan_and_come_back_uncomputed(served, monkeypatch):
    """One story, because each step needs the one before: sweep, registry, gc, keep, retry."""
    project = served
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    params = project.params()
    params["designs"], params["sweep"] = [], {"space": SPACE}
    project.set_params(params)
    (project.root / "plan.yaml").unlink()

    rows = json.loads(project.spatialllm("sweep", "--trials", "4", "--study", "story", "--json"))
    assert len(rows) == 4
    assert [row["value"] for row in rows] == sorted((row["value"] for row in rows), reverse=True)
    executed = project.executed
    assert len(executed) == len(set(executed)), "each stage run once"

    # plan.yaml is left with the best; the report has the whole plan and the pictures.
    best, other = rows[0]["design"], rows[-1]["design"]
    assert list(read_plan(project.root).entries["score"]) == [best]
    report = project.root / "reports" / "sweep-story"
    assert set(read_plan(report).entries["score"]) == {row["design"] for row in rows}
    assert {"history.png", "slices.png", "pareto.png"} <= {path.name for path in report.iterdir()}
    assert not any(f"score@{other}" in line for line in (project.root / "dvc.lock").read_text().splitlines())

    # MLflow: one experiment, one parent, a child per design, nothing open, and the winner with its lineage.
    client = connect(settings.load(project.root))
    experiment = client.get_experiment_by_name("sweep story (tiny)")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert {run.data.tags["design"] for run in runs if run is not parent} == {row["design"] for row in rows}
    everywhere = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert {run.info.status for run in everywhere} == {"FINISHED"}
    pictures = {one.path for one in client.list_artifacts(parent.info.run_id, "plots")}
    assert {"plots/history.png", "plots/pareto.png"} <= pictures
    (version,) = client.search_model_versions("name = 'spatialllm-tiny'")
    assert version.tags["design"] == best
    manifest = json.loads((project.out(f"instruct/{best}") / "MANIFEST.json").read_text())
    data = json.loads((project.out("data/mix665k") / "MANIFEST.json").read_text())
    assert version.tags["content"] == manifest["content"]
    assert version.tags["data.data.mix665k"] == data["content"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project.root, capture_output=True, text=True, check=True)
    assert version.tags["git_commit"] == head.stdout.strip()

    # gc shows what no plan needs, removes it only when told, and keep brings a trial back without computing.
    project.forget()
    shown = json.loads(project.spatialllm("gc", "--dry-run", "--json"))
    assert f"runs/tiny/score/{other}" in shown["folders"]
    assert f"runs/tiny/score/{best}" not in shown["folders"]
    assert project.out(f"score/{other}").exists()
    project.spatialllm("gc", "--json", code=2)
    project.spatialllm("gc", "--yes")
    assert not project.out(f"score/{other}").exists()
    kept = json.loads(project.spatialllm("keep", other, "--json"))
    assert kept["missing"] == []
    assert kept["states"][f"score/{other}"] == "restored"
    assert project.executed == []
    assert set(read_plan(project.root).entries["score"]) == {best, other}
    assert "nothing" in project.spatialllm("gc", "--yes").lower()

    # retry has nothing to do until something fails.
    assert json.loads(project.spatialllm("retry", "--json"))["executed"] == 0
    (project.root / f"score.{other}.fail").touch()
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(text.replace("score: 1", "score: 2"))
    failed = json.loads(project.spatialllm("retry", other, "--json", code=1))
    assert list(failed["errors"]) == [f"score/{other}"]
    (project.root / f"score.{other}.fail").unlink()
    assert json.loads(project.spatialllm("retry", "--json"))["states"][f"score/{other}"] == "computed"
