"""Reads a large JSON object record by record, so that a file of gigabytes needs megabytes.
Annotation files (COCO, Omni3D) are one object whose long members are arrays: each of their elements is one record."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from data_registry.errors import InputError

_CHUNK = 1 << 20  # characters
_LONGEST = 1 << 26  # characters of one record; more than that is no record


def records(path: Path) -> Iterator[tuple[str, Any]]:
    """The members of the JSON object in a file, in order: (key, value), for an array one (key, element) each.

    An empty array yields nothing. Values are checked as JSON only. The json module reads a file as a whole; ijson, the
    usual stream, is slower by far without its C library and names no byte.

    Raises:
        InputError: the file is missing, is not a JSON object, breaks off, goes on after its end, or has a member twice,
            a value nested too deep or a number too long; the message names the byte.
    """
    with _opened(path) as file:
        try:
            yield from _Reader(file, path).members()
        except UnicodeDecodeError:
            raise _no_text(path) from None


def elements(path: Path) -> Iterator[Any]:
    """The elements of the JSON array in a file, in order; errors as for `records`."""
    with _opened(path) as file:
        try:
            yield from _Reader(file, path).array()
        except UnicodeDecodeError:
            raise _no_text(path) from None


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _no_text(path: Path) -> InputError:
    return InputError(f"{path}: not UTF-8 text, so not JSON; export it again")


class _Reader:
    """A window of text over a file, from which values are cut one after the other."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self.file, self.path = file, path
        self.text = file.read(1)
        self.at = int(self.text == "\ufeff")  # a byte order mark, as some editors write it
        self.passed = 0  # bytes before the window
        self.ended = False
        self.decoder = json.JSONDecoder(parse_constant=self._constant)

    def members(self) -> Iterator[tuple[str, Any]]:
        self._expect("{")
        seen: set[str] = set()
        while self._peek() != "}":
            if seen:
                self._expect(",")
            key = self._value()
            if not isinstance(key, str):
                raise self._broken("expected a key in double quotes")
            if key in seen:
                raise self._wrong(f"the key {key[:60]!r} occurs twice; keep one of them")
            seen.add(key)
            self._expect(":")
            if self._peek() == "[":
                yield from ((key, element) for element in self._elements())
            else:
                yield key, self._value()
        self.at += 1
        self._end("object")

    def array(self) -> Iterator[Any]:
        yield from self._elements()
        self._end("array")

    def _end(self, kind: str) -> None:
        """That nothing but white space follows."""
        while not self.text[self.at :].strip():
            if self.ended:
                return
            self.at = len(self.text)
            self._more()
        self._peek()
        raise self._wrong(
            f"something follows the end of the {kind}, {self.text[self.at : self.at + 20]!r}; "
            "if two files were put together, give each by itself"
        )

    def _elements(self) -> Iterator[Any]:
        self._expect("[")
        if self._peek() == "]":
            self.at += 1
            return
        while True:
            yield self._value()
            if self._peek() == "]":
                self.at += 1
                return
            self._expect(",")

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                # a record cut by the window's end fails there; one that fails well before it is wrong
                if self.ended or len(self.text) - self.at > _LONGEST:
                    self.at = error.pos
                    raise self._broken(error.msg) from None
                self._more()
                continue
            except RecursionError:
                raise self._wrong("a value is nested too deep; no annotation is, export the file again") from None
            except InputError:
                raise
            except ValueError:  # of a number longer than Python takes
                raise self._wrong("a number has thousands of digits; correct it") from None
            if end + 2 >= len(self.text) and not self.ended:
                self._more()  # a number may go on, even behind "." or "e-"
                continue
            self.at = end
            return value

    def _peek(self) -> str:
        """The next character that is not white space."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                raise self._broken("it ends too early")
            self._more()

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise self._broken(f"expected '{character}'")
        self.at += 1

    def _more(self) -> None:
        self.passed += len(self.text[: self.at].encode())
        chunk = self.file.read(max(_CHUNK, len(self.text) - self.at))
        self.text, self.at = self.text[self.at :] + chunk, 0
        self.ended = not chunk

    def _byte(self) -> int:
        return self.passed + len(self.text[: self.at].encode())

    def _broken(self, problem: str) -> InputError:
        return self._wrong(f"{problem}; the file may be cut off, fetch it again; else correct it there")

    def _wrong(self, problem: str) -> InputError:
        return InputError(f"{self.path}: broken JSON at byte {self._byte()}: {problem}")

    def _constant(self, name: str) -> float:
        raise InputError(
            f"{self.path}: {name} after byte {self._byte()} is no JSON number; write -1 for an unavailable value"
        )
