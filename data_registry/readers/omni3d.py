"""Omni3D annotation files: a reader into Scene records, which counts what it drops, and a writer.
Format and ignore rules: `facebookresearch/omni3d:DATA.md`, `cubercnn/data/datasets.py`."""

import hashlib
import json
import math
import shutil
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TextIO

import numpy as np
import yaml

from data_registry.errors import InputError, nearest
from data_registry.readers.json_stream import records
from data_registry.readers.spool import Spool
from data_registry.scene import Camera, Provenance, Scene, SceneObject

_AXES = {sign + name: (1 if sign == "+" else -1, i) for sign in "+-" for i, name in enumerate("xyz")}
_IMAGE_KEYS = ("id", "width", "height", "file_path", "K")
_OBJECT_KEYS = ("id", "image_id", "category_name", "valid3D", "center_cam", "dimensions", "R_cam", "behind_camera")
_BOXES = ("bbox2D_tight", "bbox2D_trunc", "bbox2D_proj")
_ROW = 25  # numbers kept of an object: id, center 3, dimensions 3, R 9, bbox 4, visibility, truncation, name, color,
# and its own front axis: ±1 to ±3 for ±x, ±y, ±z, 0 for none, _BY_TABLE where only `sources.yaml` can say; of a dropped
# object the name only, and _DROPPED there
_BY_TABLE, _DROPPED = 9, 8
_LARGEST_ID = 2**53  # of which a double still knows the last digit
_GIVEN = ("ground truth", "human", "estimated")


@dataclass(frozen=True, slots=True)
class Rules:
    """Which objects are dropped; heights are shares of the image's height, the others as in the file.

    `center_shift`: how far the principal point of an image may lie from its middle, as a share of the image's size;
    more means that K is that of another size.
    """

    min_height: float = 0.05
    max_height: float = 1.5
    max_truncation: float = 0.75
    min_visibility: float = 0.25
    max_depth_error: float = 0.5
    center_shift: float = 0.3


def read(path: str | Path, drops: Counter[str] | None = None, rules: Rules | None = None) -> Iterator[Scene]:
    """Scenes of an Omni3D file in the order of its images, read record by record; what has to wait does so in TMPDIR.

    Objects that break a rule are dropped and counted; their names stay in the scene's `others`. Fronts and level
    cameras come from `sources.yaml` by the file's `info.source`; beyond Omni3D's keys, `up_cam`, `scene`, `color`,
    `front_axis` ("+x" ... "-z", or null for none: before the table) and `info.provenance` are used where present; an
    image's own `source` and `provenance` (`merge`) come before those of the file.

    Args:
        path: the JSON file.
        drops: filled with counts by reason, under "objects" and "images" with how many there were.
        rules: thresholds of the ignore rules.

    Raises:
        InputError: broken JSON (with the byte), a missing or wrong key, an id that occurs twice, an unknown image id.
    """
    path = Path(path)
    table = _Table(path, rules or Rules(), Counter() if drops is None else drops)
    early = False  # annotations before the images they belong to: left for a second pass
    for key, record in records(path):
        if key == "annotations" and not table.numbers:
            early = True
        else:
            table.take(key, record)
    if early:
        for key, record in records(path):
            if key == "annotations":
                table.take(key, record)
    table.check()
    return table.scenes()


def scenes(annotations: Path, pictures: Path, drops: Counter[str]) -> Iterator[Scene]:
    """`read` as every reader is called (`reader.Reader`): annotations is the JSON file."""
    return read(annotations, drops)


def scene(
    source: str,
    image: Mapping[str, Any],
    objects: Iterable[Mapping[str, Any]],
    path: str | Path,
    drops: Counter[str],
    rules: Rules | None = None,
) -> Scene:
    """One scene from records in Omni3D's form, by the same rules as a file's: for readers of other formats.

    Args:
        source: the row of `sources.yaml` that applies.
        path: what error messages name.
    """
    table = _Table(Path(path), rules or Rules(), drops, source)
    table.take("images", image)
    for record in objects:
        table.take("annotations", record)
    return next(table.scenes())


@cache
def sources() -> dict[str, dict[str, Any]]:
    """The table `sources.yaml`."""
    return yaml.safe_load(Path(__file__).with_name("sources.yaml").read_text())


@cache
def front_axis(source: str, category: str) -> tuple[int, int] | None:
    """Sign and index of the object axis that is the semantic front, or None where there is none."""
    for axis, names in sources().get(source, {}).get("front", {}).items():
        if category in names:
            return _AXES[axis]
    return None


class _Image(NamedTuple):
    """What is kept of an image's record; `K` row by row; `source` and `given` where they are not those of the file."""

    width: int
    height: int
    file_path: str
    K: list[float]
    up: list[float] | None
    kind: str
    source: str | None
    given: Provenance | None


@dataclass(slots=True)
class _Table:
    """What is kept of a file while it is read: on disk a row of numbers per object, in memory 20 bytes of each.

    Attributes:
        numbers: image id -> its place in the file's order.
        images: their records, in that order.
        rows, owners: of every object, in the order of the file: its numbers, and its image's place.
        ids: of every object; paths: of every image, eight bytes of its digest.
    """

    path: Path
    rules: Rules
    drops: Counter[str]
    source: str = ""
    given: Provenance | None = None
    numbers: dict[int, int] = field(default_factory=dict)
    images: Spool = field(default_factory=Spool)
    rows: Spool = field(default_factory=Spool)
    owners: array = field(default_factory=lambda: array("i"))
    words: dict[str, int] = field(default_factory=dict)
    ids: array = field(default_factory=lambda: array("q"))
    paths: array = field(default_factory=lambda: array("q"))
    recent: tuple[int, _Image] | None = None  # annotations of an image mostly follow each other

    def take(self, key: str, record: Any) -> None:
        if key == "info":
            info = record if isinstance(record, dict) else {}
            self.source = _text(info.get("source", ""))
            self.given = self._provenance(info.get("provenance"), "info")
        elif key == "images":
            self._take_image(record)
        elif key == "annotations":
            self._take_object(record)

    def check(self) -> None:
        """That the file is one of annotated images at all, and no object's id and no picture occurs twice."""
        if not self.numbers:
            raise InputError(f"{self.path}: no images; an Omni3D file has info, images, categories and annotations")
        if (twice := _twice(self.ids)) is not None:
            raise InputError(f"{self.path}: annotations: id {twice} occurs twice; ids must be unique")
        if (twice := _twice(self.paths)) is not None:
            path = self._image(self.paths.index(twice)).file_path
            raise InputError(f"{self.path}: images: file_path {path!r} occurs twice; give all its objects to one image")

    def scenes(self) -> Iterator[Scene]:
        words = list(self.words)
        self.drops["images"] += len(self.images)
        owners = np.array(self.owners)
        order = np.argsort(owners, kind="stable")  # of an image's objects, that of the file
        first = np.searchsorted(owners[order], np.arange(len(self.images) + 1))
        for place in range(len(self.images)):
            image = self._image(place)
            source, given = image.source or self.source, image.given or self.given
            up = image.up or ([0.0, -1.0, 0.0] if sources().get(source, {}).get("level") else None)
            camera = Camera(
                image.width, image.height, np.array(image.K).reshape(3, 3), None if up is None else np.array(up)
            )
            values = self._values(order[first[place] : first[place + 1]])
            kept = values[:, 24] != _DROPPED
            objects = tuple(_object(row, words, source, given) for row in values[kept])
            others = tuple(words[int(row[22])] for row in values[~kept])
            yield Scene(source, image.file_path, camera, objects, others, image.kind)
        self.images.close()
        self.rows.close()

    def _values(self, places: np.ndarray) -> np.ndarray:
        """(n, _ROW) of the objects at these places of the file."""
        n = len(places)
        if n and places[-1] - places[0] == n - 1:
            raw = self.rows.read(int(places[0]), n)
        else:
            raw = b"".join(self.rows.read(int(place)) for place in places)
        return np.frombuffer(raw).reshape(-1, _ROW).copy()

    def _image(self, place: int) -> _Image:
        if self.recent is None or self.recent[0] != place:
            self.recent = place, _Image(*json.loads(self.images.read(place)))
        return self.recent[1]

    def _take_image(self, record: Any) -> None:
        number = self._id(_need(record, _IMAGE_KEYS, self.path, "images"), "images")
        if number in self.numbers:
            raise InputError(f"{self.path}: images: id {number} occurs twice; ids must be unique")
        where = f"images: id {number}"
        K = self._matrix(record["K"], where, "K")
        width, height = (int(self._number(record[key], where, key)) for key in ("width", "height"))
        self._check_intrinsics(K, width, height, where)
        up = self._numbers(record["up_cam"], 3, where, "up_cam") if "up_cam" in record else None
        if up is not None and abs(math.hypot(*up) - 1) > 0.01:  # angles on the ground would be wrong
            raise InputError(f"{self.path}: {where}: up_cam must be of length 1, is {up}")
        image = _Image(
            width,
            height,
            self._name(record["file_path"], where, "file_path"),
            K,
            up,
            kind=_text(record.get("scene", "")),
            source=_text(record["source"]) if "source" in record else None,
            given=self._provenance(record.get("provenance"), where),
        )
        self.paths.append(int.from_bytes(hashlib.sha256(image.file_path.encode()).digest()[:8], signed=True))
        self.numbers[number] = self.images.add(json.dumps(image).encode())

    def _check_intrinsics(self, K: list[float], width: int, height: int, where: str) -> None:
        """That K is a pinhole's and fits the image's size: one of another size puts every box beside its object."""
        if not (K[0] > 0 and K[4] > 0 and K[6:] == [0, 0, 1] and width > 0 and height > 0):
            raise InputError(
                f"{self.path}: {where}: K must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focal lengths, "
                f"and width and height positive; K is {K}, the image {width}×{height}"
            )
        shift = max(abs(K[2] / width - 0.5), abs(K[5] / height - 0.5))
        if shift > self.rules.center_shift:
            raise InputError(
                f"{self.path}: {where}: K has its principal point at ({K[2]:g}, {K[5]:g}), the image is "
                f"{width}×{height}; give K for this size, or this image's size for K"
            )

    def _take_object(self, record: Any) -> None:
        number = self._id(_need(record, _OBJECT_KEYS, self.path, "annotations"), "annotations")
        self.ids.append(number)
        self.drops["objects"] += 1
        where = f"annotations: id {number}"
        image, name = record["image_id"], self._name(record["category_name"], where, "category_name")
        if not isinstance(image, int | float) or image not in self.numbers:
            raise InputError(
                f"{self.path}: {where}: image_id {image} is not among its images; add that image or drop the annotation"
            )
        place = self.numbers[image]
        known = self._image(place)
        self.owners.append(place)
        word = self.words.setdefault(name, len(self.words))
        boxes = [self._numbers(record[key], 4, where, key) for key in _BOXES if key in record]
        boxes = [box for box in boxes if box[0] != -1 or box[2] != -1]
        center = self._numbers(record["center_cam"], 3, where, "center_cam")
        dimensions = self._numbers(record["dimensions"], 3, where, "dimensions")
        rotation = self._matrix(record["R_cam"], where, "R_cam")
        shares = [self._number(record.get(key, -1), where, key) for key in ("visibility", "truncation", "depth_error")]
        reason = self._reason(record, center, dimensions, rotation, boxes, known)
        if reason is not None:
            self.drops[reason] += 1
            self.rows.add(array("d", [*[-1] * 22, word, -1, _DROPPED]).tobytes())
            return
        limits, color = (known.width, known.height) * 2, record.get("color")
        row = [
            number,
            *center,
            *dimensions,
            *rotation,
            *(min(max(v, 0.0), limit) for v, limit in zip(boxes[0], limits, strict=True)),
            *shares[:2],
            word,
            self.words.setdefault(self._name(color, where, "color"), len(self.words)) if color else -1,
            self._front(record["front_axis"], where) if "front_axis" in record else _BY_TABLE,
        ]
        self.rows.add(array("d", row).tobytes())

    def _reason(
        self,
        record: Mapping[str, Any],
        center: list[float],
        dimensions: list[float],
        rotation: list[float],
        boxes: list[list[float]],
        image: _Image,
    ) -> str | None:
        """Why an object is dropped, or None. boxes: the 2D boxes there are, from the tightest to the whole."""
        rules = self.rules
        if record["behind_camera"]:
            return "behind the camera"
        if not record["valid3D"]:
            return "no valid 3D box"
        if min(dimensions) <= 0:
            return "a dimension is not positive"
        if not _is_rotation(rotation):
            return "R_cam is no rotation"
        if center[2] <= 0:
            return "its box is behind its image"
        if record.get("lidar_pts", -1) == 0:
            return "no lidar points"
        if record.get("segmentation_pts", -1) == 0:
            return "no segmentation points"
        if record.get("depth_error", -1) > rules.max_depth_error:
            return "depth error"
        if not boxes:
            return "no 2D box"
        if _elsewhere(center, boxes[-1], image):
            return "its 3D box is not where its 2D box is"
        height = (boxes[-1][3] - boxes[-1][1]) / image.height
        if height <= rules.min_height:
            return "too small in the image"
        if height >= rules.max_height:
            return "too large for the image"
        if record.get("truncation", -1) >= rules.max_truncation:
            return "truncated"
        if 0 <= record.get("visibility", -1) <= rules.min_visibility:
            return "hidden"
        return None

    def _id(self, record: Mapping[str, Any], member: str) -> int:
        if type(record["id"]) is not int or abs(record["id"]) > _LARGEST_ID:
            raise InputError(f"{self.path}: {member}: id {str(record['id'])[:60]!r} is no whole number up to 2^53")
        return record["id"]

    def _front(self, axis: Any, where: str) -> int:
        if axis is None:
            return 0
        if not isinstance(axis, str) or axis not in _AXES:
            raise InputError(
                f"{self.path}: {where}: front_axis is {axis!r}; it must be one of {', '.join(_AXES)}, or null"
            )
        sign, index = _AXES[axis]
        return sign * (index + 1)

    def _provenance(self, value: Any, where: str) -> Provenance | None:
        if value is not None and value not in _GIVEN:
            raise InputError(f"{self.path}: {where}: provenance {value!r}: unknown, {nearest(str(value), _GIVEN)}")
        return value

    def _number(self, value: Any, where: str, key: str) -> float:
        if _is_number(value):
            return value
        raise InputError(f"{self.path}: {where}: {key} must be a number, is {str(value)[:60]}")

    def _name(self, value: Any, where: str, key: str) -> str:
        if isinstance(value, str) and value and (value.isascii() or value.encode(errors="ignore").decode() == value):
            return value
        raise InputError(f"{self.path}: {where}: {key} must be a name, is {repr(value)[:60]}")

    def _numbers(self, value: Any, count: int, where: str, key: str) -> list[float]:
        if isinstance(value, list) and len(value) == count and all(map(_is_number, value)):
            return value
        raise InputError(f"{self.path}: {where}: {key} must be {count} numbers, is {str(value)[:60]}")

    def _matrix(self, value: Any, where: str, key: str) -> list[float]:
        """The nine numbers of a 3×3 matrix, row by row."""
        if isinstance(value, list) and len(value) == 3:
            return [v for row in value for v in self._numbers(row, 3, where, f"each row of {key}")]
        raise InputError(f"{self.path}: {where}: {key} must be 3 rows of 3 numbers, is {str(value)[:60]}")


def _is_number(value: Any) -> bool:
    # one beyond 1e300 is JSON's spelling of infinity
    return type(value) in (float, int) and -1e300 < value < 1e300


def _twice(values: array) -> int | None:
    """The least of the values that occur more than once."""
    ordered = np.sort(np.array(values))
    found = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(found[0]) if found.size else None


def _object(row: np.ndarray, words: Sequence[str], source: str, given: Provenance | None) -> SceneObject:
    name = words[int(row[22])]
    rotation = row[7:16].reshape(3, 3)
    own = int(row[24])
    axis = front_axis(source, name) if own == _BY_TABLE else (np.sign(own), abs(own) - 1) if own else None
    front = None if axis is None else axis[0] * rotation[:, axis[1]]
    color = words[int(row[23])] if row[23] >= 0 else None
    return SceneObject(
        id=int(row[0]),
        name=name,
        center=row[1:4],
        dimensions=row[4:7],
        R=rotation,
        front=front,
        bbox=row[16:20],
        color=color,
        visibility=float(row[20]) if row[20] >= 0 else None,
        truncation=float(row[21]) if row[21] >= 0 else None,
        provenance=_provenance(source, given, front is not None, color is not None),
    )


def _is_rotation(matrix: list[float], tolerance: float = 1e-2) -> bool:
    """Whether nine numbers, row by row, are a rotation. Plain Python: a tenth of numpy's time on one small matrix."""
    a, b, c, d, e, f, g, h, i = matrix
    lengths = (a * a + b * b + c * c, d * d + e * e + f * f, g * g + h * h + i * i)
    angles = (a * d + b * e + c * f, a * g + b * h + c * i, d * g + e * h + f * i)
    right_handed = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) > 0
    return right_handed and all(abs(v - 1) < tolerance for v in lengths) and all(abs(v) < tolerance for v in angles)


def _elsewhere(center: list[float], box: list[float], image: _Image) -> bool:
    """Whether the middle of a 3D box is seen further than its 2D box's own size beside that box.

    Axes of another convention do that. A 2D box that ends at the image's edge says nothing of where the middle is.
    """
    x0, y0, x1, y1 = box
    if x0 <= 1 or y0 <= 1 or x1 >= image.width - 1 or y1 >= image.height - 1:
        return False
    fx, _, cx, _, fy, cy = image.K[:6]
    x, y = fx * center[0] / center[2] + cx, fy * center[1] / center[2] + cy
    return not (2 * x0 - x1 <= x <= 2 * x1 - x0 and 2 * y0 - y1 <= y <= 2 * y1 - y0)


@cache
def _provenance(source: str, stated: Provenance | None, front: bool, color: bool) -> dict[str, Provenance]:
    given: Provenance = stated or ("ground truth" if source == "rendered" else "human")
    known = dict.fromkeys(("center", "dimensions", "R", "bbox"), given)
    return known | {"front": given if front else "unavailable", "color": given if color else "unavailable"}


def _need(record: Any, keys: Iterable[str], path: Path, member: str) -> Mapping[str, Any]:
    """The record, if it has all the keys."""
    if not isinstance(record, dict):
        raise InputError(f"{path}: {member}: every element must be an object, one is {str(record)[:60]}")
    for key in keys:
        if key not in record:
            spare = [k for k in record if k not in keys]
            raise InputError(
                f"{path}: {member}: id {record.get('id', 'unknown')}: the key '{key}' is missing; "
                f"{nearest(key, spare) if spare else 'add it'}"
            )
    return record


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


class Writer:
    """Writes an Omni3D file as its images come, whole or not at all.

        with Writer(path, info, categories) as file:
            file.add(image, annotations)

    Annotations wait in a file of their own, since Omni3D puts them after the images: memory stays small.
    Records may be given as dicts or as JSON text.
    """

    def __init__(self, path: str | Path, info: Mapping[str, Any], categories: Iterable[Mapping[str, Any]]) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._head = f'{{"info":{dumps(info)},"categories":{dumps(list(categories))},"images":['
        self._file: TextIO | None = None
        self._annotations: Any = None
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
    with Writer(target, {"source": "several", "merged": infos}, categories.values()) as file:
        for path, info in zip(paths, infos, strict=True):
            own = {key: info[key] for key in ("source", "provenance") if key in info}
            for key, value in records(path):
                if key == "images":
                    file.add({**own, **value}, [])
                elif key == "annotations":
                    file.annotate([value])


def dumps(value: Any) -> str:
    """Compact JSON; NaN and infinity are refused, since no JSON reader has to know them."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
