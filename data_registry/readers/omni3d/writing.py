"""Omni3D files written as their images come, whole or not at all, and several put together as one."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TextIO

from data_registry.readers.json_stream import records
from data_registry.readers.omni3d.sources import SEVERAL


class Writer:
    """Writes an Omni3D file as its images come, whole or not at all.

        with Writer(path, info, categories) as file:
            file.add(image, annotations)

    Annotations wait in a file of their own, since Omni3D puts them after the images: memory stays small.
    Records may be given as dicts or as JSON text.
    """

    _file: TextIO  # both are open within the context
    _annotations: IO[str]

    def __init__(self, path: str | Path, info: Mapping[str, Any], categories: Iterable[Mapping[str, Any]]) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._head = f'{{"info":{dumps(info)},"categories":{dumps(list(categories))},"images":['
        self._images_written = self._annotations_written = 0

    def __enter__(self) -> "Writer":
        self._file = self._partial.open("w", encoding="utf-8")
        self._annotations = tempfile.TemporaryFile("w+", encoding="utf-8", dir=self.path.parent)
        self._file.write(self._head)
        return self

    def add(self, image: Mapping[str, Any] | str, annotations: Iterable[Mapping[str, Any] | str]) -> None:
        """Appends an image and its annotations."""
        self._file.write(",\n" * bool(self._images_written) + (image if isinstance(image, str) else dumps(image)))
        self._images_written += 1
        self.annotate(annotations)

    def annotate(self, annotations: Iterable[Mapping[str, Any] | str]) -> None:
        """Appends annotations of images that are added at any time."""
        for record in annotations:
            text = record if isinstance(record, str) else dumps(record)
            self._annotations.write(",\n" * bool(self._annotations_written) + text)
            self._annotations_written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.write('],\n"annotations":[')
                self._annotations.seek(0)
                shutil.copyfileobj(self._annotations, self._file)
                self._file.write("]}\n")
        finally:
            self._annotations.close()
            self._file.close()
            if kind is not None:
                self._partial.unlink(missing_ok=True)
        if kind is None:
            self._partial.replace(self.path)


def merge(paths: Sequence[Path], target: Path) -> None:
    """One file of several, in their order; every image says which source it is from.

    Ids stay as they are, unique in all of Omni3D: `read` refuses what has one twice.
    """
    infos, categories = [], {}
    for path in paths:
        info: dict[str, Any] = {}
        for key, value in records(path):
            if key == "info" and isinstance(value, dict):
                info = value
            elif key == "categories":
                categories[dumps(value)] = value
        infos.append(info)
    with Writer(target, {"source": SEVERAL, "merged": infos}, categories.values()) as file:
        for path, info in zip(paths, infos, strict=True):
            own: dict[str, Any] = {key: info[key] for key in ("source", "provenance") if key in info}
            for key, value in records(path):
                if key == "images":
                    file.add({**own, **value}, [])
                elif key == "annotations":
                    file.annotate([value])


def dumps(value: Any) -> str:
    """Compact JSON; NaN and infinity are refused, since no JSON reader has to know them."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
