"""Conversations in LLaVA's fields, and their Parquet files.
One record: id, image (or None), conversations [{from: human | gpt, value}], types (one per human/gpt pair)."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_registry.storage import parquet

IMAGE = "<image>\n"  # opens the first human turn of a sample with an image
LETTERS = "ABCD"
_REMEDY = "build the data set again"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
        ("types", pa.list_(pa.string())),
    ]
)


class Turn(NamedTuple):
    """A question with its answer; `type` says what kind of knowledge it takes."""

    human: str
    gpt: str
    type: str


def multiple_choice(question: str, options: Sequence[str]) -> str:
    """The one form in which options are put to a model, in training and on the benchmark.

    >>> print(multiple_choice("Which is closer?", ["the car", "the dog"]))
    Which is closer?
    A. the car
    B. the dog
    """
    lines = (f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return "\n".join((question, *lines))


def record(id_: str, image: str | None, turns: Sequence[Turn]) -> dict[str, Any]:
    """Turns as a LLaVA record."""
    said = []
    for k, turn in enumerate(turns):
        said.append({"from": "human", "value": (IMAGE if image is not None and k == 0 else "") + turn.human})
        said.append({"from": "gpt", "value": turn.gpt})
    return {"id": id_, "image": image, "conversations": said, "types": [turn.type for turn in turns]}


def write(path: Path, records: Iterable[dict[str, Any]], batch: int = 5000) -> int:
    """Write records as Parquet in row groups of `batch`, so that memory stays flat; returns how many there were."""
    count, pending = 0, []
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for item in records:
            pending.append(item)
            count += 1
            if len(pending) == batch:
                writer.write_table(pa.Table.from_pylist(pending, SCHEMA))
                pending = []
        if pending:
            writer.write_table(pa.Table.from_pylist(pending, SCHEMA))
    return count


def read(path: Path, batch: int = 5000) -> Iterator[dict[str, Any]]:
    """Records of a Parquet file, one batch in memory at a time. InputError where it is not that."""
    with parquet.opened(path, SCHEMA, "conversations", _REMEDY) as file:
        yield from parquet.rows(file, path, SCHEMA.names, batch, _REMEDY)


def ids(path: Path) -> list[str]:
    """The records' ids in their order, without reading what they say. InputError as for `read`."""
    with parquet.opened(path, SCHEMA, "conversations", _REMEDY) as file, parquet.reading(path, _REMEDY):
        return file.read(columns=["id"]).column("id").to_pylist()


def pairs(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The (human, gpt) pairs of a record, without the image mark."""
    said = item["conversations"]
    for human, gpt in zip(said[::2], said[1::2], strict=True):
        yield human["value"].removeprefix(IMAGE), gpt["value"]
