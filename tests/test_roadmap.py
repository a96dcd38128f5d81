"""The main job as a newcomer meets it: a copy of the repository, two designs at a smoke size, every part real.
Then the promises that need the whole: nothing runs twice, DVC agrees, a changed key recomputes what depends on it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
BLIND = "blind_llama3-8b_mix665k+3di-ft1m"
ROW_1 = "clip_vicuna-7b_cc558k_mix665k"
ROW_8 = "clip+dinov2_llama3-8b_cc558k+3di-pb-in166k_mix665k+3di-ft1m"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("roadmap")]


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the environment the tests run in, from a folder; its output is shown when it fails."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "160"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git would give a newcomer, with everything but the foundation models made small."""
    folder = tmp_path_factory.mktemp("clone")
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    shutil.rmtree(folder / "reports", ignore_errors=True)  # so that what is read below was written below

    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["designs"] = [1, 8, BLIND]
    params["scenes"]["tiny"]["each"]["train"]["images"] = 480  # above the width of two encoders
    params["scenes"]["tiny"]["each"]["test"]["images"] = 240
    params["benchmark"]["tiny"]["questions"] = {"distance": 42, "orientation": 36, "relation": 54}
    params["instruct"]["tiny"]["epochs"] = 0.25
    params["score"]["tiny"] |= {"bootstrap": 200, "generate": 10}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "plan.yaml").unlink()
    return folder


@pytest.fixture(scope="module")
def first(clone: Path) -> dict:
    """results.json of the first roadmap."""
    command(clone, "spatialllm", "roadmap", "--rows", "1,8")
    return json.loads((clone / "reports/roadmap/results.json").read_text())


def test_the_table_counts_what_was_asked(first: dict, clone: Path) -> None:
    import pandas as pd

    assert first["benchmark"] == {"questions": 132, "distance": 42, "orientation": 36, "relation": 54}
    assert [(design["row"], design["name"]) for design in first["designs"]] == [(1, ROW_1), (8, ROW_8)]
    for design in first["designs"]:
        predictions = pd.read_parquet(clone / "runs/tiny/score" / design["name"] / "predictions.parquet")
        assert len(predictions) == 132
        right = (predictions["answer"] == predictions["prediction"]).mean()
        assert design["accuracy"]["average"] == pytest.approx(100 * right, abs=0.051)
    assert (clone / "reports/roadmap/report.html").stat().st_size > 10_000


def test_every_stage_run_was_computed_once_and_shared(first: dict, clone: Path) -> None:
    stage_runs = first["stage_runs"]
    assert stage_runs["planned"] == stage_runs["executed"] + stage_runs["restored"]
    for stage, count in {"scenes": 2, "align": 2, "instruct": 3, "score": 3}.items():
        assert len([path for path in (clone / "runs/tiny" / stage).iterdir() if path.is_dir()]) == count, stage
    assert not list(clone.glob("runs/**/.*.partial")), "half-written output left behind"


def test_mlflow_has_a_parent_and_a_child_for_each_design(first: dict, clone: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{clone / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = [run for run in runs if run.info.run_name.startswith("roadmap of ")]
    assert len(parents) == 1
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert {run.info.run_name for run in children} == {ROW_1, ROW_8, BLIND}
    for design in first["designs"]:
        child = next(run for run in children if run.info.run_name == design["name"])
        assert child.data.metrics["average"] == pytest.approx(design["accuracy"]["average"] / 100, abs=6e-4)
    trained = next(run for run in runs if run.data.tags.get("stage_run") == f"instruct/{ROW_8}")
    assert len(client.get_metric_history(trained.info.run_id, "loss")) > 1, "no loss curve"


def test_again_runs_nothing_and_dvc_agrees(first: dict, clone: Path) -> None:
    manifest = clone / "runs/tiny/instruct" / ROW_8 / "MANIFEST.json"
    before = manifest.stat().st_mtime_ns
    again = command(clone, "spatialllm", "roadmap", "--rows", "1,8")
    assert " 0 executed" in again.stdout, again.stdout
    assert manifest.stat().st_mtime_ns == before
    status = command(clone, "dvc", "status")
    assert "up to date" in status.stdout, status.stdout


def test_a_changed_key_recomputes_only_what_depends_on_it(first: dict, clone: Path) -> None:
    params = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(params.replace("bootstrap: 200", "bootstrap: 300"))
    try:
        changed = command(clone, "dvc", "status", "--json")
        assert {name.split("@")[0] for name in json.loads(changed.stdout)} == {"score"}
        with pytest.raises(AssertionError, match="none of the 2 designs has been scored with the parameters"):
            command(clone, "spatialllm", "report", "--rows", "1,8")
    finally:
        (clone / "params.yaml").write_text(params)


def test_the_best_design_answers_a_question(first: dict, clone: Path) -> None:
    from data_registry.storage.shards import Images

    images = Images(clone / "runs/tiny/scenes/test")
    image = clone / "scene.jpg"
    image.write_bytes(images.encoded(next(iter(images))))
    answer = command(clone, "spatialllm", "ask", str(image), "Which is closer?\nA. the car\nB. the dog")
    assert answer.stdout.strip()
