"""A set of scenes made of the user's own files: Omni3D annotations and their pictures, checked and packed into shards.
Where they lie is `runtime`, no part of the identity; what they are is `given`, a digest of every byte that is used."""

import hashlib
import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from PIL import Image

from data_registry.errors import InputError
from data_registry.readers import as_omni3d as convert
from data_registry.readers import omni3d
from data_registry.readers.table import OMNI3D, READERS, reader
from data_registry.scene import Scene
from data_registry.storage import pictures, shards, streamed


class Source(NamedTuple):
    """Annotations, the folder where their pictures' paths start, and the reader that reads them, by name."""

    annotations: Path
    pictures: Path
    reader: str = OMNI3D


class Digest(Protocol):
    """What hashlib's objects do."""

    def update(self, data: bytes, /) -> None: ...


def places(runtime: dict[str, Any], name: str) -> list[Source]:
    """What `runtime.scenes.<name>` of params.yaml names: {annotations, pictures, reader}, or a list of them."""
    stated = (runtime.get("scenes") or {}).get(name) or {}
    where = f"params.yaml: runtime.scenes.{name}"
    sources = []
    for place in stated if isinstance(stated, list) else [stated]:
        for key in ("annotations", "pictures"):
            if not isinstance(place, dict) or not isinstance(place.get(key), str) or not place[key]:
                raise InputError(f"{where}.{key}: missing, or no path; say where the scenes lie")
        name_of_reader = place.get("reader") or OMNI3D
        reader(name_of_reader, f"{where}.reader")
        annotations, pictures = (Path(place[key]).expanduser() for key in ("annotations", "pictures"))
        sources.append(Source(annotations, pictures, name_of_reader))
    return sources


def as_omni3d(sources: Sequence[Source], work: Path, drops: Counter[str]) -> list[Source]:
    """The sources with what is not in Omni3D's form written in it.

    Args:
        work: a folder for that.
        drops: filled with what the readers left out, by reason, and with what the form cannot hold.
    """
    return [_as_omni3d(source, work / f"source-{k}.json", drops) for k, source in enumerate(sources)]


def _as_omni3d(source: Source, path: Path, drops: Counter[str]) -> Source:
    if source.reader == OMNI3D:
        return source
    read = READERS[source.reader]
    counts: Counter[str] = Counter()
    written = convert.write(lambda: read(source.annotations, source.pictures, counts), path, drops)
    if not written:
        raise InputError(f"{source.annotations}: the reader {source.reader} finds no scene there")
    # read twice: what was counted is there twice
    drops.update({reason: n // 2 for reason, n in counts.items() if reason not in ("images", "objects")})
    return source._replace(annotations=path, reader=OMNI3D)


def pack(sources: Sequence[Source], out: Path, given: str, key: str, progress: Callable[[int, int], None]) -> None:
    """Copy the annotations to `out`, several as one file, and pack every picture they name into shards.

    Args:
        given: the expected digest, as this function's own error message prints it.
        key: of params.yaml, where `given` stands; for messages.

    Raises:
        InputError: a file that is missing, is no picture, or has another size than annotated; annotations that break
            Omni3D's format; another digest than `given`.
    """
    digest = hashlib.sha256()
    with shards.Writer(out) as packed:
        for done, (source, scene, of) in enumerate(_scenes(sources, digest), 1):
            size = scene.camera.width, scene.camera.height
            data, _ = picture(source.pictures, scene.image, source.annotations, size)
            digest.update(hashlib.sha256(data).digest())
            packed.add(scene.image, data, *size)
            progress(done, of)
    _keep(sources, out, digest.hexdigest(), given, key)


def match(
    sources: Sequence[Source],
    where: streamed.Address,
    known: Mapping[str, tuple[str, tuple[int, int]]],
    out: Path,
    given: str,
    key: str,
) -> None:
    """Copy the annotations to `out`, whose pictures are shards on S3; the digest is as if they were packed.

    Args:
        where: of the shards; known: SHA-256 and (width, height) by key of the pictures that they hold.
        given, key: as in `pack`.

    Raises:
        InputError: as `pack`.
    """
    digest = hashlib.sha256()
    for source, scene, _ in _scenes(sources, digest):
        if scene.image not in known:
            raise InputError(f"{where}: no image {scene.image}, which {source.annotations} names; add it to a shard")
        sha256, size = known[scene.image]
        annotated = scene.camera.width, scene.camera.height
        if size != annotated:
            raise _other_size(f"{where}: image {scene.image}", size, source.annotations, annotated)
        digest.update(bytes.fromhex(sha256))
    _keep(sources, out, digest.hexdigest(), given, key)


def _scenes(sources: Sequence[Source], digest: Digest) -> Iterator[tuple[Source, Scene, int]]:
    """Every scene with its source, and how many there are up to the end of that; annotations go into the digest."""
    before = 0
    for source in sources:
        if not source.annotations.is_file():
            raise InputError(
                f"{source.annotations}: no such file; runtime.scenes in params.yaml says where the annotations are"
            )
        with source.annotations.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        counts: Counter[str] = Counter()
        for scene in omni3d.read(source.annotations, counts):
            yield source, scene, before + counts["images"]
        before += counts["images"]


def _keep(sources: Sequence[Source], out: Path, digest: str, given: str, key: str) -> None:
    if digest != given:
        names = ", ".join(str(source.annotations) for source in sources)
        raise InputError(
            f"params.yaml: {key}: is {given!r}, but {names} and {'its' if len(sources) == 1 else 'their'} pictures "
            f"have {digest}; write that there if these are the files you mean"
        )
    if len(sources) == 1:
        shutil.copyfile(sources[0].annotations, out / "annotations.json")
    else:
        omni3d.merge([source.annotations for source in sources], out / "annotations.json")


def picture(
    folder: Path, name: str, annotations: Path, size: tuple[int, int] | None = None
) -> tuple[bytes, tuple[int, int]]:
    """The bytes and the size of one picture, which must decode and be as large as annotated, if that is known.

    Raises:
        InputError: a path that leads out of the folder by itself, no such picture, one that does not decode or has
            another size.
    """
    path = pictures.inside(folder, name)
    named = pictures.shown(name)
    if path is None:
        raise InputError(f"{annotations}: images: file_path {named} leads out of {folder}; make it relative")
    if not pictures.is_file(path):
        raise InputError(f"{folder / named[1:-1]}: no such picture; {annotations} names it as file_path {named}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give read permission") from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            turned = pictures.is_turned(image)
            pictures.to_rgb(image)
    except pictures.UNDECODABLE as error:
        reason = pictures.why(error)
        raise InputError(f"{path}: does not decode ({reason}); replace it, or remove it from {annotations}") from None
    if size is not None and image.size != size:
        raise _other_size(str(path), image.size, annotations, size, turned)
    return data, image.size


def _other_size(
    what: str, size: tuple[int, int], annotations: Path, annotated: tuple[int, int], turned: bool = False
) -> InputError:
    remedy = "correct width, height and K there"
    if turned and size == annotated[::-1]:
        remedy = (
            "its EXIF orientation turns it by a quarter for viewers, and pixels are read here as they are stored: turn "
            "the pixels and remove the tag (mogrify -auto-orient), or annotate the stored ones"
        )
    return InputError(
        f"{what}: is {size[0]}×{size[1]} pixels, {annotations} says {annotated[0]}×{annotated[1]}; {remedy}"
    )
