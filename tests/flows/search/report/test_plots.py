"""Pictures of a study are drawn from its trials; the registry gets the winner once, with its lineage."""

import json
import warnings
from pathlib import Path

import optuna
import pytest
from PIL import Image

from flows.designs.design import ROWS
from flows.designs.plan import plan_of
from flows.designs.space import Space
from flows.search.report.plots import _in_order, draw
from flows.search.trials import DESIGN, HOURS, front, importances_of, trials_of
from flows.tracking import model_registry
from tasks.identity import manifest, settings
from tasks.identity.paths import Paths


@pytest.fixture
def study():
    """Twelve designs whose accuracy is decided by their encoders above all."""
    space = Space(stage0=["none"], stage1=["cc558k"])
    made = optuna.create_study(direction="maximize")
    for number, design in enumerate(space.designs()):
        made.enqueue_trial(space.params_of(design))
        trial = made.ask()
        assert space.suggest(trial) == design
        trial.set_user_attr(DESIGN, design.name)
        trial.set_user_attr(HOURS, 10.0 + number)
        made.tell(trial, 0.4 + 0.3 * ("dinov2" in design.encoders) + 0.01 * ("llama" in design.llm))
    return space, made


def test_every_picture_is_drawn(study, tmp_path):
    space, made = study
    with warnings.catch_warnings(action="error"):  # none on the terminal of whoever sweeps
        importances = importances_of(made)
    assert max(importances, key=importances.__getitem__) == "encoders"
    files = draw(tmp_path, trials_of(made), space, importances)
    assert {file.stem for file in files} == {"history", "slices", "pareto", "importances", "interaction"}
    for file in files:
        with Image.open(file) as picture:
            low, high = picture.convert("L").getextrema()
            assert (low, high) != (255, 255), "not empty"


def test_choices_stand_in_the_order_of_the_space():
    order = ["clip", "clip+mae", "clip+dinov2"]
    assert _in_order(["clip+dinov2", "gone", "clip", "clip+dinov2"], order) == ["clip", "clip+dinov2", "gone"]


def test_too_few_trials_have_no_importances(tmp_path):
    made = optuna.create_study(direction="maximize")
    assert importances_of(made) == {}
    assert draw(tmp_path, [], Space(), {}) == []


def test_the_front_of_the_study(study):
    _, made = study
    found = front(trials_of(made))
    assert [one.hours for one in found] == sorted(one.hours for one in found)
    assert [one.value for one in found] == sorted({one.value for one in found})


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
        (out / "metrics.json").write_text(json.dumps({"run": run}))
        manifest.write_manifest(out, {"stage": stage, "name": name})
    return tmp_path, plan


def test_lineage_reaches_the_data(trained):
    root, plan = trained
    made_of = model_registry.lineage(root, plan, ROWS[1])
    runs = made_of["stage_runs"]
    assert {"scenes/train", "data/cc558k", "data/mix665k", "foundation/clip", f"instruct/{ROWS[1].name}"} <= set(runs)
    assert not any(run.startswith(("score/", "benchmark/")) for run in runs), "what it was trained from, no more"
    manifest = json.loads((Paths(root, "tiny", "data", "mix665k").out / "MANIFEST.json").read_text())
    assert runs["data/mix665k"]["content"] == manifest["content"]


def test_the_winner_is_registered_once(trained, tracking_database):
    import shutil

    from tasks.tracking.mlflow import connect, experiment

    root, plan = trained
    shutil.copyfile(tracking_database, root / "mlflow.db")
    client = connect(settings.load(root))
    run_id = client.create_run(experiment(client, root, "stage runs (tiny)")).info.run_id
    made_of = model_registry.lineage(root, plan, ROWS[1])
    numbers = [model_registry.register(client, "spatialllm-tiny", run_id, made_of, {"average": 0.5}) for _ in range(2)]
    assert numbers[0] == numbers[1]
    (version,) = client.search_model_versions("name = 'spatialllm-tiny'")
    assert version.run_id == run_id
    assert version.tags["design"] == ROWS[1].name
    assert version.tags["data.data.mix665k"] == made_of["stage_runs"]["data/mix665k"]["content"]
    assert version.tags["metric.average"] == "0.5"
    written = client.download_artifacts(run_id, "model/lineage.json")
    assert json.loads(Path(written).read_text()) == made_of
