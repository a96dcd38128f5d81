"""What the stages score, baselines, foundation, probe, pose and annotate make of fixed inputs, as numbers.

Where one changes on purpose, raise `versions.STAGE` in params.yaml with it: results of the former code must not
pass for results of this one. Counting is compared exactly. Networks add up floats in an order that depends on the
processor's vector units, and bf16 keeps three digits, so what comes from them is compared to about as many.
The other stages: tests/data_registry/test_render.py (scenes), questions/test_data_golden.py (data, benchmark) and
training/test_training_stages.py (adapt, align, instruct)."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_registry import conversations
from data_registry.benchmark import spatialvqa
from data_registry.questions import general
from data_registry.questions.geometry import Margins
from tasks import annotate, baselines, foundation, pose, probe, score
from tasks.pretraining import language, scenes
from tasks.stage.harness import StageRun
from tests.data_registry.questions.question_worlds import random_scenes
from tests.tasks import test_annotate as annotating
from tests.tasks.test_foundation import TOY
from tests.tasks.training_project import fill_benchmark, fill_foundation, fill_scenes

LOGPROBS = [
    -7.1934, -6.2788, -6.5705, -5.3683, -6.457, -7.9078, -7.3973, -8.0107, -9.2241, -7.1722, -7.5586, -7.0056,
]  # fmt: skip
# Metrics of a few steps, and the fingerprint of the weights.
FOUNDATION = {
    "clip": ({"loss": 1.5689, "parameters": 479921}, -7.171493),
    "dinov2": ({"parameters": 11344}, -11.094623),
    "mae": ({"loss": 0.9088, "parameters": 11296}, 1.546502),
    "vicuna-7b": ({"parameters": 13808, "vocabulary": 700}, 20.336360),
}
DENSE = {"name": 3.1894, "point": 2.448, "color": 2.5921, "box": 0.4202, "named": 0.0436}
RAISE = "raise this stage's version in params.yaml, and write the new numbers here"


def stage_run(folder: Path, stage: str, name: str, params: dict, parts: dict | None = None, **inputs) -> StageRun:
    """A run of a stage outside of the harness."""
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir()
    return StageRun(
        "tiny", stage, name, params, parts or {}, params["seed"], folder / "out", folder / "work", inputs,
        runtime={"threads": 1, "device": "cpu"},
    )  # fmt: skip


def fingerprint(arrays: Iterator[np.ndarray]) -> float:
    """A weighted sum of all values, whose weights are fixed: any change of a value changes it."""
    rng = np.random.default_rng(0)
    return sum(float((array.astype(np.float64) * rng.normal(size=array.shape)).sum()) for array in arrays)


def weights_of(path: Path) -> float:
    from safetensors.numpy import load_file

    weights = load_file(path)
    return fingerprint(weights[key] for key in sorted(weights))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Random tiny foundation models, by name."""
    folder = tmp_path_factory.mktemp("foundation")
    for name in ("clip", "dinov2", "vicuna-7b"):
        (folder / name).mkdir()
        fill_foundation(folder / name)
    return folder


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    """Two small sets of rendered scenes."""
    from tasks import scenes as stage

    folder = tmp_path_factory.mktemp("scenes")
    for name, count, seed in (("train", 24, 71), ("test", 12, 72)):
        run = stage_run(folder / f"run-{name}", "scenes", name, {"seed": seed, "images": count, "size": 96})
        run.runtime["workers"] = 1
        stage.compute(run)
        run.out.rename(folder / name)
    return folder


def test_baselines(tmp_path):
    """Pure counting: exact."""
    worlds = random_scenes(60, seed=31)
    questions = spatialvqa.build(worlds, spatialvqa.Quotas(30, 30, 30), 3, Margins(), 0, Counter())
    (tmp_path / "benchmark").mkdir()
    spatialvqa.write(tmp_path / "benchmark" / "questions.parquet", questions)
    (tmp_path / "data").mkdir()
    records = general.instructions(worlds, "mix665k", 0, general.GeneralRecipe(), Margins(), Counter())
    conversations.write(tmp_path / "data" / "conversations.parquet", records)
    run = stage_run(
        tmp_path / "run",
        "baselines",
        "spatialvqa",
        {"seed": 5},
        benchmark=tmp_path / "benchmark",
        data=[tmp_path / "data"],
    )
    made = baselines.compute(run)
    types = made["shortcut_2d"].pop("types")
    averages = {key: value["average"] if isinstance(value, dict) else value for key, value in made.items()}
    expected = {"majority": 0.5, "lookup": 0.5, "shortcut_2d": 0.6556, "chance": 0.5, "lookup_learnt_from": 275}
    assert averages == expected, RAISE
    assert made["shortcut_2d"] == {"average": 0.6556, "distance": 0.8, "orientation": 0.5667, "relation": 0.6}, RAISE
    assert (types["closer_to_viewer"], types["front_or_behind"], types["object_on_side"]) == (0.875, 0.6429, 1.0), RAISE


def test_score(tmp_path, models):
    """Of an untrained model, in fp32."""
    for name, fill in (("test", fill_scenes), ("benchmark", fill_benchmark)):
        (tmp_path / name).mkdir()
        fill(tmp_path / name)
    from tasks.identity import manifest
    from tasks.training import model_files

    parts = {"encoders": ["clip", "dinov2"], "llm": "vicuna-7b"}
    encoders = [models / "clip", models / "dinov2"]
    for folder in (*encoders, tmp_path / "test"):
        manifest.write_manifest(folder, {"made": folder.name})
    whole = stage_run(
        tmp_path / "made", "instruct", "x", {"seed": 7}, parts, encoders=encoders, llm=models / "vicuna-7b"
    )
    model, tokenizer = model_files.assemble(whole, model_files.load_encoders(whole))
    model_files.save_model(model, tokenizer, whole.out)
    inputs = {"instruct": whole.out, "encoders": encoders, "llm": models / "vicuna-7b", "scenes": tmp_path / "test"}
    params = {"seed": 8, "bf16": False, "bootstrap": 200, "generate": 4}
    run = stage_run(tmp_path / "run", "score", "x", params, parts, benchmark=tmp_path / "benchmark", **inputs)
    run.runtime["feature_budget_gb"] = 0
    made = score.compute(run)
    import pyarrow.parquet as pq

    rows = pq.read_table(run.out / "predictions.parquet").to_pylist()
    first = [row["logprobs"][0] for row in rows[:12]]
    assert first == pytest.approx(LOGPROBS, abs=0.02), RAISE
    assert (made["average"], made["relation"]) == (pytest.approx(10 / 18), pytest.approx(2 / 3)), RAISE
    assert made["interval95"]["average"] == pytest.approx([0.33194444, 0.77777778]), RAISE
    assert made["generated"] == {"questions": 5, "accuracy": 0.0, "unparsable": 1.0, "same_as_letters": 0.0}, RAISE


@pytest.mark.parametrize("name", sorted(TOY))
def test_foundation(tmp_path, monkeypatch, name):
    monkeypatch.setattr(scenes, "CHUNK", 8)
    monkeypatch.setattr(language, "_TOKENIZER_PASSAGES", 60)
    run = stage_run(tmp_path, "foundation", name, {"seed": 3, **TOY[name]})
    made = foundation.compute(run)
    metrics, weights = FOUNDATION[name]
    assert {key: made[key] for key in metrics} == pytest.approx(metrics, rel=0.01), RAISE
    if name == "dinov2":
        assert made["dense_pretext"] == pytest.approx(DENSE, rel=0.02), RAISE
    assert weights_of(run.out / "model.safetensors") == pytest.approx(weights, abs=0.05), RAISE


def test_probe(tmp_path, models, rendered):
    parts = {"encoder": "dinov2"}
    inputs = {"encoder": models / "dinov2", "train": rendered / "train", "test": rendered / "test"}
    made = probe.compute(stage_run(tmp_path, "probe", "dinov2", {"seed": 7}, parts, **inputs))
    assert (made["objects_fitted"], made["objects_measured"]) == (115, 57), RAISE
    assert made["category_accuracy"] == pytest.approx(12 / 57, abs=1.1 / 57), RAISE
    assert made["azimuth_median_error_deg"] == pytest.approx(90.07, abs=3), RAISE
    assert made["depth_r2"] == pytest.approx(-0.4567, abs=0.03), RAISE
    assert made["depth_median_relative_error"] == pytest.approx(0.6231, abs=0.03), RAISE


def test_pose(tmp_path, models, rendered):
    params = {
        "seed": 9, "schedule": {"steps": 20}, "batch": 16, "bins": 12, "grid": 2, "hidden": 16, "dropout": 0.2,
        "margin": 0.1, "min_visibility": 0.5, "max_truncation": 0.3, "confident": 0.1,
    }  # fmt: skip
    inputs = {"encoder": models / "dinov2", "train": rendered / "train", "test": rendered / "test"}
    run = stage_run(tmp_path, "pose", "dinov2", params, {"encoder": "dinov2"}, **inputs)
    made = pose.compute(run)
    (weights,) = run.out.glob("*.safetensors")
    assert (made["objects_fitted"], made["objects_measured"], made["confident"]) == (115, 57, 1.0), RAISE
    assert made["elevation_median_error_deg"] == pytest.approx(12.95, abs=1), RAISE
    assert weights_of(weights) == pytest.approx(-5.554358, abs=0.02), RAISE


def test_annotate(tmp_path, monkeypatch):
    """Everything but the networks, whose places the renderer's ground truth takes."""
    networks = annotating.Truth()
    monkeypatch.setattr(annotate, "_load", lambda run, p: networks)
    pictures = annotating.draw(tmp_path / "pictures")
    run = annotating.stage_run(tmp_path / "a", pictures, annotating.given(tmp_path / "0", pictures))
    made = annotate.compute(run)
    objects = json.loads((run.out / "annotations.json").read_text())["annotations"]
    numbers = [np.array([*obj["center_cam"], *obj["dimensions"]]) for obj in objects if obj["valid3D"]]
    assert (made["images"], made["objects"], made["dropped"]) == (7, 34, {"mask: cut by the image's edge": 10}), RAISE
    assert (made["kept"], made["fronts"]) == (22, 22), RAISE
    unfit = {"its 3D box is not where its 2D box is": 2, "no valid 3D box": 10}
    assert made["read_drops"] == unfit, RAISE
    assert fingerprint(numbers) == pytest.approx(-8.494987, abs=1e-3), RAISE
