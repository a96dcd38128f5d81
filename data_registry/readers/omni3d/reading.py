"""Omni3D files as Scene records, read record by record."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data_registry.readers.json_stream import records
from data_registry.readers.omni3d.rules import Rules
from data_registry.readers.omni3d.table import Table
from data_registry.scene import Scene


def read(path: str | Path, drops: Counter[str] | None = None, rules: Rules | None = None) -> Iterator[Scene]:
    """Scenes of an Omni3D file in the order of its images, read record by record; what has to wait does so in TMPDIR.

    Objects that break a rule or contradict themselves are dropped and counted; their names stay in the scene's
    `others`. Those named "dontcare", "ignore" or "void" are its `ignored` regions. Fronts and level cameras come from
    `sources.yaml` by the file's `info.source`; beyond Omni3D's keys, `up_cam`, `scene`, `color`, `front_axis` ("+x" ...
    "-z", or null for none: before the table) and `info.provenance` are used where present; an image's own `source` and
    `provenance` (`merge`) come before those of the file.

    Args:
        path: the JSON file.
        drops: filled with counts by reason, under "objects" and "images" with how many there were.
        rules: thresholds of the ignore rules.

    Raises:
        InputError: broken JSON (with the byte), a missing or wrong key, an id that occurs twice, an unknown image id, a
            known source in another spelling.
    """
    path = Path(path)
    table = Table(path, rules or Rules(), Counter() if drops is None else drops)
    early = False  # annotations before the images they belong to: left for a second pass
    for key, record in records(path):
        if key == "annotations" and not table.places:
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
    table = Table(Path(path), rules or Rules(), drops, source)
    table.take("images", image)
    for record in objects:
        table.take("annotations", record)
    return next(table.scenes())
