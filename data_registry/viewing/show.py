"""A contact sheet of scenes with their 3D boxes and fronts, to see whether annotations and pictures agree.
`python -m data_registry.viewing.show runs/tiny/scenes/test`, or
`python -m data_registry.viewing.show FILE.json --images FOLDER`."""

import argparse
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_registry.errors import InputError
from data_registry.readers import omni3d
from data_registry.scene import Scene, SceneObject
from data_registry.storage.pictures import UNDECODABLE, inside, shown, to_rgb, why
from data_registry.storage.shards import Images

_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_BOX, _FRONT, _ARROW, _TEXT = (255, 210, 0), (255, 60, 40), (60, 255, 90), (255, 255, 255)
_IGNORED = (150, 150, 150)
_WIDEST = 1280  # pixels of a drawn picture
_LINE, _LETTER = 640, 80  # widths of a line and heights of a letter in a picture's width


def readable(width: int, least: int = 288) -> int:
    """How wide a picture of this width is drawn: a small one enlarged, a photograph as it is up to 1280 pixels."""
    return min(max(width, least), _WIDEST)


def resized(rgb: np.ndarray, width: int) -> Image.Image:
    """The image `width` pixels wide: a small one keeps its pixels as squares."""
    size = width, max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    smaller = width < rgb.shape[1]
    return Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST)


def picture(scene: Scene, rgb: np.ndarray, width: int | None = None) -> Image.Image:
    """The image with every object's box (its front face red), front (green arrow) and name, `width` pixels wide.

    Lines and letters grow with the width, so that a photograph that a page shows smaller can still be read.
    """
    width = readable(rgb.shape[1]) if width is None else width
    scale, image = width / rgb.shape[1], resized(rgb, width)
    pen = _Pen(ImageDraw.Draw(image), scale, max(1, round(width / _LINE)))
    letter = max(10, width // _LETTER)
    font = ImageFont.load_default(letter)
    for region in scene.ignored:
        pen.draw.rectangle((region.bbox * scale).tolist(), outline=_IGNORED, width=pen.line)
    for thing in scene.objects:
        if thing.center is not None and thing.R is not None and thing.dimensions is not None:
            _box(pen, scene, thing, thing.center)
        elif thing.center is None:
            pen.draw.rectangle((thing.bbox * scale).tolist(), outline=_BOX, width=pen.line)
        x0, y0 = thing.bbox[:2] * scale
        place = x0, max(0, y0 - letter - 1)
        pen.draw.text(place, thing.name, font=font, fill=_TEXT, stroke_width=pen.line, stroke_fill=(0, 0, 0))
    return image


class _Pen(NamedTuple):
    """What draws on an image: `scale` from the source's pixels to its own, lines `line` pixels wide."""

    draw: ImageDraw.ImageDraw
    scale: float
    line: int


def sheet(pictures: Iterable[Image.Image], columns: int | None = None) -> Image.Image:
    """Pictures side by side in rows, as many as a screen can show; lower ones stand at the top of their cell."""
    pictures = list(pictures)
    width, height = (max(p.size[i] for p in pictures) for i in range(2))
    columns = columns or max(1, min(5, 2 * _WIDEST // width))
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (width * min(columns, len(pictures)), height * rows))
    for i, drawn in enumerate(pictures):
        whole.paste(drawn, (i % columns * width, i // columns * height))
    return whole


def _box(pen: _Pen, scene: Scene, thing: SceneObject, center: np.ndarray) -> None:
    corners = thing.corners()
    if corners[:, 2].min() <= 0:
        return  # partly behind the camera: it has no outline in the image
    points = scene.camera.project(corners) * pen.scale
    ahead = np.zeros(8) if thing.front is None else (corners - center) @ thing.front
    for i, j in _EDGES:
        pen.draw.line([*points[i], *points[j]], fill=_FRONT if min(ahead[i], ahead[j]) > 0 else _BOX, width=pen.line)
    if thing.front is not None:
        reach = ahead.max() * 1.8
        tip = center + thing.front * reach
        if tip[2] > 0:
            ends = scene.camera.project(np.stack([center, tip])) * pen.scale
            point = 2 + pen.line
            pen.draw.line(ends.ravel().tolist(), fill=_ARROW, width=pen.line + 1)
            pen.draw.ellipse([*(ends[1] - point), *(ends[1] + point)], fill=_ARROW)


def _from_folder(folder: Path) -> Callable[[str], np.ndarray]:
    def load(key: str) -> np.ndarray:
        path = inside(folder, key)
        if path is None:
            raise InputError(f"{folder}: file_path {shown(key)} leads out of it; make it relative")
        try:
            with Image.open(path) as image:
                return np.asarray(to_rgb(image))
        except UNDECODABLE as error:
            raise InputError(
                f"{path}: no readable image ({why(error)}); --images is where each file_path starts"
            ) from None

    return load


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m data_registry.viewing.show", description=__doc__)
    parser.add_argument("annotations", type=Path, help="folder of a scenes stage run, or an Omni3D JSON file")
    parser.add_argument("--images", type=Path, help="folder with the images of a JSON file")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("scenes.png"))
    arguments = parser.parse_args(argv)
    try:
        if arguments.count < 1:
            raise InputError(f"--count: must be 1 or more, is {arguments.count}")
        if arguments.annotations.is_dir():
            file, load = arguments.annotations / "annotations.json", Images(arguments.annotations).__getitem__
        elif arguments.images is None:
            raise InputError(f"{arguments.annotations}: say where its images are with --images FOLDER")
        else:
            file, load = arguments.annotations, _from_folder(arguments.images)
        scenes = islice(omni3d.read(file), arguments.count)
        whole = sheet(picture(scene, load(scene.image)) for scene in scenes)
        try:
            whole.save(arguments.out)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{arguments.out}: cannot be written ({error}); name a .png in a folder there is"
            ) from None
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(arguments.out)


if __name__ == "__main__":
    main()
