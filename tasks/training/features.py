"""Where features of frozen encoders are kept: .cache/features/<key>, shared by all stage runs that need the same.
A key is the digest of encoder, images and preprocessing; a folder appears whole by rename, once, under a lock."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_registry.errors import InputError
from data_registry.storage.shards import Images
from model.backbones.encoders import VisionEncoder
from model.backbones.features import extract, feature_bytes, feature_shape
from model.backbones.images import to_pixels
from tasks.identity import manifest
from tasks.identity.files import remove, sync_files
from tasks.stage import locks

CACHE = Path(".cache/features")
BATCH = 64
AHEAD = 64 * BATCH  # images whose shards are asked for before they are needed, where these are on S3
_VERSION = 1  # of the preprocessing and of the files' layout

Progress = Callable[[int, int], None]


class FeatureTable:
    """Memory-mapped features of one encoder: an array (images, grid * grid, width) in fp16 and its keys."""

    def __init__(self, folder: Path):
        self.array = np.load(folder / "features.npy", mmap_mode="r")
        self.row = {key: row for row, key in enumerate(json.loads((folder / "keys.json").read_text()))}

    def __getitem__(self, keys: Sequence[str]) -> np.ndarray:
        return self.array[[self.row[key] for key in keys]]


class CachedImages:
    """Image lookup of a collator from cached features: one table per encoder."""

    def __init__(self, tables: Sequence[FeatureTable]):
        self.tables = tables

    def __call__(self, keys: Sequence[str]) -> dict[str, Any]:
        import torch

        return {"image_features": [torch.from_numpy(table[keys]) for table in self.tables]}

    def ahead(self, keys: Iterable[str]) -> None:
        """Features are here."""


class LiveImages:
    """Image lookup of a collator that decodes pixels and leaves the encoders to the model."""

    def __init__(self, images: Images, size: int):
        self.images, self.size = images, size

    def __call__(self, keys: Sequence[str]) -> dict[str, Any]:
        import torch

        pixels = [to_pixels(Image.fromarray(self.images[key]), self.size) for key in keys]
        return {"pixel_values": torch.from_numpy(np.stack(pixels))}

    def ahead(self, keys: Iterable[str]) -> None:
        """These come next: begin to bring their shards."""
        self.images.ahead(keys)


class MirroredImages(LiveImages):
    """The same images as seen in a mirror, for FlipEval."""

    def __call__(self, keys: Sequence[str]) -> dict[str, Any]:
        return {"pixel_values": super().__call__(keys)["pixel_values"].flip(-1)}


class NamingImages:
    """Another lookup, whose errors name the samples that show the image.

    Args:
        images: the lookup.
        samples: ids by image key.
    """

    def __init__(self, images: "CachedImages | LiveImages", samples: Mapping[str, Sequence[str]]):
        self.images, self.samples = images, samples

    def ahead(self, keys: Iterable[str]) -> None:
        """As the lookup does."""
        self.images.ahead(keys)

    def __call__(self, keys: Sequence[str]) -> dict[str, Any]:
        try:
            return self.images(keys)
        except InputError:
            for key in dict.fromkeys(keys):  # one by one: which of the batch is it?
                self._look_up(key)
            raise

    def _look_up(self, key: str) -> None:
        try:
            self.images([key])
        except InputError as error:
            raise InputError(f"{error} (samples {', '.join(self.samples[key])})") from None


def image_lookup(
    encoders: Sequence[tuple[VisionEncoder, Path]],
    scenes: Path | Sequence[Path],
    bf16: bool,
    budget_gb: float,
    cache: Path = CACHE,
    device: str = "cpu",
    workers: int = 0,
    progress: Progress = lambda done, total: None,
    open_images: Callable[[Path | Sequence[Path]], Images] = lambda folders: Images(*_several(folders)),
) -> CachedImages | LiveImages:
    """How a collator gets images: cached features if those of all encoders fit the budget, else pixels.

    Args:
        encoders: frozen encoders with the folders that they came from.
        scenes: folder with image shards, or several.
        budget_gb: most disk space for the features of these images.
        device: where the encoders compute them.
        workers: processes that decode pictures for them; 0: this one does.
        open_images: how to read them.
    """
    images = open_images(scenes)
    size = max(encoder.spec.image_size for encoder, _ in encoders)
    if sum(feature_bytes(encoder, len(images)) for encoder, _ in encoders) > budget_gb * 2**30:
        return LiveImages(images, size)
    # An encoder that sees less resizes what the largest one sees, as it does in training.
    places = [_place(encoder, folder, scenes, bf16, size, cache) for encoder, folder in encoders]
    cache.mkdir(parents=True, exist_ok=True)
    # What another process is making comes last, so that two that need the same tables share the work.
    for wait in (False, True):
        for (encoder, _), place in zip(encoders, places, strict=True):
            with _missing(place, wait) as missing:
                if missing:
                    pixels = _pixels(images, size, workers)
                    with _moved(encoder, device):
                        _write(place, list(images), feature_shape(encoder), extract(encoder, pixels, bf16), progress)
    return CachedImages([FeatureTable(place) for place in places])


def _place(
    encoder: VisionEncoder, folder: Path, scenes: Path | Sequence[Path], bf16: bool, size: int, cache: Path
) -> Path:
    resized = {"size": size} if size != encoder.spec.image_size else {}
    contents = [manifest.read_manifest(scene_set)["content"] for scene_set in _several(scenes)]
    key = manifest.digest_of(
        {
            "version": _VERSION,
            "encoder": manifest.read_manifest(folder)["content"],
            "spec": asdict(encoder.spec),
            "images": contents[0] if len(contents) == 1 else contents,
            "bf16": bf16,
            **resized,
        }
    )[:32]
    return cache / key


@contextlib.contextmanager
def _missing(place: Path, wait: bool) -> Iterator[bool]:
    """Whether a table has to be made, under its lock; what another process is making is waited for, or left alone."""
    lock = place.with_name(f"{place.name}.lock")
    if wait:
        with locks.hold(lock, "read the features of images"):
            yield not _is_whole(place)
    elif release := locks.take(lock):
        try:
            yield not _is_whole(place)
        finally:
            release()
    else:
        yield False


def _is_whole(place: Path) -> bool:
    """Whether a table is there that can be read: a power loss may leave its files empty."""
    try:
        keys = FeatureTable(place)
    except (OSError, EOFError, ValueError, TypeError):
        return False
    return len(keys.row) == len(keys.array)


@contextlib.contextmanager
def _moved(encoder: VisionEncoder, device: str) -> Iterator[None]:
    """An encoder on a device meanwhile, and back where it was afterwards."""
    home = next(encoder.parameters()).device
    try:
        encoder.to(device)
        yield
    finally:
        encoder.to(home)


def _several(folders: Path | Sequence[Path]) -> list[Path]:
    return [folders] if isinstance(folders, Path) else list(folders)


def _write(
    place: Path, keys: Sequence[str], shape: tuple[int, int], features: Iterable[np.ndarray], progress: Progress
) -> None:
    """A table of these images, each of this shape, from batches of their features in the same order."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    layout = {"descr": "<f2", "fortran_order": False, "shape": (len(keys), *shape)}
    done = 0
    try:
        # Not through a memory map: on a full disk the system would kill the process without a word.
        with (partial / "features.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, layout)
            for batch in features:
                file.write(np.asarray(batch, "<f2").tobytes())
                done += len(batch)
                progress(done, len(keys))
        if done != len(keys):  # a header that promises more than follows would be read as damage later
            raise RuntimeError(f"{done} features of {len(keys)} images")
        (partial / "keys.json").write_text(json.dumps(keys))
        sync_files(partial)
        remove(place)  # one that a power loss has left empty
        partial.replace(place)
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _pixels(images: Images, size: int, workers: int) -> Iterator[np.ndarray]:
    """All images in their order, in batches (n, 3, size, size)."""
    from torch.utils.data import DataLoader

    keys = list(images)
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    dataset: Any = batches  # torch reads any sequence; its types ask for a Dataset
    loader: DataLoader = DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=LiveImages(images, size))
    with plain_errors():
        loaded = iter(loader)  # its processes begin before there are threads that fetch, whose locks they would copy
        images.ahead(keys[:AHEAD])
        for done, batch in enumerate(loaded, 1):
            yield batch["pixel_values"].numpy()
            images.ahead(keys[done * BATCH : done * BATCH + AHEAD])


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """What is wrong with an input as one message, also where torch wraps a worker's traceback around it."""
    try:
        yield
    except InputError as error:
        said = str(error).rpartition("InputError: ")[2].strip() if "DataLoader worker" in str(error) else str(error)
        raise InputError(said) from None
