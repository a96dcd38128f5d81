"""Parquet files opened with the columns that they must have; what is cut off, altered or of another kind is named."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_registry.errors import InputError

_BROKEN = (
    OSError,
    pa.ArrowException,
    UnicodeDecodeError,
)  # OSError: what pyarrow raises at a page that does not unpack


def opened(path: Path, schema: pa.Schema, kind: str, remedy: str, memory_map: bool = False) -> pq.ParquetFile:
    """A Parquet file that has the columns of a schema, each of the same kind; others may be there too.

    Args:
        kind: what the file should be, for messages ("conversations").
        remedy: how a broken one is mended.

    Raises:
        InputError: no such file, no Parquet, a column that is missing or holds something else.
    """
    with reading(path, remedy):
        file = pq.ParquetFile(path, memory_map=memory_map)
    for field in schema:
        if field.name not in file.schema_arrow.names:
            raise InputError(f"{path}: the column '{field.name}' is missing; {kind} have {', '.join(schema.names)}")
        column = file.schema_arrow.field(field.name).type
        if not _fits(column, field.type):
            raise InputError(f"{path}: the column '{field.name}' holds {column}; {kind} have {field.type} there")
    return file


@contextlib.contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Names the file where it turns out to be broken only when a page of it is read."""
    try:
        yield
    except _BROKEN as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: no readable Parquet file ({said}); {remedy}") from None


def rows(file: pq.ParquetFile, path: Path, columns: list[str], batch: int, remedy: str) -> Iterator[dict[str, Any]]:
    """Rows of an open file as dicts, `batch` of them in memory at a time; InputError where a page is broken."""
    batches = file.iter_batches(batch_size=batch, columns=columns)
    while True:
        with reading(path, remedy):
            group = next(batches, None)
            values = None if group is None else group.to_pylist()
        if values is None:
            return
        yield from values


def _fits(column: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column's values are of the wanted kind, in whatever width."""
    kinds = pa.types
    if kinds.is_list(wanted):
        return (kinds.is_list(column) or kinds.is_large_list(column)) and _fits(column.value_type, wanted.value_type)
    if kinds.is_struct(wanted):
        names = {column.field(k).name: column.field(k).type for k in range(column.num_fields)}
        return kinds.is_struct(column) and all(
            wanted.field(k).name in names and _fits(names[wanted.field(k).name], wanted.field(k).type)
            for k in range(wanted.num_fields)
        )
    if kinds.is_floating(wanted):
        return kinds.is_floating(column) or kinds.is_integer(column)
    if kinds.is_integer(wanted):
        return kinds.is_integer(column)
    if kinds.is_binary(wanted):
        return kinds.is_binary(column) or kinds.is_large_binary(column)
    return kinds.is_string(column) or kinds.is_large_string(column)
