"""Data sets from given files: LLaVA's JSON and annotated scenes, with their own pictures, which training finds."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_registry import conversations, render
from data_registry.errors import InputError
from data_registry.readers import omni3d
from data_registry.storage.shards import Images
from tasks import data
from tasks.stage.harness import StageRun
from tasks.training import image_lookup


def stage_run(out: Path, name: str, where: dict, **params) -> StageRun:
    out.mkdir(parents=True)
    return StageRun(
        scale="tiny", stage="data", name=name, params={"seed": 3} | params, parts={"dataset": name}, seed=3, out=out,
        work=out, inputs={"scenes": out / "none"}, runtime={"data": {name: where}},
    )  # fmt: skip


def computed(root: Path, name: str, where: dict, **params) -> tuple[Path, dict]:
    """The data set, computed as a user does: leave the digest empty, and copy it from the error."""
    message = rf"data\.tiny\.each\.{name}\.given: is '', but .* have [0-9a-f]{{64}}; write that there"
    with pytest.raises(InputError, match=message) as error:
        data.compute(stage_run(root / "asked", name, where, given="", **params))
    digest = re.search(r"[0-9a-f]{64}", str(error.value))[0]
    run = stage_run(root / "out", name, where, given=digest, **params)
    return run.out, data.compute(run)


@pytest.fixture
def llava(tmp_path):
    """Four records: two of one picture, one without, one whose picture is missing."""
    (tmp_path / "pictures/a").mkdir(parents=True)
    for k in range(2):
        Image.new("RGB", (40 + k, 30), (k * 90, 0, 0)).save(tmp_path / f"pictures/a/{k}.jpg")
    said = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A car."}]
    plain = [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "Four."}]
    records = [
        {"id": "1", "image": "a/1.jpg", "conversations": said},
        {"id": "2", "image": "a/0.jpg", "conversations": said},
        {"id": "2", "image": "a/1.jpg", "conversations": said},
        {"id": "3", "conversations": plain},
        {"id": "4", "image": "a/9.jpg", "conversations": said},
    ]
    (tmp_path / "llava.json").write_text(json.dumps(records))
    return {"conversations": str(tmp_path / "llava.json"), "pictures": str(tmp_path / "pictures")}


def test_llavas_json_becomes_a_data_set_with_its_pictures(llava, tmp_path):
    out, metrics = computed(tmp_path, "mix665k", llava)
    records = list(conversations.read(out / "conversations.parquet"))
    assert [r["image"] for r in records] == ["a/1.jpg", "a/0.jpg", "a/1.jpg", None]
    assert len({r["id"] for r in records}) == 4
    assert (metrics["records"], metrics["samples"], metrics["pictures"]) == (5, 4, 2)
    assert metrics["dropped"] == {"image is missing": 1}
    assert metrics["pictures_missing"] == ["a/9.jpg"]
    packed = Images(out)
    assert list(packed) == ["a/1.jpg", "a/0.jpg"]
    assert packed["a/1.jpg"].shape == (30, 41, 3)


def test_a_picture_that_does_not_decode_stops_or_is_counted(llava, tmp_path):
    path = Path(llava["pictures"]) / "a/1.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"a/1\.jpg: does not decode"):
        data.compute(stage_run(tmp_path / "stop", "mix665k", llava, given=""))
    out, metrics = computed(tmp_path, "mix665k", llava, faults="count")
    assert [r["image"] for r in conversations.read(out / "conversations.parquet")] == ["a/0.jpg", None]
    assert metrics["dropped"] == {"image does not decode": 2, "image is missing": 1}
    assert metrics["pictures_missing"] == ["a/1.jpg", "a/9.jpg"]
    with pytest.raises(InputError, match=r"faults: 'skip' is unknown"):
        data.compute(stage_run(tmp_path / "skip", "mix665k", llava, given="", faults="skip"))


def test_a_changed_picture_or_word_is_another_set(llava, tmp_path):
    computed(tmp_path / "a", "cc558k", llava)
    with pytest.raises(InputError) as before:
        data.compute(stage_run(tmp_path / "b", "cc558k", llava, given=""))
    path = Path(llava["conversations"])
    path.write_text(path.read_text().replace("A car.", "A bus."))
    with pytest.raises(InputError) as after:
        data.compute(stage_run(tmp_path / "c", "cc558k", llava, given=""))
    assert str(before.value) != str(after.value)


def test_scenes_with_pictures_of_their_own(tmp_path):
    pictures = tmp_path / "wild"
    pictures.mkdir()
    path = tmp_path / "wild.json"
    with omni3d.Writer(path, {"source": "rendered", "provenance": "estimated"}, render.categories()) as file:
        for index in range(30):
            world = render.sample(9, index)
            picture = render.render(world, 64)
            Image.fromarray(picture.rgb).save(pictures / f"{index}.png")
            file.add(*render.records(world, picture, f"{index}.png"))
    where = {"annotations": str(path), "pictures": str(pictures)}
    out, metrics = computed(tmp_path, "3di-pb-oi1m", where, recipe={"types": ["object_distance", "pair_distance"]})
    records = list(conversations.read(out / "conversations.parquet"))
    assert metrics["samples"] == len(records) > 10
    assert set(Images(out)) == {r["image"] for r in records}
    assert metrics["pictures"] == len(Images(out))


@pytest.mark.parametrize(("where", "message"), [
    ({}, r"runtime\.data\.mix665k\.pictures: missing"),
    ({"pictures": "x"}, r"runtime\.data\.mix665k: needs either conversations .* or annotations"),
    ({"pictures": "x", "conversations": "a", "annotations": "b"}, r"needs either"),
    ({"pictures": "x", "conversations": "/nowhere.json"}, r"/nowhere\.json: no such file; .*runtime\.data\.mix665k"),
])  # fmt: skip
def test_the_place_must_be_said(tmp_path, where, message):
    with pytest.raises(InputError, match=message):
        data.compute(stage_run(tmp_path / "out", "mix665k", where, given="x"))


def test_images_counts_scenes_and_not_records(llava, tmp_path):
    with pytest.raises(InputError, match="images: 2 counts scenes, and mix665k is given as conversations"):
        data.compute(stage_run(tmp_path / "out", "mix665k", llava, given="x", images=2))


def test_training_finds_the_pictures_of_its_scenes_and_of_its_data(llava, tmp_path):
    own, _ = computed(tmp_path / "1", "mix665k", llava)
    same, _ = computed(tmp_path / "2", "cc558k", llava)
    plain = tmp_path / "plain"
    plain.mkdir()
    run = StageRun("tiny", "align", "x", {}, {}, 0, tmp_path, tmp_path, {"scenes": own, "data": [same, plain, own]})
    assert image_lookup.image_folders(run) == [own, same]
    joined = Images(own, same)
    assert list(joined) == ["a/1.jpg", "a/0.jpg"], "two sets may use one picture"
    np.testing.assert_array_equal(joined["a/1.jpg"], Images(own)["a/1.jpg"])


def test_one_key_for_two_pictures_is_refused(llava, tmp_path):
    own, _ = computed(tmp_path / "1", "mix665k", llava)
    Image.new("RGB", (40, 30), (1, 2, 3)).save(Path(llava["pictures"]) / "a/0.jpg")
    other, _ = computed(tmp_path / "2", "cc558k", llava)
    with pytest.raises(InputError, match=r"image key a/0\.jpg occurs twice"):
        Images(own, other)


def test_json_lines_of_messages_become_a_data_set(llava, tmp_path):
    said = [{"role": "user", "content": "<image>\nWhat is it?"}, {"role": "assistant", "content": "A car."}]
    records = [
        {"messages": [{"role": "system", "content": "Be brief."}, *said], "images": ["a/1.jpg"]},
        {"messages": said, "images": ["a/0.jpg", "a/1.jpg"]},
        {"messages": said, "videos": ["a/0.mp4"]},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    out, metrics = computed(tmp_path, "mix665k", llava | {"conversations": str(path)})
    assert [r["image"] for r in conversations.read(out / "conversations.parquet")] == ["a/1.jpg"]
    assert (metrics["records"], metrics["samples"], metrics["left_out"]) == (3, 1, {"system turn": 1})
    assert metrics["dropped"] == {
        "has several images (images), which is not supported": 1,
        "has videos, which is not supported": 1,
    }
