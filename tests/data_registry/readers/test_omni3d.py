"""Omni3D files: what is written is read back, what is unfit is dropped and counted, what is wrong is named."""

import copy
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_registry import render
from data_registry.errors import InputError
from data_registry.readers import disk_buffer, json_stream, omni3d
from data_registry.readers.omni3d import agreement
from tests.data_registry.readers.omni3d_records import record as _object
from tests.samples import SAMPLES

SAMPLE = SAMPLES / "omni3d_from_kitti/KITTI_sample_omni3d.json"


@pytest.fixture(scope="module")
def drawn():
    worlds = [render.sample(21, i) for i in range(8)]
    return [(w, render.render(w, 64)) for w in worlds]


@pytest.fixture(scope="module")
def written(drawn, tmp_path_factory):
    path = tmp_path_factory.mktemp("omni3d") / "annotations.json"
    info = {"id": 100, "source": render.SOURCE, "name": "Rendered", "split": "test", "version": "1", "url": ""}
    with omni3d.Writer(path, info, render.categories()) as file:
        for world, picture in drawn:
            file.add(*render.records(world, picture, f"test/{world.index}.jpg"))
    return path


def _file(path: Path, objects: list[dict], source: str = "KITTI", **image) -> Path:
    one = {"id": 5, "width": 100, "height": 100, "file_path": "a.png", "K": [[80, 0, 50], [0, 80, 50], [0, 0, 1]]}
    content = {
        "info": {"source": source},
        "images": [one | image],
        "categories": [{"id": 0, "name": "car"}],
        "annotations": objects,
    }
    path.write_text(json.dumps(content))
    return path


def test_what_is_written_is_read_back(drawn, written):
    drops = Counter()
    scenes = list(omni3d.read(written, drops))
    assert [s.image for s in scenes] == [f"test/{i}.jpg" for i in range(8)]
    kept = 0
    for (world, picture), scene in zip(drawn, scenes, strict=True):
        exact = {o.id: o for o in render.scene(world, 64, picture=picture).objects}
        assert (scene.kind, scene.source) == (world.kind, "rendered")
        np.testing.assert_allclose(scene.camera.up, [row[2] for row in world.view.rotation], atol=1e-6)
        for thing in scene.objects:
            true = exact[thing.id]
            assert (thing.name, thing.color) == (true.name, true.color)
            for key in ("center", "dimensions", "R", "front"):
                np.testing.assert_allclose(getattr(thing, key), getattr(true, key), atol=1e-5)
            np.testing.assert_allclose(thing.bbox, true.bbox, atol=0.01)
            assert thing.visibility == pytest.approx(true.visibility, abs=1e-4)
            assert set(thing.provenance.values()) == {"ground truth"}
        kept += len(scene.objects)
    assert drops.pop("images") == 8 and kept + sum(drops.values()) - drops["objects"] == drops["objects"]


def test_the_written_file_is_plain_json_in_omni3d_s_order(written):
    content = json.loads(written.read_text())
    assert list(content) == ["info", "categories", "images", "annotations"]
    for record in content["annotations"]:
        w, h, l = record["dimensions"]
        half = np.array([l, h, w]) / 2
        local = (np.array(record["bbox3D_cam"]) - record["center_cam"]) @ np.array(record["R_cam"])
        signs = [[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]
        np.testing.assert_allclose(local, signs * half, atol=1e-4)


def test_a_sound_object_is_kept_with_its_front(tmp_path):
    [scene] = omni3d.read(_file(tmp_path / "a.json", [_object()]))
    [car] = scene.objects
    np.testing.assert_allclose(car.front, [0, 0, -1])  # first column of R_cam
    np.testing.assert_allclose(car.bbox, _object()["bbox2D_tight"])
    np.testing.assert_allclose(scene.camera.up, [0, -1, 0])  # a level camera
    assert (car.visibility, car.truncation, car.color) == (0.9, 0.1, None)
    assert car.provenance["front"] == "human" and car.provenance["color"] == "unavailable"


def test_a_front_is_only_where_the_table_has_one(tmp_path):
    [kitti] = omni3d.read(_file(tmp_path / "a.json", [_object(category_name="animal")]))
    [indoor] = omni3d.read(_file(tmp_path / "b.json", [_object()], source="SUNRGBD"))
    [unknown] = omni3d.read(_file(tmp_path / "c.json", [_object()], source="Elsewhere"))
    for scene in (kitti, indoor, unknown):
        assert scene.objects[0].front is None and scene.objects[0].provenance["front"] == "unavailable"
    assert kitti.camera.up is not None and indoor.camera.up is None and unknown.camera.up is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"behind_camera": True}, "behind the camera"),
        ({"valid3D": False}, "no valid 3D box"),
        ({"dimensions": [1.7, 0, 4.0]}, "a dimension is not positive"),
        ({"R_cam": [[1, 0, 0], [0, 1, 0], [0, 0.2, 1]]}, "R_cam is no rotation"),
        ({"R_cam": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, "R_cam is no rotation"),
        ({"lidar_pts": 0}, "no lidar points"),
        ({"segmentation_pts": 0}, "no segmentation points"),
        ({"depth_error": 0.6}, "depth error"),
        ({"center_cam": [0.5, 1.0, 40.0]}, "too small in the image"),
        ({"center_cam": [0.5, 1.0, 2.7]}, "too large for the image"),
        ({"truncation": 0.75}, "truncated"),
        ({"visibility": 0.25}, "hidden"),
        ({"bbox2D_tight": [-1] * 4, "bbox2D_trunc": [-1] * 4, "bbox2D_proj": [-1] * 4}, "no 2D box"),
    ],
)
def test_an_unfit_object_is_dropped_and_counted_but_still_known_to_be_there(tmp_path, changes, reason):
    drops = Counter()
    objects = [_object(), _object(id=2, category_name="van", **changes)]
    [scene] = omni3d.read(_file(tmp_path / "a.json", objects), drops)
    assert [o.name for o in scene.objects] == ["car"] and scene.others == ("van",)
    assert drops == {"objects": 2, "images": 1, reason: 1}


def test_what_is_unavailable_is_no_reason_to_drop(tmp_path):
    unknown = dict.fromkeys(("visibility", "truncation", "segmentation_pts", "lidar_pts", "depth_error"), -1)
    sparse = {k: v for k, v in _object(id=2).items() if k not in unknown}
    [scene] = omni3d.read(_file(tmp_path / "a.json", [_object(**unknown), sparse]))
    assert [(o.visibility, o.truncation) for o in scene.objects] == [(None, None)] * 2


def test_other_thresholds(tmp_path):
    path = _file(tmp_path / "a.json", [_object(truncation=0.4)])
    assert not next(omni3d.read(path, rules=omni3d.Rules(max_truncation=0.3))).objects


@pytest.mark.parametrize("in_memory", [1 << 24, 1])
def test_annotations_may_come_in_any_order(written, tmp_path, drawn, monkeypatch, in_memory):
    monkeypatch.setattr(disk_buffer, "_IN_MEMORY", in_memory)
    content = json.loads(written.read_text())
    mixed = copy.deepcopy(content)
    mixed["annotations"].sort(key=lambda a: hash((a["id"] * 7919) % 101))
    for name, order in (("a", ("annotations", "info", "images")), ("b", ("images", "annotations", "info"))):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({key: mixed[key] for key in order}, indent=1))
        for one, other in zip(omni3d.read(written), omni3d.read(path), strict=True):
            assert {o.id for o in one.objects} == {o.id for o in other.objects}
            assert [o.front is None for o in other.objects] == [False] * len(other.objects)
            same = {o.id: o for o in one.objects}
            assert all((o.center == same[o.id].center).all() and o.name == same[o.id].name for o in other.objects)
            assert sorted(one.others) == sorted(other.others)


# ---------------------------------------------------------------- what is wrong is named


@pytest.mark.parametrize("key", ["image_id", "category_name", "valid3D", "center_cam", "dimensions", "R_cam"])
def test_a_missing_key_of_an_object_is_named(tmp_path, key):
    record = _object(id=77)
    del record[key]
    with pytest.raises(InputError, match=rf"a\.json: annotations: id 77: the key '{key}' is missing"):
        list(omni3d.read(_file(tmp_path / "a.json", [record])))


def test_a_misspelt_key_gets_a_suggestion(tmp_path):
    record = _object()
    record["center_cm"] = record.pop("center_cam")
    with pytest.raises(InputError, match="'center_cam' is missing; did you mean center_cm"):
        list(omni3d.read(_file(tmp_path / "a.json", [record])))


def test_a_missing_key_of_an_image_is_named(tmp_path):
    path = _file(tmp_path / "a.json", [])
    content = json.loads(path.read_text())
    del content["images"][0]["K"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"a\.json: images: id 5: the key 'K' is missing"):
        list(omni3d.read(path))


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([_object(), _object()], "annotations: id 1 occurs twice"),
        ([_object(id="car1")], r"annotations: id 'car1' is no whole number up to 2\^53"),
        ([_object(image_id=6)], "annotations: id 1: image_id 6 is not among its images"),
        ([_object(center_cam=[1, 2])], "annotations: id 1: center_cam must be 3 numbers"),
        ([_object(center_cam=[1, 2, "far"])], "annotations: id 1: center_cam must be 3 numbers"),
        (["car"], "annotations: every element must be an object"),
        ([_object(image_id=[5])], r"annotations: id 1: image_id \[5\] is not among its images"),
        ([_object(category_name="")], "annotations: id 1: category_name must be a name, is ''"),
        ([_object(category_name=None)], "annotations: id 1: category_name must be a name, is None"),
        ([_object(depth_error=None)], "annotations: id 1: depth_error must be a number, is None"),
        ([_object(visibility="half")], "annotations: id 1: visibility must be a number, is half"),
        ([_object(truncation=[0.1])], r"annotations: id 1: truncation must be a number, is \[0\.1\]"),
        ([_object(front_axis=["+x"])], r"annotations: id 1: front_axis is \['\+x'\]; it must be one of"),
        ([_object(color=["red"])], r"annotations: id 1: color must be a name, is \['red'\]"),
    ],
)
def test_wrong_records_are_named(tmp_path, objects, message):
    with pytest.raises(InputError, match=message):
        list(omni3d.read(_file(tmp_path / "a.json", objects)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": None}, "width must be a number, is None"),
        ({"height": "tall"}, "height must be a number, is tall"),
        ({"file_path": None}, "file_path must be a name, is None"),
        ({"file_path": ""}, "file_path must be a name, is ''"),
        ({"file_path": "a\ud83d.png"}, r"file_path must be a name, is 'a\\ud83d\.png'"),
        ({"up_cam": [0, -9.81, 0]}, r"up_cam must be of length 1, is \[0, -9.81, 0\]"),
    ],
)
def test_a_wrong_image_is_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=rf"a\.json: images: id 5: {message}"):
        list(omni3d.read(_file(tmp_path / "a.json", [], **changes)))


def test_an_image_id_that_occurs_twice_is_named(tmp_path):
    path = _file(tmp_path / "a.json", [])
    content = json.loads(path.read_text())
    content["images"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="images: id 5 occurs twice"):
        list(omni3d.read(path))


def test_a_picture_that_two_images_have_is_named(tmp_path):
    """As of two files of annotations put together: each half would take its objects for all there are."""
    path = _file(tmp_path / "a.json", [_object(), _object(id=2, image_id=6)])
    content = json.loads(path.read_text())
    content["images"] += [{**content["images"][0], "id": 7, "file_path": "b.png"}, {**content["images"][0], "id": 6}]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"a\.json: images: file_path 'a\.png' occurs twice"):
        list(omni3d.read(path))


def test_broken_json_names_the_byte(written, tmp_path):
    text = written.read_text()
    at = text.index('"center_cam"')
    (tmp_path / "cut.json").write_text(text[:at])
    with pytest.raises(InputError, match=rf"cut\.json: broken JSON at byte {at}\b.*fetch it again"):
        list(omni3d.read(tmp_path / "cut.json"))
    (tmp_path / "odd.json").write_text('{"images":[{"é":1},{"id" 5}]}', encoding="utf-8")
    with pytest.raises(InputError, match=r"odd\.json: broken JSON at byte 26\b"):  # é takes two bytes
        list(json_stream.records(tmp_path / "odd.json"))


def test_nan_is_refused(tmp_path):
    path = _file(tmp_path / "a.json", [_object(depth_error=float("nan"))])
    with pytest.raises(InputError, match=r"a\.json: NaN after byte \d+ is no JSON number; write -1"):
        list(omni3d.read(path))


@pytest.mark.parametrize("value", ["1e999", "-1e400"])
def test_infinity_is_refused(tmp_path, value):
    path = _file(tmp_path / "a.json", [_object(center_cam=[0.5, 1.0, 4242])])
    path.write_text(path.read_text().replace("4242", value))
    with pytest.raises(InputError, match="annotations: id 1: center_cam must be 3 numbers"):
        list(omni3d.read(path))


@pytest.mark.parametrize(("K", "message"), [
    ([[80, 0, 95], [0, 80, 50], [0, 0, 1]], r"principal point at \(95, 50\), the image is 100×100; give K for"),
    ([[80, 0, 50], [0, 80, 5], [0, 0, 1]], r"principal point at \(50, 5\)"),
    ([[-80, 0, 50], [0, 80, 50], [0, 0, 1]], r"positive focal lengths"),
    ([[80, 0, 50], [0, 80, 50], [0, 1, 0]], r"K must be \[\[fx, s, cx\]"),
])  # fmt: skip
def test_intrinsics_that_disagree_with_the_image_are_refused(tmp_path, K, message):
    with pytest.raises(InputError, match=rf"a\.json: images: id 5: .*{message}"):
        list(omni3d.read(_file(tmp_path / "a.json", [], K=K)))


@pytest.mark.parametrize(
    ("center", "reason"),
    [
        ([0.5, 1.0, -12.0], "its box is behind its image"),
        ([0.5, 1.0, 0.0], "its box is behind its image"),
        ([3.0, 1.0, 8.0], agreement.PLACE),
        ([-0.5, -1.0, 12.0], agreement.PLACE),  # as where y points up
    ],
)
def test_a_box_that_is_not_where_its_object_is_seen_is_counted(tmp_path, center, reason):
    drops, alone = Counter(), {"bbox2D_trunc": [-1] * 4, "bbox2D_proj": [-1] * 4, "bbox3D_cam": -1}
    seen = {**alone, "bbox2D_tight": _object()["bbox2D_tight"]}
    (scene,) = omni3d.read(_file(tmp_path / "a.json", [_object(center_cam=center, **seen)]), drops)
    assert not scene.objects
    assert drops[reason] == 1
    assert scene.others == ("car",)
    assert next(omni3d.read(_file(tmp_path / "b.json", [_object(**seen)]))).objects


@pytest.mark.parametrize(("content", "message"), [("[]", "expected '{'"), ("{}", "no images"), ("", "ends too early")])
def test_files_of_another_kind_are_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=message):
        list(omni3d.read(tmp_path / "a.json"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        list(omni3d.read(tmp_path / "none.json"))


# ---------------------------------------------------------------- streaming and writing


def test_a_byte_order_mark_is_no_fault(written, tmp_path):
    path = tmp_path / "marked.json"
    path.write_bytes(b"\xef\xbb\xbf" + written.read_bytes())
    assert len(list(omni3d.read(path))) == 8
    path.write_bytes(written.read_bytes().replace(b'"images":', b'"images":\xef\xbb\xbf'))
    with pytest.raises(InputError, match="broken JSON"):
        list(omni3d.read(path))
    path.write_bytes(b'\xef\xbb\xbf{"images":[{"id" 5}]}')
    with pytest.raises(InputError, match=r"broken JSON at byte 20\b"):
        list(omni3d.read(path))


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_stream_yields_what_a_whole_parse_yields(tmp_path, monkeypatch, chunk):
    values = [{}, [], 12, -1.5, 2.5e-13, "x", None, True]
    content = {"info": {"a": [1, -2.5e-3, 'é"}]']}, "n": 1234567, "r": 3.25, "images": values, "none": []}
    (tmp_path / "a.json").write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    got = list(json_stream.records(tmp_path / "a.json"))
    assert got == [("info", content["info"]), ("n", 1234567), ("r", 3.25), *(("images", v) for v in values)]


def test_a_failed_write_leaves_nothing(tmp_path, drawn):
    with pytest.raises(KeyboardInterrupt), omni3d.Writer(tmp_path / "a.json", {}, []) as file:
        file.add(*render.records(*drawn[0], "x.jpg"))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample of real annotations is not on this machine")
def test_real_kitti_boxes():
    """Three frames whose boxes were derived from KITTI's labels; pictures and boxes agree on what faces where."""
    drops = Counter()
    scenes = list(omni3d.read(SAMPLE, drops))
    things = {(s.image[-10:], o.name): o for s in scenes for o in s.objects}
    assert drops["images"] == 3 and drops["objects"] == 10 and drops["a region left out of the annotation"] == 4
    assert [len(s.ignored) for s in scenes] == [0, 4, 0] and drops["no name to ask for"] == 1
    for scene in scenes:
        for thing in scene.objects:
            pixels = scene.camera.project(thing.corners())
            low, high = np.maximum(pixels.min(0), thing.bbox[:2]), np.minimum(pixels.max(0), thing.bbox[2:])
            assert (high - low > 0.7 * (thing.bbox[2:] - thing.bbox[:2])).all(), thing.name
    car = things["000001.png", "car"]
    np.testing.assert_allclose(car.front, [0, 0, -1], atol=0.05)  # it comes towards the camera
    assert things["000001.png", "truck"].front[2] > 0.99  # it drives ahead
