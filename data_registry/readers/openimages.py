"""OpenImages' box annotations (CSV) as Scene records with 2D boxes only: the input of pseudo-annotation.
Format: https://storage.googleapis.com/openimages/web/download_v7.html#dense-labels-subset."""

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from data_registry.errors import InputError
from data_registry.scene import Camera, Provenance, Scene, SceneObject
from data_registry.storage.pictures import UNDECODABLE, inside, is_file, why

SOURCE = "OpenImages"
_COLUMNS = ("ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax")
_FLAGS = {"IsGroupOf": "a group", "IsDepiction": "a depiction", "IsInside": "seen from the inside"}
# how a box was made: drawn by a person, or by a learnt model that a person checked
_PROVENANCE: dict[str, Provenance] = {"xclick": "human", "activemil": "estimated"}
_UNKNOWN: dict[str, Provenance] = dict.fromkeys(("center", "dimensions", "R", "front", "color"), "unavailable")

Sizes = Callable[[str], tuple[int, int] | None]


def read(boxes: str | Path, classes: str | Path, sizes: Sizes, drops: Counter[str] | None = None) -> Iterator[Scene]:
    """Scenes of a box file in its order, one image in memory at a time.

    Groups, depictions and things seen from the inside are dropped and counted; their names stay in `others`. The
    camera is unknown: K is NaN, so nothing can be projected by mistake.

    Args:
        boxes: e.g. oidv6-train-annotations-bbox.csv.
        classes: e.g. oidv7-class-descriptions-boxable.csv: label, name.
        sizes: width and height in pixels of an image key (ID.jpg), None where there is no such picture. The
            annotations are shares of the picture and do not say its size.
        drops: filled with counts by reason, under "objects" and "images" with how many there were.

    Raises:
        InputError: a missing column or file, an unknown label, a value that is no number; with the line.
    """
    boxes, names = Path(boxes), _names(Path(classes))
    drops = Counter() if drops is None else drops
    seen: set[int | str] = set()
    for key, group in groupby(_rows(boxes), key=lambda row: row[1]["ImageID"]):
        rows = list(group)
        # sixteen hexadecimal digits: as a number a third of the memory of the text, and there are 1.7 million
        mark: int | str = int(key, 16) if len(key) == 16 and set(key) <= set("0123456789abcdef") else key
        if mark in seen:
            raise InputError(f"{boxes}: line {rows[0][0]}: the rows of image {key} are not together; sort by ImageID")
        seen.add(mark)
        drops["images"] += 1
        drops["objects"] += len(rows)
        size = sizes(f"{key}.jpg")
        if size is None:
            drops["no picture"] += len(rows)
            drops["images without a picture"] += 1
        else:
            yield _scene(f"{key}.jpg", size, rows, names, drops, boxes)


def scenes(annotations: Path, pictures: Path, drops: Counter[str]) -> Iterator[Scene]:
    """`read` as every reader is called (`reader.Reader`): annotations is the folder with one box file and one of class
    descriptions, as they are published."""
    boxes, classes = (_only(annotations, pattern) for pattern in ("*bbox*.csv", "*class-descriptions*.csv"))
    return read(boxes, classes, folder_sizes(pictures), drops)


def _only(folder: Path, pattern: str) -> Path:
    paths = sorted(folder.glob(pattern))
    if len(paths) != 1:
        raise InputError(
            f"{folder}: {len(paths)} files {pattern}, must be one; name the folder of OpenImages' CSV files"
        )
    return paths[0]


def folder_sizes(folder: str | Path) -> Sizes:
    """Sizes from the headers of the pictures in a folder."""
    folder = Path(folder)

    def size(key: str) -> tuple[int, int] | None:
        path = inside(folder, key)
        if path is None or not is_file(path):
            return None
        try:
            with Image.open(path) as image:
                return image.size
        except UNDECODABLE as error:
            raise InputError(f"{path}: does not decode ({why(error)}); fetch it again") from None

    return size


def _scene(
    key: str,
    size: tuple[int, int],
    rows: list[tuple[int, dict[str, str]]],
    names: dict[str, str],
    drops: Counter[str],
    path: Path,
) -> Scene:
    objects, others = [], []
    for number, (line, row) in enumerate(rows):
        where = f"{path}: line {line}"
        label = row["LabelName"]
        if label not in names:
            raise InputError(f"{where}: LabelName {label}: not among the class descriptions; use the same release's")
        confidence, *shares = (_number(row[key], key, where) for key in ("Confidence", "XMin", "YMin", "XMax", "YMax"))
        reason = next((why for flag, why in _FLAGS.items() if row.get(flag) == "1"), None)
        if confidence == 0:
            drops["not there"] += 1  # a checked absence: its name is not in the image either
        elif not (0 <= shares[0] < shares[2] <= 1 and 0 <= shares[1] < shares[3] <= 1):
            drops["no 2D box"] += 1
            others.append(names[label])
        elif reason:
            drops[reason] += 1
            others.append(names[label])
        else:
            made = _PROVENANCE.get(row["Source"], "estimated")
            objects.append(
                SceneObject(
                    id=number,
                    name=names[label],
                    center=None,
                    dimensions=None,
                    R=None,
                    front=None,
                    bbox=np.array(shares) * (size * 2),
                    provenance={**_UNKNOWN, "bbox": made},
                )
            )
    return Scene(SOURCE, key, Camera(*size, np.full((3, 3), np.nan)), tuple(objects), tuple(others))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows by column name."""
    lines = _lines(path)
    _, header = next(lines, (0, []))
    if missing := [name for name in _COLUMNS if name not in header]:
        raise InputError(f"{path}: no column {missing[0]}; a box file begins with {','.join(_COLUMNS)}")
    for number, values in lines:
        if len(values) != len(header):
            raise InputError(
                f"{path}: line {number}: {len(values)} values in {len(header)} columns; "
                "the file may be cut off, fetch it again"
            )
        yield number, dict(zip(header, values, strict=True))


def _names(path: Path) -> dict[str, str]:
    """Spoken names by label; releases differ in whether a header comes first."""
    names = {row[0]: row[1].lower() for _, row in _lines(path) if len(row) == 2 and row[0].startswith("/")}
    if not names:
        raise InputError(f"{path}: no class descriptions (label,name); give the file for boxable classes")
    return names


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and values."""
    try:
        file = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    with file:
        reader = csv.reader(file)
        try:
            yield from ((reader.line_num, values) for values in reader)
        except (UnicodeDecodeError, csv.Error) as error:
            where = f"{path}: line {reader.line_num + 1}"
            raise InputError(f"{where}: no CSV text ({error}); unpack the file, or fetch it again") from None


def _number(text: str, key: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {key} must be a number, is {text!r}; fetch the file again")
    return value
