"""The pictures that the tiny encoders learn from: rendered scenes of the foundation seed, as arrays on disk.
Written once in chunks that survive a kill, and shared by the stage runs of all encoders."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

OBJECTS = 8  # at most, per scene
STRIDE = 3  # pixels per cell of the maps
CHUNK = 1000
SIDES = ("front", "left", "back", "right")
FIELDS = ("images", "body", "nocs", "names", "colors", "sides", "boxes", "kinds")


@dataclass(frozen=True)
class Scenes:
    """Pictures with what the pretexts may know of them. No angle, depth or distance is kept.

    Attributes:
        images: (n, s, s, 3) uint8.
        body: (n, s/3, s/3) int8, index of the object seen at each cell, -1 elsewhere.
        nocs: (n, s/3, s/3, 3) int8, the seen point in its object's own box, -127..127 along front, down, left.
        names, colors: (n, 8) int8, indices into the renderer's NAMES and COLORS; -1 where there is no object, or it is
            mostly hidden.
        sides: (n, 8) int8, index into SIDES of the side that a caption would mention, -1 between two sides.
        boxes: (n, 8, 4) float32, x0, y0, x1, y1 of the visible pixels.
        kinds: (n,) int8, index into the renderer's KINDS.
    """

    images: np.ndarray
    body: np.ndarray
    nocs: np.ndarray
    names: np.ndarray
    colors: np.ndarray
    sides: np.ndarray
    boxes: np.ndarray
    kinds: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def scenes(folder: Path, seed: int, count: int, size: int, progress: Callable[[int, int], None]) -> Scenes:
    """The first `count` scenes of a seed, rendered into `folder` unless they are there.

    A chunk is written beside and renamed, so a kill costs at most the chunk in work, and two processes that render
    the same one write the same bytes.
    """
    chunks = -(-count // CHUNK)
    for index in range(chunks):
        place = folder / f"{seed}-{size}-{index:04d}"
        if not place.is_dir():
            _write(place, seed, size, index * CHUNK)
            progress(min((index + 1) * CHUNK, count), count)
    parts = [folder / f"{seed}-{size}-{index:04d}" for index in range(chunks)]
    arrays = {field: np.concatenate([np.load(part / f"{field}.npy") for part in parts])[:count] for field in FIELDS}
    return Scenes(**arrays)


def _write(place: Path, seed: int, size: int, first: int) -> None:
    rows = [draw(seed, index, size) for index in range(first, first + CHUNK)]
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    beside.mkdir(parents=True)
    for field, values in zip(FIELDS, zip(*rows, strict=True), strict=True):
        np.save(beside / f"{field}.npy", np.stack(values))
    (beside / "about.json").write_text(json.dumps({"seed": seed, "size": size, "first": first}) + "\n")
    try:
        beside.replace(place)
    except OSError:  # another process was faster
        shutil.rmtree(beside)


def draw(seed: int, index: int, size: int) -> tuple[np.ndarray, ...]:
    """One scene as rows of the arrays of `Scenes`, in the order of FIELDS."""
    from data_registry import render

    world = render.sample(seed, index)
    picture = render.render(world, size, maps=True)
    maps = picture.maps
    if maps is None:
        raise ValueError("a picture that was rendered without maps")
    cells = slice(STRIDE // 2, None, STRIDE)
    names, colors, sides = (np.full(OBJECTS, -1, np.int8) for _ in range(3))
    boxes = np.zeros((OBJECTS, 4), np.float32)
    view = world.view
    for i, body in enumerate(world.bodies[: min(world.labelled, OBJECTS)]):
        boxes[i] = picture.tight[i]
        if picture.visible[i] < 0.003 * size * size or picture.visible[i] < 0.3 * picture.alone[i]:
            continue
        names[i] = render.NAMES.index(body.name)
        colors[i] = render.COLORS.index(body.color)
        sides[i] = _side(body.rotation, [v - p for v, p in zip(view.position, body.position, strict=True)])
    seen = maps.body[cells, cells]
    return (
        picture.rgb,
        np.where(seen < OBJECTS, seen, -1).astype(np.int8),
        np.round(np.clip(maps.nocs[cells, cells], -1, 1) * 127).astype(np.int8),
        names,
        colors,
        sides,
        boxes,
        np.array(render.KINDS.index(world.kind), np.int8),
    )


def _side(rotation: tuple, toward: list[float]) -> int:
    """Index into SIDES of the side that looks at the camera, -1 unless within 25 degrees."""
    ahead = sum(rotation[i][0] * toward[i] for i in range(3))
    left = sum(rotation[i][1] * toward[i] for i in range(3))
    degrees = np.degrees(np.arctan2(left, ahead))
    index = round(degrees / 90)
    return int(index % 4) if abs(degrees - 90 * index) < 25 else -1
