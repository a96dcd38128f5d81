"""A contact sheet of scenes with their 3D boxes and fronts, to see whether annotations and pictures agree.
`python -m data_registry.viewing.show runs/tiny/scenes/test`, or
`python -m data_registry.viewing.show FILE.json --images FOLDER`."""

import argparse
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data_registry.errors import InputError
from data_registry.readers import omni3d
from data_registry.scene import Scene, SceneObject
from data_registry.storage.pictures import UNDECODABLE, inside, shown, to_rgb, why
from data_registry.storage.shards import Images

_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_BOX, _FRONT, _ARROW, _TEXT = (255, 210, 0), (255, 60, 40), (60, 255, 90), (255, 255, 255)


def picture(scene: Scene, rgb: np.ndarray, width: int = 288) -> Image.Image:
    """The image with every object's box (its front face red), front (green arrow) and name, `width` pixels wide."""
    scale = width / rgb.shape[1]
    image = Image.fromarray(rgb).resize((width, max(1, round(rgb.shape[0] * scale))), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    for thing in scene.objects:
        if thing.center is not None and thing.R is not None and thing.dimensions is not None:
            _box(draw, scene, thing, scale)
        x0, y0 = thing.bbox[:2] * scale
        draw.text((x0, y0 - 11), thing.name, fill=_TEXT, stroke_width=1, stroke_fill=(0, 0, 0))
    return image


def sheet(pictures: Iterable[Image.Image], columns: int = 5) -> Image.Image:
    """Pictures side by side in rows; those of other heights stand at the top of their cell."""
    pictures = list(pictures)
    width, height = (max(p.size[i] for p in pictures) for i in range(2))
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (width * min(columns, len(pictures)), height * rows))
    for i, one in enumerate(pictures):
        whole.paste(one, (i % columns * width, i // columns * height))
    return whole


def _box(draw: ImageDraw.ImageDraw, scene: Scene, thing: SceneObject, scale: float) -> None:
    corners = thing.corners()
    if corners[:, 2].min() <= 0:
        return  # partly behind the camera: it has no outline in the image
    points = scene.camera.project(corners) * scale
    ahead = np.zeros(8) if thing.front is None else (corners - thing.center) @ thing.front
    for i, j in _EDGES:
        draw.line([*points[i], *points[j]], fill=_FRONT if min(ahead[i], ahead[j]) > 0 else _BOX)
    if thing.front is not None:
        reach = ahead.max() * 1.8
        tip = thing.center + thing.front * reach
        if tip[2] > 0:
            ends = scene.camera.project(np.stack([thing.center, tip])) * scale
            draw.line(ends.ravel().tolist(), fill=_ARROW, width=2)
            draw.ellipse([*(ends[1] - 3), *(ends[1] + 3)], fill=_ARROW)


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
    given = parser.parse_args(argv)
    try:
        if given.count < 1:
            raise InputError(f"--count: must be 1 or more, is {given.count}")
        if given.annotations.is_dir():
            file, load = given.annotations / "annotations.json", Images(given.annotations).__getitem__
        elif given.images is None:
            raise InputError(f"{given.annotations}: say where its images are with --images FOLDER")
        else:
            file, load = given.annotations, _from_folder(given.images)
        scenes = islice(omni3d.read(file), given.count)
        whole = sheet(picture(scene, load(scene.image)) for scene in scenes)
        try:
            whole.save(given.out)
        except (OSError, ValueError) as error:
            raise InputError(f"{given.out}: cannot be written ({error}); name a .png in a folder there is") from None
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(given.out)


if __name__ == "__main__":
    main()
