"""Raw KITTI labels: the same scenes as Omni3D's records of the same frames; wrong files are named."""

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_registry.errors import InputError
from data_registry.readers import kitti, omni3d
from data_registry.readers.omni3d import agreement
from tests.samples import SAMPLES

CAR = "Car 0.00 0 0.00 130 101 172 117 1.5 1.7 4.0 0.0 1.6 10.0 0.0"


@pytest.fixture
def folder(tmp_path):
    """One frame of a camera with f = 100 px and an offset of 0.05 m to the left of camera 0."""
    for name in ("label_2", "calib", "image_2"):
        (tmp_path / name).mkdir()
    (tmp_path / "calib/000007.txt").write_text("P0: 1\nP2: 100 0 150 5 0 100 100 0 0 0 1 0\n")
    (tmp_path / "label_2/000007.txt").write_text(CAR + "\n")
    Image.new("RGB", (300, 200)).save(tmp_path / "image_2/000007.png")
    return tmp_path


def _write(folder: Path, *lines: str) -> Path:
    (folder / "label_2/000007.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not here")
def test_the_samples_agree_with_omni3d():
    ours, theirs = Counter(), Counter()
    raw = list(kitti.read(SAMPLES / "kitti_object", ours))
    known = list(omni3d.read(SAMPLES / "omni3d_from_kitti/KITTI_sample_omni3d.json", theirs))
    assert len(raw) == len(known) == 3
    compared = 0
    for scene, reference in zip(raw, known, strict=True):
        assert reference.image.endswith(scene.image)
        assert (scene.camera.width, scene.camera.height) == (reference.camera.width, reference.camera.height)
        np.testing.assert_allclose(scene.camera.K, reference.camera.K, atol=1e-4)
        np.testing.assert_array_equal(scene.camera.up, reference.camera.up)
        assert [o.name for o in scene.objects] == [o.name for o in reference.objects]
        assert sorted(scene.others) == sorted(reference.others)
        assert [r.name for r in scene.ignored] == [r.name for r in reference.ignored]
        for mine, other in zip(scene.ignored, reference.ignored, strict=True):
            np.testing.assert_allclose(mine.bbox, other.bbox, atol=0.01)
        for mine, other in zip(scene.objects, reference.objects, strict=True):
            for key in ("center", "dimensions", "R", "front", "bbox"):
                np.testing.assert_allclose(getattr(mine, key), getattr(other, key), atol=1e-5, err_msg=key)
            assert mine.provenance == other.provenance
            compared += 1
    assert compared == 5
    assert ours == theirs and ours["no name to ask for"] == 1 and sum(len(s.ignored) for s in raw) == 4


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not here")
@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda w: [*w[:12], f"{float(w[12]) - float(w[8]) / 2}", *w[13:]], 1),  # the centre in place of the bottom's
        (lambda w: [*w[:8], w[10], w[9], w[8], *w[11:]], 3),  # l w h: whatever is about as long as high stays
        (lambda w: [*w[:11], f"{float(w[11]) + 3}", *w[12:]], 1),  # three metres to the right; the far truck stays
    ],
)
def test_a_real_3d_box_that_is_not_where_its_2d_box_is_is_counted(tmp_path, change, most):
    """A label file has no projection of its own: that of the record itself is no witness."""
    shutil.copytree(SAMPLES / "kitti_object", tmp_path / "kitti")
    for path in (tmp_path / "kitti/label_2").glob("*.txt"):
        lines = [line.split() for line in path.read_text().splitlines()]
        path.write_text("".join(" ".join(w if w[0] == "DontCare" else change(w)) + "\n" for w in lines))
    drops = Counter()
    kept = sum(len(scene.objects) for scene in kitti.read(tmp_path / "kitti", drops))
    assert kept <= most
    assert drops[agreement.PLACE] + drops["alpha and rotation_y contradict each other"] >= 5 - most


def _turned(angle: float, seen: float | None = None) -> str:
    """The car turned by rotation_y; seen: its alpha, if that is to be another."""
    turned = CAR.removesuffix("0.0") + f"{angle}"
    return turned.replace("0 0.00 130", f"0 {angle if seen is None else seen:.2f} 130")


def test_a_car_ahead_by_hand(folder):
    (scene,) = kitti.read(folder)
    (car,) = scene.objects
    np.testing.assert_allclose(car.center, [0.05, 1.6 - 0.75, 10.0])
    np.testing.assert_allclose(car.dimensions, [1.7, 1.5, 4.0])
    np.testing.assert_allclose(car.front, [1, 0, 0], atol=1e-12)  # rotation 0 looks along the camera's x
    assert (scene.image, car.name, scene.camera.up.tolist()) == ("image_2/000007.png", "car", [0, -1, 0])


def test_rotation_turns_the_front_towards_the_camera(folder):
    (scene,) = kitti.read(_write(folder, _turned(math.pi / 2)))
    np.testing.assert_allclose(scene.objects[0].front, [0, 0, -1], atol=1e-12)


def test_what_is_dropped_is_counted_and_still_named(folder):
    drops = Counter()
    lines = (
        CAR,
        CAR.replace("Car 0.00 0", "Person_sitting 0.00 2"),
        CAR.replace("Car", "Misc"),
        CAR.replace("Car 0.00", "Van 0.80"),
        CAR.replace("Car", "Truck").replace("10.0 0.0", "1.3 0.0").replace("130 101 172 117", "0 107 300 200"),
        _turned(1.0, seen=-1.0).replace("Car", "Tram"),
        "DontCare -1 -1 -10 5 5 20 20 -1 -1 -1 -1000 -1000 -1000 -10",
    )
    (scene,) = kitti.read(_write(folder, *lines), drops)
    assert [o.name for o in scene.objects] == ["car"]
    assert sorted(scene.others) == ["misc", "person sitting", "tram", "truck", "van"]
    assert [(r.name, r.bbox.tolist()) for r in scene.ignored] == [("dontcare", [5, 5, 20, 20])]
    assert drops == {
        "images": 1,
        "objects": 7,
        "hidden": 1,
        "no name to ask for": 1,
        "truncated": 1,
        "too large for the image": 1,
        "alpha and rotation_y contradict each other": 1,
        "a region left out of the annotation": 1,
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([CAR, CAR + " 0.9"], "line 2: 16 columns.*score"),
        ([CAR.replace("10.0", "ten")], "line 1: .*ten"),
        ([CAR.replace("10.0", "nan")], "line 1: a value is not finite"),
        ([_turned(90)], "line 1: alpha is 90; angles are radians"),
        ([CAR.removesuffix("0.0") + "-180"], "line 1: rotation_y is -180; angles are radians"),
    ],
)
def test_a_wrong_line_is_named(folder, lines, message):
    with pytest.raises(InputError, match=rf"000007\.txt: {message}"):
        list(kitti.read(_write(folder, *lines)))


def test_missing_files_are_named(folder):
    (folder / "image_2/000007.png").unlink()
    with pytest.raises(InputError, match=r"000007\.png: no such picture"):
        list(kitti.read(folder))
    Image.new("RGB", (300, 200)).save(folder / "image_2/000007.png")
    (folder / "calib/000007.txt").write_text("P0: 1\n")
    with pytest.raises(InputError, match="no line P2"):
        list(kitti.read(folder))
    (folder / "calib/000007.txt").write_bytes(b"\x1f\x8b packed")
    with pytest.raises(InputError, match=r"calib/000007\.txt: not UTF-8 text"):
        list(kitti.read(folder))
    (folder / "calib/000007.txt").unlink()
    with pytest.raises(InputError, match=r"calib/000007\.txt: cannot be read"):
        list(kitti.read(folder))
    with pytest.raises(InputError, match="no label files"):
        list(kitti.read(folder / "label_2"))


def test_the_records_make_an_omni3d_file(folder, tmp_path):
    image, objects = kitti.records(folder, "000007")
    path = tmp_path / "kitti.json"
    path.write_text(json.dumps({"info": {"source": "KITTI"}, "images": [image], "annotations": objects}))
    (from_file,) = omni3d.read(path)
    (raw,) = kitti.read(folder)
    np.testing.assert_array_equal(from_file.objects[0].corners(), raw.objects[0].corners())
