"""Scenes that the user gives: an Omni3D file and its pictures, checked and packed as the renderer's are.
Where they lie is `runtime`, no part of the identity; what they are is `given`, a digest of every byte that is used."""

import hashlib
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from data_registry import omni3d, shards, streamed
from data_registry.errors import InputError
from data_registry.scene import Scene


def place(runtime: dict[str, Any], name: str) -> tuple[Path, Path]:
    """The annotation file and the folder of pictures from `runtime.scenes.<name>` of params.yaml."""
    given = (runtime.get("scenes") or {}).get(name) or {}
    for key in ("annotations", "pictures"):
        if not given.get(key):
            raise InputError(f"params.yaml: runtime.scenes.{name}.{key}: missing; say where the given scenes lie")
    return Path(given["annotations"]).expanduser(), Path(given["pictures"]).expanduser()


def pack(
    annotations: Path, pictures: Path, out: Path, given: str, key: str, progress: Callable[[int, int], None]
) -> None:
    """Copy the annotations to `out` and pack every picture they name into shards.

    Args:
        given: the expected digest, as this function's own error message prints it.
        key: of params.yaml, where `given` stands; for messages.

    Raises:
        InputError: a file that is missing, is no picture, or has another size than annotated; annotations that break
            Omni3D's format; another digest than `given`.
    """
    digest, scenes = _read(annotations)
    with shards.Writer(out) as packed:
        for done, scene in enumerate(scenes, 1):
            data, _ = picture(pictures, scene.image, annotations, (scene.camera.width, scene.camera.height))
            digest.update(hashlib.sha256(data).digest())
            packed.add(scene.image, data, scene.camera.width, scene.camera.height)
            progress(done, len(scenes))
    _keep(annotations, out, digest.hexdigest(), given, key)


def match(
    annotations: Path,
    where: streamed.Address,
    pictures: Mapping[str, tuple[str, tuple[int, int]]],
    out: Path,
    given: str,
    key: str,
) -> None:
    """Copy the annotations to `out`, whose pictures are shards on S3; the digest is as if they were packed.

    Args:
        where: of the shards; pictures: SHA-256 and (width, height) by key of what they hold.
        given, key: as in `pack`.

    Raises:
        InputError: as `pack`.
    """
    digest, scenes = _read(annotations)
    for scene in scenes:
        if scene.image not in pictures:
            raise InputError(f"{where}: no image {scene.image}, which {annotations} names; add it to a shard there")
        sha256, size = pictures[scene.image]
        annotated = scene.camera.width, scene.camera.height
        if size != annotated:
            raise _other_size(f"{where}: image {scene.image}", size, annotations, annotated)
        digest.update(bytes.fromhex(sha256))
    _keep(annotations, out, digest.hexdigest(), given, key)


def _read(annotations: Path) -> tuple[Any, list[Scene]]:
    """The digest so far, and the scenes."""
    if not annotations.is_file():
        raise InputError(f"{annotations}: no such file; runtime.scenes in params.yaml says where the annotations are")
    return hashlib.sha256(annotations.read_bytes()), list(omni3d.read(annotations))


def _keep(annotations: Path, out: Path, digest: str, given: str, key: str) -> None:
    if digest != given:
        raise InputError(
            f"params.yaml: {key}: is {given!r}, but {annotations} and its pictures have {digest}; "
            "write that there if these are the files you mean"
        )
    shutil.copyfile(annotations, out / "annotations.json")


def picture(
    folder: Path, name: str, annotations: Path, size: tuple[int, int] | None = None
) -> tuple[bytes, tuple[int, int]]:
    """The bytes and the size of one picture, which must decode and be as large as annotated, if that is known."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{annotations}: images: file_path {name!r} leads out of {folder}; make it relative")
    if not path.is_file():
        raise InputError(f"{path}: no such picture; {annotations} names it as file_path {name!r}")
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: does not decode ({error}); replace it, or remove it from {annotations}") from None
    if size is not None and image.size != size:
        raise _other_size(str(path), image.size, annotations, size)
    return data, image.size


def _other_size(what: str, size: tuple[int, int], annotations: Path, annotated: tuple[int, int]) -> InputError:
    return InputError(
        f"{what}: is {size[0]}×{size[1]} pixels, {annotations} says {annotated[0]}×{annotated[1]}; "
        "correct width, height and K there"
    )
