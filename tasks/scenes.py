"""Stage `scenes`: a set of scenes, rendered or given, published as Omni3D JSON with the images in Parquet shards.
`python -m tasks.scenes NAME`; image i depends on the set's seed and on i alone, so the number of workers is free."""

import io
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from PIL import Image

from data_registry import render
from data_registry.errors import InputError
from data_registry.ranges import Bounds, Seed
from data_registry.readers import omni3d
from data_registry.storage import shards
from tasks.sources import given_scenes, streams
from tasks.sources.left_out import left_out
from tasks.stage.harness import StageRun, main
from tasks.stage.parent_watch import die_with

_CHUNK = 32  # images per message from a worker


@dataclass(frozen=True)
class Params:
    """images: how many; seed: of worlds and shapes, one of its own per set; size: pixels; quality: of the JPEGs.

    `given`: nothing is rendered; the digest of the scenes at `runtime.scenes.<set>` (`tasks.sources.given_scenes`).
    `stream`: their pictures are shards on S3 and stay there (`tasks.sources.streams`).
    """

    images: Annotated[int, Bounds(1, 10_000_000)] | None = None
    seed: Seed | None = None
    size: Annotated[int, Bounds(32, 2048)] = 96
    quality: Annotated[int, Bounds(50, 100)] = 95
    given: str | None = None
    stream: bool = False

    def __post_init__(self) -> None:
        if self.given is not None:
            return
        if self.stream:
            raise InputError("params.yaml: scenes: stream is for given scenes; rendered ones are made here")
        for key in ("images", "seed"):
            if getattr(self, key) is None:
                raise InputError(f"params.yaml: scenes: {key} is missing; rendered scenes need it")

    @property
    def rendered(self) -> tuple[int, int]:
        """How many images, and their seed."""
        if self.images is None or self.seed is None:
            raise ValueError("given scenes are not rendered")
        return self.images, self.seed


def compute(run: StageRun) -> dict[str, Any]:
    """Makes the set `run.name`; returns how many images and objects it has and what a reader will drop, by reason."""
    params = run.parse(Params)
    annotations = run.out / "annotations.json"
    if params.given is not None:
        key = f"scenes.{run.scale}.each.{run.name}.given"
        by_reader: Counter[str] = Counter()
        sources = given_scenes.as_omni3d(given_scenes.places(run.runtime, run.name), run.work, by_reader)
        if params.stream:
            where = streams.address(run.runtime, run.stage, run.name)
            pictures = streams.index(where, run.out, run.work, run.progress)
            given_scenes.match(sources, where, pictures, run.out, params.given, key)
        else:
            given_scenes.pack(sources, run.out, params.given, key, run.progress)
        metrics = _count(annotations)
        drops = dict(Counter(metrics["drops"]) + by_reader)
        first = str(sources[0].annotations)
        left_out(f"scenes {run.name}", metrics["kept"], metrics["objects"], "objects", drops, first)
        return metrics | {"drops": drops}
    info = {
        "id": render.DATASET_ID,
        "source": render.SOURCE,
        "name": f"Rendered {run.name}",
        "split": run.name,
        "version": "1",
        "url": "",
        "seed": params.seed,
    }
    workers = int(run.runtime.get("workers") or len(os.sched_getaffinity(0)))
    with omni3d.Writer(annotations, info, render.categories()) as file, shards.Writer(run.out) as images:
        for done, (key, data, image, objects) in enumerate(_drawn(params, run.name, workers), 1):
            images.add(key, data, params.size, params.size)
            file.add(image, objects)
            run.progress(done, params.rendered[0])
    return _count(annotations)


def check_sources(run: str, name: str, params: dict[str, Any], runtime: dict[str, Any]) -> None:
    """That params.yaml says where given scenes lie; InputError otherwise."""
    if params.get("given") is not None:
        given_scenes.places(runtime, name)


def _drawn(params: Params, name: str, workers: int) -> Iterator[tuple[str, bytes, str, list[str]]]:
    """Key, JPEG, image record and annotation records (JSON text) of each image, in order."""
    starts = range(0, params.rendered[0], _CHUNK)
    draw: Callable[[int], list] = partial(_draw_chunk, params, name)
    if workers <= 1 or len(starts) == 1:
        for start in starts:
            yield from draw(start)
        return
    context = multiprocessing.get_context("spawn")
    # Unlike multiprocessing's own pool, this one says so when a worker is killed; that one waits for ever.
    with ProcessPoolExecutor(min(workers, len(starts)), context, die_with, (os.getpid(),)) as pool:
        for chunk in pool.map(draw, starts):
            yield from chunk


def _draw_chunk(params: Params, name: str, start: int) -> list[tuple[str, bytes, str, list[str]]]:
    """Images start .. start + chunk. Records travel as text: cheaper than the objects they describe."""
    drawn = []
    images, seed = params.rendered
    for index in range(start, min(start + _CHUNK, images)):
        key = f"{name}/{index:06d}.jpg"
        world = render.sample(seed, index)
        picture = render.render(world, params.size)
        image, objects = render.records(world, picture, key)
        encoded = io.BytesIO()
        # full chroma: at this size halved colour would smear the objects
        Image.fromarray(picture.rgb).save(encoded, "JPEG", quality=params.quality, subsampling=0)
        drawn.append((key, encoded.getvalue(), omni3d.dumps(image), [omni3d.dumps(o) for o in objects]))
    return drawn


def _count(annotations: Path) -> dict[str, Any]:
    """Reads the file back as every later stage will."""
    drops: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    kept = 0
    for scene in omni3d.read(annotations, drops):
        kinds[scene.kind] += 1
        kept += len(scene.objects)
    images, objects = drops.pop("images", 0), drops.pop("objects", 0)
    return {"images": images, "objects": objects, "kept": kept, "kinds": dict(kinds), "drops": dict(drops)}


if __name__ == "__main__":
    main("scenes", compute)
