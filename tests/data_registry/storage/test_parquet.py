"""Parquet files that are cut off, altered or of another kind are named wherever they are read, never a traceback."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_registry import conversations
from data_registry.errors import InputError
from data_registry.readers import imagenet3d, imagenet3d_pickles
from data_registry.storage import shards

ROW = {
    "image": "a/1.JPEG", "width": 640, "height": 480, "class": "car", "azimuth": 1.0, "elevation": 0.1, "theta": 0.0,
    "distance": 5.0, "px": 320.0, "py": 240.0, "viewport": 3000.0, "bbox": [10.0, 10.0, 200.0, 100.0], "cad_index": 1,
    "object_status": "status_good", "dense": "",
}  # fmt: skip
TURNS = [conversations.Turn("Which?", "This.", "x")]


def _conversations(folder: Path) -> Path:
    path = folder / "conversations.parquet"
    conversations.write(path, (conversations.record(str(k), None, TURNS) for k in range(300)))
    return path


def _table(folder: Path) -> Path:
    path = folder / "table.parquet"
    rows = [ROW | {"image": f"a/{k}.JPEG"} for k in range(300)]
    pq.write_table(pa.Table.from_pylist(rows, imagenet3d_pickles.SCHEMA), path)
    return path


def _shard(folder: Path) -> Path:
    noise = np.random.default_rng(0)
    with shards.Writer(folder) as writer:
        for k in range(100):
            writer.add(str(k), noise.bytes(200), 6, 4)
    return folder / "images-00000.parquet"


def _encoded(path: Path) -> list[bytes]:
    images = shards.Images(path.parent)
    return [images.encoded(key) for key in images]


READERS = {
    "conversations": (_conversations, lambda path: list(conversations.read(path)), conversations.SCHEMA),
    "imagenet3d": (_table, lambda path: list(imagenet3d.read(path)), imagenet3d_pickles.SCHEMA),
    "shards": (_shard, _encoded, shards.SCHEMA),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "altered"])
def test_a_damaged_file_is_named(tmp_path, kind, damage):
    make, read, _ = READERS[kind]
    path = make(tmp_path)
    data = path.read_bytes()
    assert read(path)
    changed = {"empty": b"", "cut": data[: len(data) // 2], "text": b"id,image\n1,2\n" * 50}
    # the header of the first page, which the footer says nothing of
    changed["altered"] = data[:4] + b"\xff" * 60 + data[64:]
    path.write_bytes(changed[damage])
    with pytest.raises(InputError, match=rf"{path.name}: .*(again|is missing)"):
        read(path)


@pytest.mark.parametrize("kind", READERS)
def test_a_column_that_is_missing_or_of_another_kind_is_named(tmp_path, kind):
    make, read, schema = READERS[kind]
    path = make(tmp_path)
    table = pq.read_table(path)
    for field in schema:
        pq.write_table(table.drop_columns([field.name]), path)
        with pytest.raises(InputError, match=rf"{path.name}: the column '{field.name}' is missing"):
            read(path)
        place = table.schema.get_field_index(field.name)
        other = pa.array([[{"x": 1}]] * len(table))
        pq.write_table(table.set_column(place, field.name, other), path)
        with pytest.raises(InputError, match=rf"{path.name}: the column '{field.name}' holds "):
            read(path)


def test_wider_columns_and_more_of_them_are_read(tmp_path):
    """As pandas and polars write them."""
    path = _conversations(tmp_path)
    table = pq.read_table(path)
    wide = table.set_column(0, "id", table.column("id").cast(pa.large_string())).append_column("n", pa.array([1] * 300))
    pq.write_table(wide, path)
    assert len(list(conversations.read(path))) == 300 and len(conversations.ids(path)) == 300


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"object_status": None}, "no object_status"),
        ({"azimuth": None}, "an angle is not a number"),
        ({"theta": float("nan")}, "an angle is not a number"),
        ({"elevation": float("inf")}, "an angle is not a number"),
        ({"distance": None}, "no pose"),
        ({"distance": 0.0}, "no pose"),
        ({"distance": float("nan")}, "no pose"),
        ({"bbox": None}, "no 2D box"),
        ({"bbox": [1.0, 2.0]}, "no 2D box"),
        ({"bbox": [200.0, 10.0, 10.0, 100.0]}, "no 2D box"),
        ({"bbox": [700.0, 10.0, 900.0, 100.0]}, "no 2D box"),  # outside the picture
        ({"bbox": [float("nan"), 10.0, 90.0, 100.0]}, "no 2D box"),
    ],
)
def test_a_pose_that_is_not_there_is_counted(tmp_path, changes, reason):
    path, drops = tmp_path / "table.parquet", Counter()
    pq.write_table(pa.Table.from_pylist([ROW, ROW | changes], imagenet3d_pickles.SCHEMA), path)
    [scene] = imagenet3d.read(path, drops)
    assert len(scene.objects) == 1 and drops == {"images": 1, "objects": 2, reason: 1}


@pytest.mark.parametrize("changes", [{"image": None}, {"class": None}, {"width": 641}, {"width": None}])
def test_a_row_that_belongs_to_nothing_is_named(tmp_path, changes):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist([ROW, ROW | changes], imagenet3d_pickles.SCHEMA), path)
    with pytest.raises(InputError, match=r"table\.parquet: .*convert the annotations again"):
        list(imagenet3d.read(path))


@pytest.mark.parametrize(("key", "value"), [("azimuth", 200.0), ("elevation", -20.0), ("theta", 12.0)])
def test_degrees_are_refused(tmp_path, key, value):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist([ROW | {key: value}], imagenet3d_pickles.SCHEMA), path)
    with pytest.raises(InputError, match=rf"image a/1\.JPEG: {key} is {value:g}: .*in degrees; angles are radians"):
        list(imagenet3d.read(path))
