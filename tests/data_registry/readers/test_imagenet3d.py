"""ImageNet3D: what its angles mean, that nothing metric comes out of it, and that no foreign pickle is loaded."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_registry.errors import InputError
from data_registry.readers import imagenet3d, imagenet3d_pickles
from tests.samples import SAMPLES

SAMPLE = SAMPLES / "imagenet3d_cad/chair_01.off"
FRONT, UP = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0])  # of the CAD models
angles = st.floats(0, 2 * math.pi, allow_nan=False)


def _annotation(**changes) -> dict:
    """As the authors' files have it."""
    return {
        "azimuth": 0.5,
        "elevation": 0.1,
        "theta": 0.0,
        "distance": 4.2,
        "px": 320.0,
        "py": 240.0,
        "viewport": 2000,
        "height": np.uint16(480),
        "width": np.uint16(640),
        "bbox": np.array([10.0, 20.0, 700.0, 300.0]),
        "class": "car",
        "cad_index": 3,
        "object_status": "status_good",
        "dense": "dense_no",
        "ignore": 0,
    } | changes


def _converted(folder: Path, **files: list[dict]) -> Path:
    for name, annotations in files.items():
        (folder / "annotations/any").mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"annotations/any/{name}.npz", annotations=np.array(annotations, dtype=object))
    imagenet3d_pickles.convert_trusted(folder / "annotations", folder / "table.parquet")
    return folder / "table.parquet"


# The published renders of azimuth 0, 90, 180 and 270: where the front points, in x (right) and z (away) of the picture
@pytest.mark.parametrize(
    ("azimuth_deg", "points"),
    [(0, (0, 0, -1)), (90, (-1, 0, 0)), (180, (0, 0, 1)), (270, (1, 0, 0))],
    ids=["faces the camera", "to the picture's left", "away", "to the picture's right"],
)
def test_the_table_of_azimuths(azimuth_deg, points):
    turned = imagenet3d.rotation(math.radians(azimuth_deg), 0, 0)
    np.testing.assert_allclose(turned @ FRONT, points, atol=1e-12)
    np.testing.assert_allclose(turned @ UP, [0, -1, 0], atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(angles, st.floats(-1.5, 1.5), angles)
def test_the_camera_is_where_the_data_set_puts_it(azimuth, elevation, theta):
    turned = imagenet3d.rotation(azimuth, elevation, theta)
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turned) > 0
    place = [
        math.cos(elevation) * math.sin(azimuth),
        -math.cos(elevation) * math.cos(azimuth),
        math.sin(elevation),
    ]
    np.testing.assert_allclose(turned @ place, [0, 0, -1], atol=1e-12)  # straight towards us, whatever theta


@settings(max_examples=50, deadline=None)
@given(angles, st.floats(-1.5, 1.5), angles)
def test_the_mirror_image(azimuth, elevation, theta):
    seen = imagenet3d.rotation(azimuth, elevation, theta)
    mirrored = imagenet3d.rotation(2 * math.pi - azimuth, elevation, -theta)
    for axis in (FRONT, UP):
        np.testing.assert_allclose(mirrored @ axis, (seen @ axis) * [-1, 1, 1], atol=1e-9)


def test_elevation_looks_down_and_theta_turns_the_picture():
    above = imagenet3d.rotation(0, math.radians(30), 0)
    np.testing.assert_allclose(above @ UP, [0, -math.cos(math.pi / 6), -0.5], atol=1e-12)  # the top shows
    turned = imagenet3d.rotation(0, 0, math.radians(90))
    np.testing.assert_allclose(turned @ UP, [-1, 0, 0], atol=1e-12)  # counter-clockwise: what was up is left


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the samples are not here")
def test_a_real_chair_shows_its_back_on_the_right_at_azimuth_90():
    lines = SAMPLE.read_text().split("\n")
    vertices = np.array([line.split() for line in lines[2 : 2 + int(lines[1].split()[0])]], dtype=float)
    seen = vertices @ imagenet3d.rotation(math.pi / 2, 0, 0).T
    top = seen[:, 1] < np.quantile(seen[:, 1], 0.1)  # y points down: the backrest's upper end
    middle = (seen[:, 0].min() + seen[:, 0].max()) / 2
    assert seen[top, 0].mean() > middle + 0.1 * np.ptp(seen[:, 0])


def test_scenes_have_fronts_and_nothing_metric(tmp_path):
    drops = Counter()
    path = _converted(
        tmp_path,
        a=[_annotation(azimuth=math.pi / 2, elevation=0.0), _annotation(**{"class": "wine_glass"})],
        b=[_annotation(**{"class": "tvmonitor"})],
    )
    first, second = imagenet3d.read(path, drops)
    car, glass = first.objects
    np.testing.assert_allclose(car.front, [-1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(car.R, np.array([[-1, 0, 0], [0, 1, 0], [0, 0, -1]]), atol=1e-12)  # front, down, left
    np.testing.assert_array_equal(car.bbox, [10, 20, 640, 300])  # clipped
    assert (first.image, first.camera.width, second.objects[0].name) == ("any/a.JPEG", 640, "television")
    assert (glass.name, glass.front, glass.R) == ("wine glass", None, None)
    assert np.isnan(first.camera.K).all()
    assert first.camera.up is None
    for thing in first.objects:
        assert thing.center is None
        assert thing.dimensions is None
        assert {thing.provenance["center"], thing.provenance["dimensions"]} == {"unavailable"}
    assert (car.provenance["front"], glass.provenance["front"]) == ("human", "unavailable")
    assert drops == {"images": 2, "objects": 3}


def test_what_is_dropped_is_counted_and_still_named(tmp_path):
    drops = Counter()
    objects = [
        _annotation(),
        _annotation(object_status="status_partially"),
        _annotation(object_status="status_barely", **{"class": "bed"}),
        _annotation(object_status="status_bad"),
        _annotation(azimuth=float("nan")),
        _annotation(distance=0.0),
        _annotation(bbox=np.array([5.0, 5.0, 5.0, 9.0])),
    ]
    (scene,) = imagenet3d.read(_converted(tmp_path, a=objects), drops)
    assert len(scene.objects) == 2
    assert sorted(scene.others) == ["bed", *["car"] * 4]
    counted = {"barely visible": 1, "bad quality": 1, "an angle is not a number": 1, "no pose": 1, "no 2D box": 1}
    assert drops == {"images": 1, "objects": 7, **counted}
    (scene,) = imagenet3d.read(tmp_path / "table.parquet", statuses=("status_good",))
    assert len(scene.objects) == 1


class _Foreign:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_foreign_pickle_is_refused_and_not_run(tmp_path):
    with pytest.raises(InputError, match=r"a\.npz: its pickle asks for .*do not trust this file"):
        _converted(tmp_path, a=[_annotation(cad_index=_Foreign(tmp_path / "mark"))])
    assert not (tmp_path / "mark").exists()
    assert not list(tmp_path.glob("table*"))  # nothing half-written either


def test_the_reader_takes_no_pickle(tmp_path):
    with pytest.raises(InputError, match="a pickle, which is never read here"):
        list(imagenet3d.read(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({**_annotation(), "azimut": 1.0}, "azimuth' is missing; did you mean azimut"),
        (_annotation(theta="much"), "theta must be double, is much"),
        (_annotation(width=float("inf")), "width must be int32, is inf"),
        (_annotation(cad_index=2**31), "cad_index must be int32, is 2147483648"),
        ("car", "must be a dict, is str"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path, annotation, message):
    if "azimut" in annotation:
        annotation.pop("azimuth")
    with pytest.raises(InputError, match=rf"a\.npz: annotation 1: .*{message}"):
        _converted(tmp_path, a=[_annotation(), annotation])


def test_other_wrong_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no \.npz files"):
        imagenet3d_pickles.convert_trusted(tmp_path, tmp_path / "table.parquet")
    (tmp_path / "a.npz").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=r"a\.npz: no annotation of ImageNet3D"):
        imagenet3d_pickles.convert_trusted(tmp_path, tmp_path / "table.parquet")
    np.savez_compressed(tmp_path / "a.npz", annotations=np.array([_annotation()] * 50, dtype=object))
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data[:200] + b"\xff" * 20 + data[220:])
    with pytest.raises(InputError, match=r"a\.npz: no annotation of ImageNet3D .*fetch it again"):
        imagenet3d_pickles.convert_trusted(tmp_path, tmp_path / "table.parquet")
    np.savez(tmp_path / "a.npz", annotations=np.arange(3))
    with pytest.raises(InputError, match="not of objects"):
        imagenet3d_pickles.convert_trusted(tmp_path, tmp_path / "table.parquet")
    path = _converted(tmp_path / "good", a=[_annotation()], b=[_annotation(object_status="status_fine")])
    with pytest.raises(InputError, match=r"any/b\.JPEG: object_status 'status_fine': unknown"):
        list(imagenet3d.read(path))
    path = _converted(tmp_path / "apart", a=[_annotation()], b=[_annotation()])
    table = pq.read_table(path)
    pq.write_table(table.take([0, 1, 0]), path)
    with pytest.raises(InputError, match=r"rows of image any/a\.JPEG are not together"):
        list(imagenet3d.read(path))
    pq.write_table(table.take([0]).drop_columns(["theta"]), path)
    with pytest.raises(InputError, match="the column 'theta' is missing"):
        list(imagenet3d.read(path))
    with pytest.raises(InputError, match="did you mean status_good"):
        list(imagenet3d.read(path, statuses=("good",)))


def test_annotations_without_a_status_are_left_out_and_counted_as_by_the_authors(tmp_path):
    bare = {key: value for key, value in _annotation().items() if key != "object_status"}
    folder, drops = tmp_path / "annotations/any", Counter()
    folder.mkdir(parents=True)
    for name, annotations in {"a": [bare, _annotation(), _annotation(object_status=None)], "b": [bare]}.items():
        np.savez(folder / f"{name}.npz", annotations=np.array(annotations, dtype=object))
    path = tmp_path / "table.parquet"
    assert imagenet3d_pickles.convert_trusted(folder.parent, path, drops=drops) == 1
    assert drops == {"no object_status": 3}
    assert [len(scene.objects) for scene in imagenet3d.read(path)] == [1]
    (folder / "a.npz").unlink()
    with pytest.raises(InputError, match=r"none of the annotations of its 1 files is usable: .*no object_status"):
        imagenet3d_pickles.convert_trusted(folder.parent, tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()


@pytest.mark.parametrize(("key", "value"), [("azimuth", 200.0), ("elevation", 20.0), ("theta", -15.0)])
def test_angles_in_degrees_are_refused_at_the_conversion(tmp_path, key, value):
    with pytest.raises(
        InputError, match=rf"a\.npz: annotation 1: {key} is {value:g}: .*in degrees; angles are radians"
    ):
        _converted(tmp_path, a=[_annotation(), _annotation(**{key: value})])
