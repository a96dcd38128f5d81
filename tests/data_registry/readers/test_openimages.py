"""OpenImages' boxes: pixels from shares, nothing in 3D, and every dropped one counted."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_registry.errors import InputError
from data_registry.readers import openimages

HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
CLASSES = "LabelName,DisplayName\n/m/0k4j,Car\n/m/01g317,Person\n"


def _row(image="000002b66c9c498e", source="xclick", label="/m/0k4j", sure=1, box="0.1,0.5,0.25,0.75", flags="0,0,0"):
    return f"{image},{source},{label},{sure},{box},0,0,{flags}"


def _files(folder: Path, *rows: str) -> tuple[Path, Path]:
    (folder / "boxes.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "classes.csv").write_text(CLASSES)
    return folder / "boxes.csv", folder / "classes.csv"


def test_boxes_become_pixels_and_nothing_else(tmp_path):
    Image.new("RGB", (1000, 400)).save(tmp_path / "000002b66c9c498e.jpg")
    files = _files(tmp_path, _row(), _row(source="activemil", label="/m/01g317"), _row(image="00000000000000ff"))
    drops = Counter()
    (scene,) = openimages.read(*files, openimages.folder_sizes(tmp_path), drops)
    car, person = scene.objects
    np.testing.assert_allclose(car.bbox, [100, 100, 500, 300])
    assert (car.name, person.name, scene.image) == ("car", "person", "000002b66c9c498e.jpg")
    assert (car.provenance["bbox"], person.provenance["bbox"]) == ("human", "estimated")
    assert (scene.camera.width, scene.camera.height) == (1000, 400)
    assert np.isnan(scene.camera.K).all()
    for key in ("center", "dimensions", "R", "front"):
        assert getattr(car, key) is None
        assert car.provenance[key] == "unavailable"
    assert drops == {"images": 2, "objects": 3, "no picture": 1, "images without a picture": 1}


def test_what_is_dropped_is_counted_and_still_named(tmp_path):
    rows = [
        _row(),
        _row(flags="1,0,0"),
        _row(flags="0,1,0"),
        _row(flags="0,0,1"),
        _row(box="0.5,0.5,0.1,0.2", label="/m/01g317"),
        _row(sure=0, label="/m/01g317"),
    ]
    drops = Counter()
    (scene,) = openimages.read(*_files(tmp_path, *rows), lambda key: (100, 100), drops)
    assert len(scene.objects) == 1
    assert sorted(scene.others) == ["car", "car", "car", "person"]  # a checked absence is in no picture
    counted = {"a group": 1, "a depiction": 1, "seen from the inside": 1, "no 2D box": 1, "not there": 1}
    assert drops == {"images": 1, "objects": 6, **counted}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([_row(label="/m/xx")], r"line 2: LabelName /m/xx: not among"),
        ([_row(), _row(box="0.1,much,0.2,0.3")], "line 3: XMax must be a number, is 'much'"),
        ([_row()[:30]], "line 2: 3 values in 13 columns"),
        (
            [_row(), _row(image="00000000000000ff"), _row()],
            "line 4: the rows of image 0+2b66c9c498e are not together",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=rf"boxes\.csv: {message}"):
        list(openimages.read(*_files(tmp_path, *rows), lambda key: (100, 100)))


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08 packed", b"a" * 200_000], ids=["packed", "one long field"])
def test_what_is_no_csv_is_named(tmp_path, content):
    boxes, classes = _files(tmp_path, _row())
    good = boxes.read_bytes()
    for path in (boxes, classes):
        path.write_bytes(good + content)
        with pytest.raises(InputError, match=rf"{path.name}: line \d+: no CSV text"):
            list(openimages.read(boxes, classes, lambda key: (100, 100)))
        boxes.write_bytes(good)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    boxes, classes = _files(tmp_path, _row())
    for path in (boxes, classes):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    classes.write_bytes(b"\xef\xbb\xbf/m/0k4j,Car\n")  # a release without a header
    (scene,) = openimages.read(boxes, classes, lambda key: (100, 100))
    assert scene.objects[0].name == "car"


def test_wrong_files_are_named(tmp_path):
    boxes, classes = _files(tmp_path)
    with pytest.raises(InputError, match=r"classes\.csv: no column ImageID"):
        list(openimages.read(classes, classes, lambda key: None))
    with pytest.raises(InputError, match=r"boxes\.csv: no class descriptions"):
        list(openimages.read(boxes, boxes, lambda key: None))
    with pytest.raises(InputError, match=r"none\.csv: cannot be read"):
        list(openimages.read(tmp_path / "none.csv", classes, lambda key: None))
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.jpg: does not decode"):
        openimages.folder_sizes(tmp_path)("a.jpg")
