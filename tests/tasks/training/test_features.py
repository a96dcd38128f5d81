"""Features of frozen encoders: computed once, shared, and of no influence on a result."""

import dataclasses
import io
import os
import threading

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from data_registry.errors import InputError
from data_registry.storage import shards
from model.backbones.encoders import VisionEncoder
from model.backbones.images import to_pixels
from model.training.frozen import freeze_all_but
from tasks import align
from tasks.identity import manifest
from tasks.stage.harness import execute
from tasks.training import features, model_files
from tests.tasks.training_project import IMAGES, stage_run


def test_features_are_computed_once_and_budget_changes_no_result(root, tmp_path):
    execute("align", "clip+dinov2_vicuna-7b_cc558k", align.compute, root)
    cached = sorted((root / ".cache/features").glob("*/features.npy"))
    stamps = [path.stat().st_mtime_ns for path in cached]
    assert len(cached) >= 2
    losses = {}
    for budget in (1, 0):
        run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path / str(budget))
        run.runtime["feature_budget_gb"] = budget
        losses[budget] = align.compute(run)["loss"]
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)
    assert [path.stat().st_mtime_ns for path in cached] == stamps


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("size", [96, 48])
def test_features_are_bit_for_bit_those_of_live_encoders(root, tmp_path, bf16, size):
    """Also of an encoder that sees less than another; read as the connector's start reads them."""
    run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path)
    first, (second, folder) = model_files.load_encoders(run)
    smaller = VisionEncoder(second.name, dataclasses.replace(second.spec, image_size=size), second.tower)
    encoders = [first, (smaller, folder)]
    model, _ = model_files.assemble(run, encoders)
    freeze_all_but(model, model.connector)
    keys = [f"train/{k}.png" for k in range(IMAGES)]
    found = []
    for budget in (1, 0):
        images = features.image_lookup(encoders, run.inputs["scenes"], bf16, budget, tmp_path / "cache")
        found.append(next(align._features(model, images, keys, "cpu", bf16)))
    assert all((cached == live).all() for cached, live in zip(*found, strict=True))


def test_two_that_need_the_same_features_share_the_work(root, tmp_path):
    """What another process is making comes last."""
    run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path / "run")
    encoders, scenes, cache = model_files.load_encoders(run), run.inputs["scenes"], tmp_path / "cache"
    cache.mkdir()
    first, second = (features._place(encoder, folder, scenes, False, 96, cache) for encoder, folder in encoders)
    ours = threading.Thread(target=features.image_lookup, args=(encoders, scenes, False, 1.0, cache))
    with FileLock(f"{first}.lock"):
        ours.start()
        while not second.exists():
            assert ours.is_alive()
            os.sched_yield()
        assert not first.exists()
    ours.join()
    assert first.exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_read_the_same_pictures_in_the_same_order(root, tmp_path, workers):
    run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path)
    images = shards.Images(run.inputs["scenes"])
    read = np.concatenate(list(features._pixels(images, 64, workers)))
    assert (read == np.stack([to_pixels(Image.fromarray(images[key]), 64) for key in images])).all()


@pytest.mark.parametrize("budget", [0, 1])  # pixels are decoded while it trains; or before, for their features
@pytest.mark.parametrize("workers", [0, 2])
def test_image_that_does_not_decode_is_named(root, tmp_path, monkeypatch, workers, budget):
    run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path)
    run.runtime |= {"feature_budget_gb": budget, "data_workers": workers}
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    with shards.Writer(scenes) as writer:
        for k in range(IMAGES):
            buffer = io.BytesIO()
            Image.new("RGB", (96, 96), (k, k, k)).save(buffer, "PNG")
            writer.add(f"train/{k}.png", buffer.getvalue()[: 40 if k == 5 else None], 96, 96)
    run.inputs["scenes"] = scenes
    manifest.write_manifest(scenes, {"stage": "scenes", "name": "broken"})
    named = r"" if budget else r".*\(samples cc558k/5\)"
    monkeypatch.chdir(tmp_path)  # where features are kept
    with pytest.raises(InputError, match=rf"^[^\n]*image train/5\.png does not decode[^\n]*{named}$"):
        align.compute(run)


@pytest.mark.parametrize("name", ["keys.json", "features.npy"])
def test_a_table_that_a_power_loss_left_empty_is_made_anew(root, tmp_path, name):
    run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path / "run")
    encoders, scenes, cache = model_files.load_encoders(run), run.inputs["scenes"], tmp_path / "cache"
    features.image_lookup(encoders[:1], scenes, True, 1, cache)
    (table,) = cache.glob(f"*/{name}")
    before = table.read_bytes()
    table.write_bytes(b"")
    features.image_lookup(encoders[:1], scenes, True, 1, cache)
    assert table.read_bytes() == before
