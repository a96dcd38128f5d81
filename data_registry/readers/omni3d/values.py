"""One value of an annotation file's record, checked for what it must be; errors name file, record and key."""

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_registry.errors import InputError, nearest

_LARGEST = 1e300  # beyond it is JSON's spelling of infinity
_LARGEST_ID = 2**53  # of which a double still knows the last digit
_LONGEST_NAME = 200  # characters; a category's name is a few words
_LONGEST_PATH = 4096  # bytes, as of the file system

_short = reprlib.Repr()
_short.maxlist = _short.maxdict = 9
_short.maxlong = _short.maxother = 60


def shown(value: Any) -> str:
    """A value as a message shows it: short, however long or deep it is."""
    return (value if isinstance(value, str) else _short.repr(value))[:60]


def need(record: Any, keys: Iterable[str], path: Path, member: str) -> Mapping[str, Any]:
    """The record, if it is an object with all the keys."""
    if not isinstance(record, dict):
        raise InputError(f"{path}: {member}: every element must be an object, one is {shown(record)}")
    for key in keys:
        if key not in record:
            spare = [k for k in record if k not in keys]
            raise InputError(
                f"{path}: {member}: id {shown(record.get('id', 'unknown'))}: the key '{key}' is missing; "
                f"{nearest(key, spare) if spare else 'add it'}"
            )
    return record


def is_number(value: Any) -> bool:
    return type(value) in (float, int) and -_LARGEST < value < _LARGEST


class Values:
    """Reads the values of one file's records."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def id(self, record: Mapping[str, Any], member: str) -> int:
        value = record["id"]
        if type(value) is not int or abs(value) > _LARGEST_ID:
            raise InputError(f"{self.path}: {member}: id {shown(value)!r} is no whole number up to 2^53")
        return value

    def number(self, value: Any, where: str, key: str) -> float:
        if is_number(value):
            return value
        raise self.wrong(where, key, "a number", shown(value))

    def share(self, value: Any, where: str, key: str) -> float:
        """A share of one, or less than 0 where it is unavailable; percent are refused."""
        share = self.number(value, where, key)
        if share > 1.01:  # rounding
            raise self.wrong(where, key, "a share, 0 to 1 (or -1 where it is not known)", shown(value))
        return share

    def boolean(self, value: Any, where: str, key: str) -> bool:
        """true or false, or 1 or 0 as numpy's are written."""
        if type(value) is bool or (type(value) is int and value in (0, 1)):
            return bool(value)
        raise self.wrong(where, key, "true or false", repr(value)[:60] if isinstance(value, str) else shown(value))

    def name(self, value: Any, where: str, key: str) -> str:
        """A few printable words."""
        if self._is_text(value) and value.strip() and len(value) <= _LONGEST_NAME:
            return value
        raise self.wrong(where, key, "a name", repr(value)[:60] if isinstance(value, str) else shown(value))

    def relative_path(self, value: Any, where: str, key: str) -> str:
        if self._is_text(value) and value and len(value.encode()) <= _LONGEST_PATH:
            return value
        raise self.wrong(where, key, "a name", repr(value)[:60] if isinstance(value, str) else shown(value))

    def numbers(self, value: Any, count: int, where: str, key: str) -> list[float]:
        if isinstance(value, list) and len(value) == count and all(map(is_number, value)):
            return value
        raise self.wrong(where, key, f"{count} numbers", shown(value))

    def matrix(self, value: Any, rows: int, where: str, key: str) -> list[float]:
        """The numbers of a matrix with three columns, row by row."""
        if isinstance(value, list) and len(value) == rows:
            return [v for row in value for v in self.numbers(row, 3, where, f"each row of {key}")]
        raise self.wrong(where, key, f"{rows} rows of 3 numbers", shown(value))

    def wrong(self, where: str, key: str, kind: str, value: str) -> InputError:
        return InputError(f"{self.path}: {where}: {key} must be {kind}, is {value}")

    @staticmethod
    def _is_text(value: Any) -> bool:
        """Whether it is text that a file can hold, without control characters (NUL ends a file's name)."""
        if not isinstance(value, str) or any(c < " " or c == "\x7f" for c in value):
            return False
        return value.isascii() or value.encode(errors="ignore").decode() == value
