"""Raw KITTI object labels (label_2, calib, image_2) as Scene records, by Omni3D's ignore rules.
Format: KITTI's devkit; conventions checked against Omni3D's records of the same frames."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_registry.errors import InputError
from data_registry.readers import omni3d
from data_registry.readers.omni3d import agreement
from data_registry.scene import Scene
from data_registry.storage.pictures import UNDECODABLE, why

SOURCE = "KITTI"
_COLUMNS = ("type", "truncated", "occluded", "alpha", *("x1", "y1", "x2", "y2"), *"hwl", *"xyz", "rotation_y")
_VISIBLE, _LARGELY_OCCLUDED = 0, 2  # KITTI's levels: 0 visible, 1 partly, 2 largely occluded, 3 unknown
_TURN = 2 * math.pi + 0.01  # radians; more is in degrees
# between alpha and rotation_y as seen from the object's place, rad: real labels round both to 0.01 and differ by 0.007
_HEADING = 0.2
_UNKNOWN_ANGLE = -10
_PICTURES = (".png", ".jpg")


def read(root: str | Path, drops: Counter[str] | None = None, rules: omni3d.Rules | None = None) -> Iterator[Scene]:
    """Scenes of a KITTI folder in the order of its frames, one frame in memory at a time.

    Boxes are in the frame of the left colour camera (P2), metres; the front is the heading. Objects that Omni3D's rules
    drop, largely occluded ones and those whose alpha contradicts rotation_y are counted, and their names stay in
    `others`. DontCare regions are the scene's `ignored`.

    Args:
        root: has label_2, calib and image_2 (KITTI's `training`).
        drops: filled with counts by reason, under "objects" and "images" with how many there were.

    Raises:
        InputError: a missing folder, calibration or picture, a line that is not KITTI's; named with its number.
    """
    root = Path(root)
    drops = Counter() if drops is None else drops
    labels = sorted((root / "label_2").glob("*.txt"))
    if not labels:
        raise InputError(f"{root}/label_2: no label files; name the folder that has label_2, calib and image_2")
    for path in labels:
        image, objects = records(root, path.stem)
        scene = omni3d.scene(SOURCE, image, objects, path, drops, rules)
        fault_of = {record["id"]: record["fault"] for record in objects}
        reasons = [fault_of[thing.id] for thing in scene.objects]
        drops.update(reason for reason in reasons if reason)
        yield replace(
            scene,
            objects=tuple(o for o, reason in zip(scene.objects, reasons, strict=True) if not reason),
            others=scene.others + tuple(o.name for o, reason in zip(scene.objects, reasons, strict=True) if reason),
        )


def scenes(annotations: Path, pictures: Path, drops: Counter[str]) -> Iterator[Scene]:
    """`read` as every reader is called (`reader.Reader`): both are the folder that has label_2, calib and image_2."""
    if annotations.resolve() != pictures.resolve():
        raise InputError(f"{pictures}: KITTI's pictures lie beside its labels; name {annotations} for both")
    return read(annotations, drops)


def records(root: Path, frame: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The image and object records of one frame in Omni3D's form; ids count the label file's lines from 0."""
    width, height, key = _picture(root, frame)
    projection = _projection(root / "calib" / f"{frame}.txt")
    intrinsics = projection[:, :3]
    # P2 = K [I | t]: labels are in camera 0's frame, the picture is the left colour camera's
    offset = np.linalg.solve(intrinsics, projection[:, 3])
    image = {"id": 0, "width": width, "height": height, "file_path": key, "K": intrinsics.tolist()}
    path = root / "label_2" / f"{frame}.txt"
    lines = _lines(path)
    named = [(f"{path}: line {n}", line.split()) for n, line in enumerate(lines, 1) if line.strip()]
    return image, [
        _record(number, words, where, intrinsics, offset, (width, height))
        for number, (where, words) in enumerate(named)
    ]


def _record(
    number: int, words: list[str], where: str, intrinsics: np.ndarray, offset: np.ndarray, size: tuple[int, int]
) -> dict[str, Any]:
    if len(words) != len(_COLUMNS):
        hint = "; a sixteenth is a detector's score: these are results, no labels" if len(words) == 16 else ""
        raise InputError(f"{where}: {len(words)} columns, a label has {len(_COLUMNS)} ({' '.join(_COLUMNS)}){hint}")
    values = dict(zip(_COLUMNS[1:], _floats(words[1:], where), strict=True))
    name = words[0].replace("_", " ").lower()
    valid = min(values[key] for key in "hwl") > 0
    dimensions = [values["w"], values["h"], values["l"]]
    cos, sin = math.cos(values["rotation_y"]), math.sin(values["rotation_y"])
    rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    bottom = np.array([values["x"], values["y"], values["z"]])
    center = bottom - [0, values["h"] / 2, 0] + offset  # KITTI gives the centre of the bottom face; y points down
    whole, behind = _projected(center, dimensions, rotation, intrinsics) if valid else (None, False)
    record = {
        "id": number,
        "image_id": 0,
        "category_name": name,
        "valid3D": valid,
        "bbox2D_tight": [values[key] for key in ("x1", "y1", "x2", "y2")],
        "center_cam": center.tolist(),
        "dimensions": dimensions,
        "R_cam": rotation.tolist(),
        "behind_camera": behind,
        "truncation": values["truncated"],
        "fault": _fault(values, where) or _place(values, whole, size),
    }
    return record if whole is None else record | {"bbox2D_proj": whole}


def _fault(values: dict[str, float], where: str) -> str | None:
    """Why a labelled object is dropped beyond Omni3D's rules, or None."""
    alpha, heading = values["alpha"], values["rotation_y"]
    if _UNKNOWN_ANGLE not in (alpha, heading):
        for key in ("alpha", "rotation_y"):
            if abs(values[key]) > _TURN:
                raise InputError(f"{where}: {key} is {values[key]:g}; angles are radians, write {key} as such")
        if abs(math.remainder(heading - math.atan2(values["x"], values["z"]) - alpha, 2 * math.pi)) > _HEADING:
            return "alpha and rotation_y contradict each other"
    return "hidden" if values["occluded"] == _LARGELY_OCCLUDED else None


def _place(values: dict[str, float], whole: list[float] | None, size: tuple[int, int]) -> str | None:
    """That a wholly visible object's 3D box is where its 2D box is, all that a label file has to compare with."""
    tight = [values[key] for key in ("x1", "y1", "x2", "y2")]
    if whole is None or values["occluded"] != _VISIBLE or agreement.covers(tight, whole, size):
        return None
    return agreement.PLACE


def _projected(
    center: np.ndarray, dimensions: list[float], rotation: np.ndarray, intrinsics: np.ndarray
) -> tuple[list[float] | None, bool]:
    """The 2D box of the eight corners, and whether one of them is behind the camera."""
    half = np.array(dimensions[::-1]) / 2
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners = center + (signs * half) @ rotation.T
    if corners[:, 2].min() <= 0:
        return None, True
    pixels = corners @ intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    return [*pixels.min(axis=0).tolist(), *pixels.max(axis=0).tolist()], False


def _projection(path: Path) -> np.ndarray:
    """P2 (3, 4) of a calibration file, pixels."""
    for number, line in enumerate(_lines(path), 1):
        if line.startswith("P2:"):
            values = _floats(line.removeprefix("P2:").split(), f"{path}: line {number}")
            if len(values) != 12:
                raise InputError(f"{path}: line {number}: P2 has {len(values)} numbers, must have 12")
            matrix = np.array(values).reshape(3, 4)
            if abs(np.linalg.det(matrix[:, :3])) < 1e-6:
                raise InputError(f"{path}: line {number}: P2 is singular, so no camera; fetch the file again")
            return matrix
    raise InputError(f"{path}: no line P2:, the left colour camera's projection; fetch the file again")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); every frame needs its label and its calibration"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text, so not KITTI's; unpack it, or fetch it again") from None


def _picture(root: Path, frame: str) -> tuple[int, int, str]:
    """Width, height and key of a frame's picture; only its header is read."""
    for suffix in _PICTURES:
        key = f"image_2/{frame}{suffix}"
        if (root / key).is_file():
            try:
                with Image.open(root / key) as image:
                    return *image.size, key
            except UNDECODABLE as error:
                raise InputError(f"{root / key}: does not decode ({why(error)}); fetch it again") from None
    raise InputError(f"{root}/image_2/{frame}.png: no such picture; fetch it, or remove label_2/{frame}.txt")


def _floats(words: list[str], where: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"{where}: {error}; columns are numbers divided by spaces") from None
    if not all(map(math.isfinite, values)):
        raise InputError(f"{where}: a value is not finite; correct or remove the line")
    return values
