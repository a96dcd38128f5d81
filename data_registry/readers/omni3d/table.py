"""What is kept of an Omni3D file while it is read: on disk a row of numbers per object, in memory 20 bytes of each."""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_registry.errors import InputError
from data_registry.readers.disk_buffer import DiskBuffer
from data_registry.readers.omni3d import images, objects, rules, sources
from data_registry.readers.omni3d.images import Image
from data_registry.readers.omni3d.values import Values, need, shown
from data_registry.scene import Camera, Provenance, Scene

_MOST_OBJECTS = 1024  # of one image; Omni3D's fullest has some hundreds, and what is asked grows with their square


@dataclass(slots=True)
class Table:
    """Takes a file's records as they come, and gives its scenes once it has ended.

    Attributes:
        places: image id -> its place in the file's order.
        images: their records, in that order; objects: how many each has.
        rows, image_of: of every object, in the order of the file: its numbers, and its image's place.
        words: names and colours, by which rows say them; spellings: the first of each name, by its lower case.
        ids: of every object; paths: of every image, eight bytes of its digest.
        categories: name by id, as the file lists them; used: as its objects have them.
    """

    path: Path
    rules: rules.Rules
    drops: Counter[str]
    source: str = ""
    stated: Provenance | None = None
    places: dict[int, int] = field(default_factory=dict)
    images: DiskBuffer = field(default_factory=DiskBuffer)
    objects: array = field(default_factory=lambda: array("i"))
    rows: DiskBuffer = field(default_factory=DiskBuffer)
    image_of: array = field(default_factory=lambda: array("i"))
    words: dict[str, int] = field(default_factory=dict)
    spellings: dict[str, str] = field(default_factory=dict)
    ids: array = field(default_factory=lambda: array("q"))
    paths: array = field(default_factory=lambda: array("q"))
    categories: dict[int, str] = field(default_factory=dict)
    used: dict[tuple[int, str], int] = field(default_factory=dict)
    recent: tuple[int, Image] | None = None  # annotations of an image mostly follow each other

    def take(self, key: str, record: Any) -> None:
        """A record of the file's member `key`. InputError where it is not what it must be."""
        if key == "info":
            info = record if isinstance(record, dict) else {}
            self.source = images.source(info, f"{self.path}: info") or ""
            self.stated = images.provenance(info.get("provenance"), f"{self.path}: info")
        elif key == "categories":
            self._take_category(record)
        elif key == "images":
            self._take_image(record)
        elif key == "annotations":
            self._take_object(record)

    def check(self) -> None:
        """That the file is one of annotated images at all, and nothing in it occurs twice or under two names."""
        if not self.places:
            raise InputError(f"{self.path}: no images; an Omni3D file has info, images, categories and annotations")
        if (twice := _twice(self.ids)) is not None:
            raise InputError(f"{self.path}: annotations: id {twice} occurs twice; ids must be unique")
        if (twice := _twice(self.paths)) is not None:
            path = self._image(self.paths.index(twice)).file_path
            raise InputError(f"{self.path}: images: file_path {path!r} occurs twice; give all its objects to one image")
        for (category, name), number in self.used.items():
            listed = self.categories.get(category, name)
            if listed != name:
                raise InputError(
                    f"{self.path}: annotations: id {number}: category_name {name!r} has category_id {category}, which "
                    f"categories lists as {listed!r}; correct one of them"
                )

    def scenes(self) -> Iterator[Scene]:
        """Every image with its objects, in the file's order."""
        words = list(self.words)
        self.drops["images"] += len(self.images)
        image_of = np.array(self.image_of)
        order = np.argsort(image_of, kind="stable")  # of an image's objects, that of the file
        first = np.searchsorted(image_of[order], np.arange(len(self.images) + 1))
        for place in range(len(self.images)):
            image = self._image(place)
            source, stated = image.source or self.source, image.provenance or self.stated
            up = image.up or ([0.0, -1.0, 0.0] if sources.sources().get(source, {}).get("level") else None)
            camera = Camera(
                image.width, image.height, np.array(image.K).reshape(3, 3), None if up is None else np.array(up)
            )
            rows = self._values(order[first[place] : first[place + 1]])
            kept, others, ignored = objects.split(rows, words, source, stated)
            if source not in sources.sources() and (count := objects.without_table(rows)):
                self.drops[f"front: none known of source {source!r}"] += count
            yield Scene(source, image.file_path, camera, kept, others, image.kind, ignored)
        self.images.close()
        self.rows.close()

    def _values(self, places: np.ndarray) -> np.ndarray:
        """(n, ROW) of the objects at these places of the file."""
        n = len(places)
        if n and places[-1] - places[0] == n - 1:
            raw = self.rows.read(int(places[0]), n)
        else:
            raw = b"".join(self.rows.read(int(place)) for place in places)
        return np.frombuffer(raw).reshape(-1, objects.ROW).copy()

    def _image(self, place: int) -> Image:
        if self.recent is None or self.recent[0] != place:
            self.recent = place, Image(*json.loads(self.images.read(place)))
        return self.recent[1]

    def _take_category(self, record: Any) -> None:
        if not isinstance(record, dict) or type(record.get("id")) is not int or "name" not in record:
            raise InputError(f"{self.path}: categories: every element must have id and name, one is {shown(record)}")
        name = Values(self.path).name(record["name"], f"categories: id {record['id']}", "name")
        if self.categories.setdefault(record["id"], name) != name:
            known = self.categories[record["id"]]
            raise InputError(
                f"{self.path}: categories: id {record['id']} is both {known!r} and {name!r}; ids must be unique"
            )

    def _take_image(self, record: Any) -> None:
        number, image = images.parse(record, Values(self.path), self.rules.center_shift)
        if number in self.places:
            raise InputError(f"{self.path}: images: id {number} occurs twice; ids must be unique")
        self.paths.append(int.from_bytes(hashlib.sha256(image.file_path.encode()).digest()[:8], signed=True))
        self.places[number] = self.images.add(json.dumps(image).encode())
        self.objects.append(0)

    def _take_object(self, record: Any) -> None:
        values = Values(self.path)
        record = need(record, objects.KEYS, self.path, "annotations")
        number = values.id(record, "annotations")
        self.ids.append(number)
        self.drops["objects"] += 1
        where = f"annotations: id {number}"
        place = self._place(record["image_id"], where)
        image, thing = self._image(place), objects.measures(record, values, where)
        self._use_category(record, record["category_name"], number)
        spelling = self.spellings.setdefault(thing.name.casefold(), thing.name)
        if spelling != thing.name:  # "Car" and "car" of two label sets are one word to whoever is asked
            thing = replace(thing, name=spelling)
        if record.get("color"):
            values.name(record["color"], where, "color")
        reason = rules.reason(thing, image, self.rules)
        if reason is None:
            row = objects.kept_row(number, record, thing, image, self.words, f"{self.path}: {where}")
        else:
            self.drops[reason] += 1
            ignored = reason == rules.IGNORED
            row = objects.ignored_row(thing, image, self.words) if ignored else objects.dropped_row(thing, self.words)
        self.image_of.append(place)
        self.rows.add(row)

    def _place(self, image_id: Any, where: str) -> int:
        """Of an object's image, which now has one more."""
        if type(image_id) not in (int, float) or image_id not in self.places:
            raise InputError(
                f"{self.path}: {where}: image_id {shown(image_id)} is not among its images; add that image or drop the "
                "annotation"
            )
        place = self.places[int(image_id)]
        self.objects[place] += 1
        if self.objects[place] > _MOST_OBJECTS:
            raise InputError(
                f"{self.path}: images: id {image_id}: more than {_MOST_OBJECTS:,} objects in one image; "
                "leave out those that nobody would ask about"
            )
        return place

    def _use_category(self, record: Mapping[str, Any], name: str, number: int) -> None:
        if type(record.get("category_id")) is int:
            self.used.setdefault((record["category_id"], name), number)


def _twice(values: array) -> int | None:
    """The least of the values that occur more than once."""
    ordered = np.sort(np.array(values))
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(repeated[0]) if repeated.size else None
