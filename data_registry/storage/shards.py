"""Images packed in Parquet shards: thousands of small files become a few large ones, readable by any tool.
Columns: image (the key: Omni3D's file_path), bytes (JPEG or PNG as it was), width, height."""

import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from data_registry.errors import InputError, nearest
from data_registry.storage import parquet, streamed
from data_registry.storage.pictures import UNDECODABLE, to_rgb, why

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)
DIGESTS = "pictures.parquet"  # image, sha256: of folders that bring their own pictures, which others may hold too
_REMEDY = "compute or fetch it again"
_GROUP = 64  # images per row group: what one look-up reads
_CACHED = 16  # row groups kept in memory by a reader


class Writer:
    """Writes shards `images-00000.parquet`, ...; a shard is closed when it reaches a budget.

        with Writer(folder) as shards:
            shards.add("0/000001.jpg", data, width, height)

    Args:
        folder: must exist.
        max_bytes, max_rows: budgets of one shard.
    """

    def __init__(self, folder: str | Path, max_bytes: int = 128 << 20, max_rows: int = 50_000) -> None:
        self.folder = Path(folder)
        self.max_bytes, self.max_rows = max_bytes, max_rows
        self.shards = 0
        self._keys: set[str] = set()
        self._file: pq.ParquetWriter | None = None
        self._rows: list[tuple[str, bytes, int, int]] = []
        self._bytes = self._count = 0

    def __enter__(self) -> "Writer":
        return self

    def add(self, key: str, data: bytes, width: int, height: int) -> None:
        """Appends an encoded image. InputError if the key was used before."""
        if key in self._keys:
            raise InputError(f"{self.folder}: image key {key} occurs twice; keys must be unique")
        self._keys.add(key)
        self._rows.append((key, data, width, height))
        self._bytes += len(data)
        self._count += 1
        if len(self._rows) >= _GROUP:
            self._flush()
        if self._bytes >= self.max_bytes or self._count >= self.max_rows:
            self._close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._close()
        elif self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._file is None:
            path = self.folder / f"images-{self.shards:05d}.parquet"
            # JPEG does not compress, and plain columns let a reader take a slice without decoding the rest
            self._file = pq.ParquetWriter(path, SCHEMA, compression="none", use_dictionary=False)
            self.shards += 1
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        self._file.write_batch(pa.record_batch(columns, schema=SCHEMA))
        self._rows = []

    def _close(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()
        self._file = None
        self._bytes = self._count = 0


def has_images(folder: Path) -> bool:
    """Whether a folder has shards of images, or an index of them."""
    return (folder / streamed.INDEX).exists() or any(folder.glob("images-*.parquet"))


class Images:
    """Images of a folder of shards by key.

    Only the keys and a few row groups are in memory. Safe to pickle: worker processes open the files themselves.

        images = Images("runs/tiny/scenes/train")
        rgb = images["0/000001.jpg"]        # (height, width, 3) uint8

    Several folders are read as one. A key that two of them have must mean the same picture, by the digests that both
    carry (pictures.parquet). Shards of which a folder
    has an index alone (`data_registry.storage.streamed`) come one by one.

    Args:
        folder, others: with shards or an index.
        cache: where shards come that an index names.
        address: of the shards of a folder with an index.

    Raises:
        InputError: no shards, a shard that is no Parquet or lacks a column, a key twice, an unknown key, an image that
            does not decode or has another size than recorded.
    """

    def __init__(
        self,
        folder: str | Path,
        *others: str | Path,
        cache: streamed.ShardCache | None = None,
        address: Callable[[Path], streamed.Address] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._paths: list[Path] = []
        self._cache = cache
        self._remote: dict[int, tuple[streamed.Address, streamed.Shard]] = {}
        self._where: dict[str, tuple[int, int]] = {}
        self._files: dict[int, pq.ParquetFile] = {}
        self._starts: dict[int, list[int]] = {}  # first row of each row group
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        for place in (self.folder, *map(Path, others)):
            if (place / streamed.INDEX).exists():
                self._add_streamed(place, address)
            else:
                self._add(place)

    def _add(self, folder: Path) -> None:
        paths = sorted(folder.glob("images-*.parquet"))
        if not paths:
            raise InputError(f"{folder}: no images-*.parquet; compute the scenes first, or name their folder")
        for path in paths:
            self._paths.append(path)
            file = self._open(len(self._paths) - 1)
            with parquet.reading(path, _REMEDY):
                keys = file.read(columns=["image"]).column("image").to_pylist()
            self._enter(keys)

    def _add_streamed(self, folder: Path, address: Callable[[Path], streamed.Address] | None) -> None:
        if self._cache is None or address is None:
            raise InputError(
                f"{folder}: its pictures stay on S3, for training alone; compute it without `stream` for this"
            )
        where, start = address(folder), 0
        keys = pq.read_table(folder / DIGESTS, columns=["image"]).column("image").to_pylist()
        for shard in streamed.read_index(folder):
            self._remote[len(self._paths)] = where, shard
            self._paths.append(folder / shard.name)
            self._enter(keys[start : start + shard.images])
            start += shard.images

    def _enter(self, keys: Iterable[str]) -> None:
        """The keys of the last shard, in its order."""
        shard, path = len(self._paths) - 1, self._paths[-1]
        for row, key in enumerate(keys):
            if key not in self._where:
                self._where[key] = shard, row
            elif not self._same(key, self._paths[self._where[key][0]].parent, path.parent):
                raise InputError(f"{path}: image key {key} occurs twice in {self.folder}; keys must be unique")

    def _same(self, key: str, first: Path, second: Path) -> bool:
        """Whether two folders are known to mean the same picture by a key."""
        if first == second:
            return False
        known = [_digests(folder).get(key) for folder in (first, second)]
        return known[0] is not None and known[0] == known[1]

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: object) -> bool:
        return key in self._where

    def __iter__(self) -> Iterator[str]:
        """Keys in the order in which they were written; reading in this order is the fastest."""
        return iter(self._where)

    def __getitem__(self, key: str) -> np.ndarray:
        """The image as (height, width, 3) uint8 RGB."""
        data, width, height, path = self._row(key)
        try:
            with Image.open(io.BytesIO(data)) as image:
                rgb = np.asarray(to_rgb(image))
        except UNDECODABLE as error:
            raise InputError(
                f"{path}: image {key} does not decode ({why(error)}); write it again as JPEG or PNG, or remove it"
            ) from None
        if rgb.shape[:2] != (height, width):
            raise InputError(
                f"{path}: image {key} is {rgb.shape[1]}×{rgb.shape[0]} pixels but recorded as {width}×{height}; "
                "write the shard again"
            )
        return rgb

    def shard_of(self, key: str) -> int:
        """Number of the shard that has an image; KeyError where none has."""
        return self._where[key][0]

    def ahead(self, keys: Iterable[str]) -> None:
        """These will be read soon, in this order: shards that are not here begin to come."""
        if self._cache is None or not self._remote:
            return
        numbers = dict.fromkeys(self._where[key][0] for key in keys if key in self._where)
        self._cache.ahead([self._remote[number] for number in numbers if number in self._remote])

    def encoded(self, key: str) -> bytes:
        """The image's file as it was written."""
        return self._row(key)[0]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_files": {}, "_groups": OrderedDict()}

    def _row(self, key: str) -> tuple[bytes, int, int, Path]:
        if key not in self._where:
            raise InputError(f"{self.folder}: no image with key {key}; {nearest(key, list(self._where)[:2000])}")
        shard, row = self._where[key]
        group, place = self._group_of(shard, row)
        table = self._group(shard, group)
        data, width, height = (table.column(c)[place].as_py() for c in ("bytes", "width", "height"))
        return data, width, height, self._paths[shard]

    def _group_of(self, shard: int, row: int) -> tuple[int, int]:
        """Row group of a row, and its place in there."""
        metadata = self._open(shard).metadata  # each time: the shard is in use
        if shard not in self._starts:
            sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            self._starts[shard] = list(accumulate(sizes, initial=0))
        group = bisect_right(self._starts[shard], row) - 1
        return group, row - self._starts[shard][group]

    def _group(self, shard: int, group: int) -> pa.Table:
        place = shard, group
        if place in self._groups:
            self._groups.move_to_end(place)
        else:
            file = self._open(shard)
            with parquet.reading(self._paths[shard], _REMEDY):
                self._groups[place] = file.read_row_group(group, use_threads=False)
            if len(self._groups) > _CACHED:
                self._groups.popitem(last=False)
        return self._groups[place]

    def _open(self, shard: int) -> pq.ParquetFile:
        if self._cache is not None and shard in self._remote:
            return self._cache.open(*self._remote[shard])
        if shard not in self._files:
            self._files[shard] = parquet.opened(
                self._paths[shard], SCHEMA, "shards of images", _REMEDY, memory_map=True
            )
        return self._files[shard]


@lru_cache(maxsize=8)
def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 by key of the pictures of a folder, as far as it says so."""
    if not (folder / DIGESTS).exists():
        return {}
    table = pq.read_table(folder / DIGESTS)
    return dict(zip(table.column("image").to_pylist(), table.column("sha256").to_pylist(), strict=True))
