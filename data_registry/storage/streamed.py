"""Image shards on S3 that come here one by one, when they are needed or a little before: a set may outgrow the disk.
An index in the set's folder says what they are; one folder keeps the latest of all sets, within a budget.

Why not fsspec's file cache: it knows no budget, no digests, and no other process that reads the same folder.
"""

import contextlib
import json
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from data_registry.cards.card import File, Obtain
from data_registry.errors import InputError
from data_registry.storage import fetch, s3, waiting

INDEX = "shards.json"  # in the folder of a set whose shards are elsewhere, beside the keys of its images


@dataclass(frozen=True)
class Address:
    """Where the shards of a set are: objects `<prefix>/images-*.parquet` of a bucket.

    Attributes:
        endpoint: of a server that is not Amazon's; signed: requests take boto3's credentials.
    """

    bucket: str
    prefix: str
    endpoint: str = ""
    signed: bool = True

    @classmethod
    def parse(cls, url: str, endpoint: str = "", signed: bool = True) -> "Address":
        """From "s3://bucket/prefix"; InputError where it is none."""
        parts = re.fullmatch(r"s3://([^/]+)/?(.*?)/?", url)
        if not parts:
            raise InputError(f"{url}: no address of shards; it is s3://BUCKET/FOLDER")
        return cls(parts[1], parts[2], endpoint, signed)

    def source(self) -> s3.Source:
        """What reads its objects."""
        way = Obtain("s3", self.bucket, self.endpoint, credentials="required" if self.signed else "unsigned")
        return s3.Source(str(self), way)

    def names(self) -> list[str]:
        """Of the shards that are there; InputError where there are none."""
        keys = self.source().listed(f"{self.prefix}/" if self.prefix else "")
        names = [key.rpartition("/")[2] for key in keys]
        shards = [n for n, key in zip(names, keys, strict=True) if self.key(n) == key and _is_shard(n)]
        if not shards:
            raise InputError(f"{self}: no images-*.parquet there; copy those of a set that is packed there")
        return shards

    def key(self, name: str) -> str:
        """Of a shard's object."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def _is_shard(name: str) -> bool:
    return name.startswith("images-") and name.endswith(".parquet")


@dataclass(frozen=True)
class Shard:
    """One shard: its name at the source, its size and digest, and how many images it has."""

    name: str
    bytes: int
    sha256: str
    images: int


def write_index(folder: Path, shards: Sequence[Shard]) -> None:
    """Say which shards a set has, in their order."""
    (folder / INDEX).write_text(json.dumps([asdict(shard) for shard in shards], indent=1) + "\n")


def read_index(folder: Path) -> list[Shard]:
    """What `write_index` wrote."""
    return [Shard(**fields) for fields in json.loads((folder / INDEX).read_text())]


class ShardCache:
    """Shards by digest in a folder that several processes may share; the least recently used go first.

    Args:
        folder: made if needed.
        budget: bytes of all shards in it, those on their way included; one that is waited for may exceed it by these.
        threads: that bring what `ahead` names.
        patience, pause: for a connection that breaks, as in `fetch`.

    Attributes:
        waits: how often `open` had to wait for a shard that was not there.
    """

    def __init__(self, folder: Path, budget: int, threads: int = 2, patience: int = 8, pause: float = 1.0) -> None:
        self.folder, self.budget, self.threads = folder, budget, threads
        self.patience, self.pause = patience, pause
        self.waits = 0
        self._sources: dict[tuple[int, Address], s3.Source] = {}
        self._files: dict[str, pq.ParquetFile] = {}  # no more than there are: an open one would go on taking space
        self._coming: dict[str, int] = {}
        self._wanted: dict[str, tuple[Address, Shard]] = {}
        self._tried: set[str] = set()  # of those wanted: a thread has it, or could not
        self._changed: threading.Condition | None = None

    def __reduce__(self) -> tuple:
        return ShardCache, (self.folder, self.budget, self.threads, self.patience, self.pause)

    def open(self, address: Address, shard: Shard) -> pq.ParquetFile:
        """A shard, brought first where it is not there.

        Raises:
            InputError: it cannot be had, is not what the index says, or is larger than the budget.
        """
        path = self._path(shard)
        if not path.exists():
            self.waits += 1
        while True:
            if not path.exists():
                self._bring(address, shard, urgent=True)
            # Another process may make room for its own between any two of these lines: then once more.
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)
                file = self._files.get(shard.sha256) or _parquet(path)
                self._files[shard.sha256] = file
                return file

    def ahead(self, wanted: Sequence[tuple[Address, Shard]]) -> None:
        """Bring these in the background, in this order, as far as the budget goes; they are the last to make room.

        What was asked for before and is not here yet is forgotten. What cannot be had, `open` will say of.
        """
        if self._changed is None:
            self._changed = threading.Condition()
            for _ in range(self.threads):
                threading.Thread(target=self._work, args=(self._changed,), daemon=True).start()
        with self._changed:
            self._wanted = {shard.sha256: (address, shard) for address, shard in wanted}
            self._tried = set()
            self._changed.notify_all()

    def _work(self, changed: threading.Condition) -> None:
        while True:
            with changed:
                while not (todo := [key for key in self._wanted if key not in self._tried]):
                    changed.wait()
                self._tried.add(todo[0])
                address, shard = self._wanted[todo[0]]
            with contextlib.suppress(InputError, OSError):  # `open` will meet the same, where somebody waits for it
                self._bring(address, shard, urgent=False)

    def _bring(self, address: Address, shard: Shard, urgent: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(shard)
        with waiting.hold(path.with_name(f"{path.name}.lock"), f"bring the shard {shard.name}"):
            if path.exists() or not self._make_room(shard, urgent):
                return
            source = self._sources.setdefault((os.getpid(), address), address.source())  # not shared with a fork
            try:
                file = File(path.name, shard.bytes, shard.sha256, address.key(shard.name))
                fetch.bring(source, file, self.folder, self.patience, self.pause)
            finally:
                self._coming.pop(path.name, None)

    def _make_room(self, shard: Shard, urgent: bool) -> bool:
        """Remove what was used least recently; what `ahead` named only where it is urgent. Whether there is room."""
        if shard.bytes > self.budget:
            raise InputError(
                f"{self.folder}: the shard {shard.name} has {shard.bytes:,} bytes, more than the budget of "
                f"{self.budget:,}; raise runtime.shard_cache.budget_gb in params.yaml"
            )
        with waiting.hold(self.folder / ".lock", f"make room for the shard {shard.name}"):
            name = self._path(shard).name
            coming = dict(self._coming)  # first: one that arrives meanwhile counts once
            there = self._there()
            sizes = {path: there[path].st_size for path in there if not {path.name, path.stem} & coming.keys()}
            sizes.pop(self.folder / f"{name}.partial", None)
            for key in list(self._files):
                if self.folder / f"{key}.parquet" not in there:
                    self._files.pop(key, None)
            excess = sum(sizes.values()) + sum(coming.values()) + shard.bytes - self.budget
            kept = {f"{key}.parquet" for key in self._wanted}
            for path in sorted(sizes, key=lambda path: (path.name in kept, there[path].st_mtime_ns)):
                if excess <= 0 or (path.name in kept and not urgent):
                    break
                if self._remove(path):
                    excess -= sizes[path]
            if excess > 0 and not urgent:
                return False
            self._coming[name] = shard.bytes
            return True

    def _there(self) -> dict[Path, os.stat_result]:
        """Shards and beginnings of shards; looked at again where one arrived, and so changed its name, meanwhile."""
        while True:
            with contextlib.suppress(FileNotFoundError):
                paths = [path for path in self.folder.iterdir() if path.suffix in (".parquet", ".partial")]
                return {path: path.lstat() for path in paths}  # of a dangling link, too

    def _remove(self, path: Path) -> bool:
        if path.suffix == ".parquet":
            self._files.pop(path.stem, None)
            path.unlink(missing_ok=True)
            return True
        # A beginning: of a transfer that goes on elsewhere, or of one that died.
        with contextlib.suppress(Timeout), FileLock(f"{path.with_suffix('')}.lock", timeout=0):
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}.version").unlink(missing_ok=True)
            return True
        return False

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.sha256}.parquet"


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: no readable Parquet file ({error}); the source has no shards of images") from None
