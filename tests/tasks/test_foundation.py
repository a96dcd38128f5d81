"""Stage `foundation` at toy size: the same weights again, and after a kill in the middle; sources of the hub."""

import json
from dataclasses import replace

import pytest

from data_registry.errors import InputError
from tasks import foundation
from tasks.pretraining import language, loop, scenes
from tasks.stage.harness import StageRun
from tasks.training import probing

TOY = {
    "vicuna-7b": {"width": 16, "layers": 1, "heads": 2, "inner": 32, "vocabulary": 700, "rows": 2, "length": 160,
                  "held_out": 1, "schedule": {"steps": 4}, "quizzes": {"steps": 4}, "captions": {"steps": 3},
                  "answers": {"steps": 3}, "statements": {"steps": 3}, "long": 176},
    "clip": {"scenes": 8, "batch": 4, "layers": 1, "width": 16, "heads": 2, "schedule": {"steps": 3}},
    "dinov2": {"scenes": 8, "batch": 4, "layers": 1, "width": 16, "heads": 2, "schedule": {"steps": 3}},
    "mae": {"scenes": 8, "batch": 4, "layers": 1, "width": 16, "heads": 2, "schedule": {"steps": 3}},
}  # fmt: skip

REVISION = "ce19dc912ca5cd21c8a653c79e251e808ccabcd1"


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch):
    monkeypatch.setattr(scenes, "CHUNK", 8)
    monkeypatch.setattr(language, "_TOKENIZER_PASSAGES", 60)


def stage_run(tmp_path, name: str, params: dict | None = None, label: str = "a") -> StageRun:
    out, work = tmp_path / f"{label}-out", tmp_path / "work" / label
    out.mkdir()
    work.mkdir(parents=True, exist_ok=True)
    params = {"seed": 3, **TOY.get(name, {})} if params is None else params
    return StageRun(scale="tiny", stage="foundation", name=name, params=params, parts={}, seed=3, out=out, work=work)


@pytest.mark.parametrize("name", TOY)
def test_the_same_seed_gives_the_same_bytes(tmp_path, name):
    runs = [stage_run(tmp_path, name, label=label) for label in "ab"]
    first, second = (foundation.compute(run) for run in runs)
    assert first == second
    weights = [(run.out / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]


class Killed(Exception):
    """Stands for kill -9 in the middle of training."""


def test_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    whole = stage_run(tmp_path, "vicuna-7b", label="whole")
    foundation.compute(whole)

    every_two = loop.train
    monkeypatch.setattr(language, "train", lambda *a, **k: every_two(*a, **k, every=2))
    broken = stage_run(tmp_path, "vicuna-7b", label="broken")

    def die(done: int, total: int) -> None:
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        foundation.compute(replace(broken, report_progress=die))
    seen = []
    foundation.compute(replace(broken, report_progress=lambda done, total: seen.append(done)))
    assert seen == [3, 4, *range(1, 5), *3 * [1, 2, 3]]  # the rest of the notes, and all of the other phases
    assert (broken.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()


def test_a_model_of_the_hub_is_noted_by_revision(tmp_path):
    run = stage_run(tmp_path, "clip", {"repo": "openai/clip", "revision": REVISION})
    assert foundation.compute(run) == {"repo": "openai/clip", "revision": REVISION}
    assert json.loads((run.out / "source.json").read_text()) == {"repo": "openai/clip", "revision": REVISION}


def test_an_unknown_parameter_is_named(tmp_path):
    with pytest.raises(InputError, match="did you mean layers"):
        foundation.compute(stage_run(tmp_path, "clip", {**TOY["clip"], "seed": 3, "layer": 2}))


def test_a_probe_reads_what_is_there(tmp_path):
    """Features that hold the truth are read perfectly; noise is not."""
    import numpy as np

    scenes = list(probing._rendered(11, 60, 48)), list(probing._rendered(12, 30, 48))
    fit, held = (probing.objects(part, 48) for part in scenes)
    rng = np.random.default_rng(0)
    names = sorted(set(fit.name))

    def truth(of: probing.Objects) -> np.ndarray:
        one_hot = of.name[:, None] == np.array(names)
        return np.c_[one_hot, np.cos(of.azimuth), np.sin(of.azimuth), np.log(of.distance)]

    known = np.isin(held.name, names)
    fields = (held.image, held.box, held.name, held.azimuth, held.distance)
    held = probing.Objects(held.images, *(values[known] for values in fields))
    perfect = probing.probe(truth(fit), fit, truth(held), held)
    assert perfect["category_accuracy"] == 1 and perfect["azimuth_median_error_deg"] < 3 and perfect["depth_r2"] > 0.99
    rooms = [replace(each, azimuth=np.full_like(each.azimuth, np.nan)) for each in (fit, held)]  # no object has a front
    indoors = probing.probe(truth(fit), rooms[0], truth(held), rooms[1])
    assert "azimuth_median_error_deg" not in indoors and indoors["depth_r2"] == perfect["depth_r2"]
    blind = probing.probe(rng.normal(size=(len(fit.name), 4)), fit, rng.normal(size=(len(held.name), 4)), held)
    assert blind["category_accuracy"] < 0.3 and 60 < blind["azimuth_median_error_deg"] < 120 and blind["depth_r2"] < 0.1
