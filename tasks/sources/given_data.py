"""A data set whose sources the user gives: LLaVA's conversation JSON, or annotated scenes, each with its own pictures.
Where they lie is `runtime.data.<name>`, no part of the identity; what they are is `given`, a digest of what is used."""

import hashlib
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_registry import conversations
from data_registry.cards import datasets
from data_registry.cards.kinds import KINDS
from data_registry.errors import InputError
from data_registry.readers import llava
from data_registry.storage import shards, streamed
from tasks.sources import streams
from tasks.sources.given_scenes import picture


@dataclass(frozen=True)
class Place:
    """Where a data set's sources lie: its pictures (a folder, or shards on S3), and either LLaVA's conversations or
    Omni3D annotations."""

    pictures: Path | streamed.Address
    conversations: Path | None
    annotations: Path | None

    @property
    def file(self) -> Path:
        """The file that says what is in the pictures."""
        file = self.conversations or self.annotations
        if file is None:
            raise ValueError("a place with neither conversations nor annotations")
        return file

    @property
    def folder(self) -> Path:
        """The folder of the pictures, where they are in one."""
        if isinstance(self.pictures, streamed.Address):
            raise ValueError(f"{self.pictures}: pictures that are shards on S3 are in no folder")
        return self.pictures


def place(runtime: dict[str, Any], name: str, stream: bool = False) -> Place:
    """From `runtime.data.<name>` of params.yaml; `stream`: its pictures are shards on S3."""
    entry = (runtime.get("data") or {}).get(name) or {}
    where = f"params.yaml: runtime.data.{name}"
    if not entry.get("pictures"):
        raise InputError(f"{where}.pictures: missing; say where the given data set's pictures lie")
    if bool(entry.get("conversations")) == bool(entry.get("annotations")):
        raise InputError(
            f"{where}: needs either conversations (LLaVA's JSON) or annotations (Omni3D's JSON, from which the "
            "conversations are made)"
        )
    paths = {key: Path(entry[key]).expanduser() if entry.get(key) else None for key in ("conversations", "annotations")}
    pictures = streams.address(runtime, "data", name) if stream else Path(entry["pictures"]).expanduser()
    source = Place(pictures, **paths)
    if not source.file.is_file():
        raise InputError(f"{source.file}: no such file; {where} names it")
    return source


def convert(
    source: Place, name: str, out: Path, decoding: bool = False, streamed_keys: Container[str] | None = None
) -> llava.Audit:
    """Write conversations.parquet from LLaVA's JSON; records whose picture is missing are counted, not kept.

    Args:
        decoding: count those whose picture does not decode, too; else `pack` stops at the first.
        streamed_keys: of the pictures, where they are not in a folder.
    """
    images = streamed_keys
    if images is None:
        images = llava.DecodedImages(source.folder) if decoding else llava.FolderImages(source.folder)
    type_ = KINDS[datasets.card(name).kind].given_type
    return llava.convert(source.file, out / "conversations.parquet", name, type_, images)


def pack(
    source: Place, keys: Iterable[str], out: Path, given: str, key: str, progress: Callable[[int, int], None]
) -> int:
    """Pack the pictures that a data set uses into shards beside it; returns how many there are.

    Args:
        keys: of the pictures, relative to `source.pictures`, in the order in which they are packed.
        given: the expected digest, as this function's own error message prints it.
        key: of params.yaml, where `given` stands; for messages.

    Raises:
        InputError: a picture that does not decode; another digest than `given`.
    """
    wanted = list(keys)
    digests = []
    with shards.Writer(out) as packed:
        for done, name in enumerate(wanted, 1):
            data, (width, height) = picture(source.folder, name, source.file)
            digests.append(hashlib.sha256(data).hexdigest())
            packed.add(name, data, width, height)
            progress(done, len(wanted))
    _check(source, digests, given, key)
    pq.write_table(pa.table({"image": wanted, "sha256": digests}), out / shards.DIGESTS)
    return len(wanted)


def match(
    source: Place, keys: Iterable[str], pictures: Mapping[str, tuple[str, tuple[int, int]]], given: str, key: str
) -> int:
    """Check the pictures that a data set uses where they stay on S3; the digest is as if they were packed.

    Args:
        keys, given, key: as in `pack`; pictures: SHA-256 and (width, height) by key of what the shards hold.

    Raises:
        InputError: a picture that no shard has; another digest than `given`.
    """
    wanted = list(keys)
    if missing := next((name for name in wanted if name not in pictures), None):
        raise InputError(f"{source.pictures}: no image {missing}, which {source.file} names; add it to a shard there")
    _check(source, [pictures[name][0] for name in wanted], given, key)
    return len(wanted)


def _check(source: Place, digests: Iterable[str], given: str, key: str) -> None:
    with source.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    for picture_digest in digests:
        digest.update(bytes.fromhex(picture_digest))
    if digest.hexdigest() != given:
        raise InputError(
            f"params.yaml: {key}: is {given!r}, but {source.file} and its pictures have {digest.hexdigest()}; "
            "write that there if these are the files you mean"
        )


def used(path: Path) -> list[str]:
    """Keys of the pictures that a conversations.parquet uses, each once, in the order of their first use."""
    return list(dict.fromkeys(item["image"] for item in conversations.read(path) if item["image"] is not None))
