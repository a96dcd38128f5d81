"""Image shards: every image comes back as it was, from any shard, and what is broken is named with key and file."""

import io
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_registry.errors import InputError
from data_registry.storage import shards


def _png(value: int, width: int = 6, height: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (value, 0, 255 - value)).save(buffer, "PNG")
    return buffer.getvalue()


def _write(folder, count: int, **budget):
    with shards.Writer(folder, **budget) as writer:
        for i in range(count):
            writer.add(f"set/{i:03d}.png", _png(i), 6, 4)
    return shards.Images(folder)


def test_images_come_back_in_order_and_by_key(tmp_path):
    images = _write(tmp_path, 150)
    assert list(images) == [f"set/{i:03d}.png" for i in range(150)] and len(images) == 150
    for i in (149, 0, 63, 64, 65, 0):
        rgb = images[f"set/{i:03d}.png"]
        assert rgb.shape == (4, 6, 3) and rgb.dtype == np.uint8 and (rgb == [i, 0, 255 - i]).all()
        assert images.encoded(f"set/{i:03d}.png") == _png(i)
    assert "set/000.png" in images and "set/150.png" not in images


def test_a_budget_of_rows_or_bytes_starts_a_new_shard(tmp_path):
    for name, budget in (("rows", {"max_rows": 70}), ("bytes", {"max_bytes": 70 * len(_png(0))})):
        (tmp_path / name).mkdir()
        images = _write(tmp_path / name, 200, **budget)
        rows = [pq.ParquetFile(p).metadata.num_rows for p in sorted((tmp_path / name).glob("*.parquet"))]
        assert sum(rows) == 200 and len(rows) == 3 and max(rows) <= 72
        assert all((images[key][0, 0] == [i, 0, 255 - i]).all() for i, key in enumerate(images))


def test_equal_images_give_equal_files(tmp_path):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _write(tmp_path / name, 70)
        contents.append((tmp_path / name / "images-00000.parquet").read_bytes())
    assert contents[0] == contents[1]


def test_shards_of_another_tool_are_read(tmp_path):
    """Other row groups, of any size, other columns beside ours."""
    n = 228
    rows = {"width": [6] * n, "extra": ["x"] * n, "image": [str(i) for i in range(n)], "height": [4] * n}
    table = pa.table(rows | {"bytes": [_png(i) for i in range(n)]})
    for name, groups in (("small", [3] * 76), ("first as ours", [64, 0, 100, 64])):
        (tmp_path / name).mkdir()
        with pq.ParquetWriter(tmp_path / name / "images-a.parquet", table.schema) as writer:
            for k, size in enumerate(groups):
                writer.write_table(table.slice(sum(groups[:k]), size))
        images = shards.Images(tmp_path / name)
        assert [images[str(i)][0, 0, 0] for i in (*range(n), 9, 130, 0)] == [*range(n), 9, 130, 0]


def test_a_reader_travels_to_worker_processes(tmp_path):
    images = _write(tmp_path, 3)
    assert (images["set/002.png"][0, 0] == [2, 0, 253]).all()
    assert (pickle.loads(pickle.dumps(images))["set/002.png"] == images["set/002.png"]).all()


@pytest.mark.parametrize("data", [b"", b"not an image", _png(1)[:40]])
def test_an_image_that_does_not_decode_is_named(tmp_path, data):
    with shards.Writer(tmp_path) as writer:
        writer.add("set/bad.png", data, 6, 4)
    with pytest.raises(InputError, match=r"images-00000\.parquet: image set/bad\.png does not decode .*write it again"):
        shards.Images(tmp_path)["set/bad.png"]


def test_an_image_of_another_size_is_named(tmp_path):
    with shards.Writer(tmp_path) as writer:
        writer.add("a.png", _png(1), 7, 4)
    with pytest.raises(InputError, match=r"image a\.png is 6×4 pixels but recorded as 7×4"):
        shards.Images(tmp_path)["a.png"]


def test_an_unknown_key_gets_the_nearest(tmp_path):
    with pytest.raises(InputError, match=r"no image with key set/01\.png; did you mean set/001\.png"):
        _write(tmp_path, 3)["set/01.png"]


def test_a_key_may_occur_once(tmp_path):
    with pytest.raises(InputError, match=r"a\.png occurs twice"), shards.Writer(tmp_path) as writer:
        writer.add("a.png", _png(1), 6, 4)
        writer.add("a.png", _png(1), 6, 4)


def test_a_key_in_two_shards_is_named(tmp_path):
    _write(tmp_path, 1)
    (tmp_path / "images-00001.parquet").write_bytes((tmp_path / "images-00000.parquet").read_bytes())
    with pytest.raises(InputError, match=r"images-00001\.parquet: image key set/000\.png occurs twice"):
        shards.Images(tmp_path)


def test_what_is_no_shard_is_named(tmp_path):
    with pytest.raises(InputError, match="no images-"):
        shards.Images(tmp_path)
    (tmp_path / "images-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"images-00000\.parquet: no readable Parquet"):
        shards.Images(tmp_path)
    pq.write_table(pa.table({"image": ["a"], "width": [1], "height": [1]}), tmp_path / "images-00000.parquet")
    with pytest.raises(InputError, match=r"images-00000\.parquet: the column 'bytes' is missing"):
        shards.Images(tmp_path)
