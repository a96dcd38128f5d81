"""Stage `annotate`: in-the-wild pictures become scenes, by networks that see and the geometry between them.
`python -m tasks.annotate NAME` writes Omni3D JSON of estimated values and the pictures in shards, as `scenes` does."""

import io
import json
import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from data_registry import ranges
from data_registry.annotate import scenes
from data_registry.errors import InputError
from data_registry.readers import omni3d
from data_registry.storage import pictures, shards
from tasks.identity.files import write_json
from tasks.sources import annotators, given_pictures, pose_head
from tasks.sources.annotators import DATASET_ID, Annotation, Annotators, Networks, Tags
from tasks.sources.left_out import left_out
from tasks.stage.harness import Metrics, StageRun, main

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Params:
    """params.yaml: annotate.

    Attributes:
        seed: of the choice among the points of large objects.
        given: digest of the pictures at `runtime.annotate.<name>.pictures`.
        source: what the scenes name as their source.
        networks: which ones see.
        tags: what is looked for.
        batch: pictures that the networks see together.
        part: pictures after which the work is kept; a kill costs at most so many.
        most_px: a picture with more pixels fails, since masks and depth of it may not fit the memory.
        field_of_view_deg: horizontal, of all pictures; only where the depth network does not estimate it.
        filters: every threshold.
    """

    seed: ranges.Seed
    given: str
    source: str
    networks: Networks
    tags: Tags
    batch: ranges.Count
    part: ranges.Count
    most_px: ranges.Count
    field_of_view_deg: Annotated[float, ranges.Bounds(above=0, below=180)] | None = None
    filters: scenes.Filters = field(default_factory=scenes.Filters)


def compute(run: StageRun) -> Metrics:
    """Annotate every picture; returns counts, also of what was dropped and why."""
    p = run.parse(Params)
    folder = given_pictures.place(run.runtime, "annotate", run.name)
    names = given_pictures.keys(folder)
    given_pictures.check(folder, names, p.given, f"annotate.{run.scale}.each.{run.name}.given", run.progress)
    most_failures = float(run.runtime.get("max_failed", 0.01)) * len(names)
    networks: Annotators | None = None
    parts: list[Path] = []
    failures: dict[str, str] = {}
    for start in range(0, len(names), p.part):
        members = range(start, min(start + p.part, len(names)))
        parts.append(run.work / f"part-{start:09d}.json")
        if parts[-1].exists():
            failures |= json.loads(parts[-1].read_text())["failures"]
            continue
        networks = networks or _load(run, p)
        annotated, failed = annotate(networks, folder, names, members, p)
        failures |= failed
        if len(failures) > most_failures:
            name, why = next(iter(failures.items()))
            raise InputError(
                f"annotate {run.name}: {len(failures)} of {len(names)} pictures failed so far, more than "
                f"params.yaml: runtime.max_failed allows; the first is {folder / name}: {why}"
            )
        objects = [
            {"image": picture.image, "objects": picture.objects, "drops": picture.drops} for picture in annotated
        ]
        write_json(parts[-1], {"annotations": objects, "failures": failed})
        run.progress(members.stop, len(names))
    write_json(run.out / "failures.json", failures)
    return _join(run, p, folder, parts) | {"images_failed": len(failures)}


def check_sources(run: str, name: str, params: dict[str, Any], runtime: dict[str, Any]) -> None:
    """That there are pictures, and that `given` says which: what is computed before takes hours.

    Args:
        run: where the parameters stand, e.g. "annotate.tiny".

    Raises:
        InputError: no such folder, no pictures in it, or `given` is empty; the message has the digest to write.
    """
    folder = given_pictures.place(runtime, "annotate", name)
    names = given_pictures.keys(folder)
    if not params["given"]:
        given_pictures.check(folder, names, "", f"{run}.each.{name}.given", lambda done, total: None)


def annotate(
    networks: Annotators, folder: Path, names: list[str], members: range, p: Params
) -> tuple[list[Annotation], dict[str, str]]:
    """Annotations of some pictures in their order, and for each that failed why. One failure stops nothing else."""
    annotated: list[Annotation] = []
    failures: dict[str, str] = {}
    for start in range(members.start, members.stop, p.batch):
        decoded: dict[int, np.ndarray] = {}
        for k in range(start, min(start + p.batch, members.stop)):
            try:
                decoded[k] = _decode(folder / names[k], p.most_px)
            except pictures.UNDECODABLE as error:
                failures[names[k]] = f"does not decode: {pictures.why(error)}"
        try:
            annotated += networks(list(decoded), [names[k] for k in decoded], list(decoded.values()))
        except Exception as error:
            log.warning("a batch of %d pictures failed (%s); they are tried one by one", len(decoded), error)
            for k, picture in decoded.items():
                try:
                    annotated += networks([k], [names[k]], [picture])
                except Exception as alone:
                    failures[names[k]] = f"{type(alone).__name__}: {alone}"
    return annotated, failures


def _load(run: StageRun, p: Params) -> Annotators:
    from model.backbones.encoders import load_encoder
    from tasks.training.machine import device_of, prepare

    prepare(run)
    estimator = pose_head.load(run.input("pose"), load_encoder(run.parts["encoder"], run.scale, run.input("encoder")))
    return annotators.load(
        p.networks, estimator, p.tags, p.filters, p.field_of_view_deg, p.seed, device_of(run.runtime)
    )  # fmt: skip


def _decode(path: Path, most_px: int) -> np.ndarray:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        if image.width * image.height > most_px:
            raise ValueError(f"{image.width}×{image.height} pixels are more than annotate: most_px {most_px}")
        return np.asarray(pictures.to_rgb(image))


def _join(run: StageRun, p: Params, folder: Path, parts: list[Path]) -> Metrics:
    """The parts as one Omni3D file, with the pictures that did not fail; then read back as every later stage will."""
    info = {
        "id": DATASET_ID, "source": p.source, "name": f"{p.source} {run.name}", "split": run.name, "version": "1",
        "url": "", "provenance": "estimated",
    }  # fmt: skip
    categories = [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(p.tags.vocabulary)]
    drops: Counter[str] = Counter()
    path = run.out / "annotations.json"
    with omni3d.Writer(path, info, categories) as file, shards.Writer(run.out) as images:
        for part in parts:
            for annotated in json.loads(part.read_text())["annotations"]:
                image, key = annotated["image"], annotated["image"]["file_path"]
                file.add(image, annotated["objects"])
                images.add(key, (folder / key).read_bytes(), image["width"], image["height"])
                drops.update(annotated["drops"])
    read: Counter[str] = Counter()
    kept = fronts = 0
    for scene in omni3d.read(path, read):
        kept += len(scene.objects)
        fronts += sum(obj.front is not None for obj in scene.objects)
    del drops["objects"]  # the reader counts them too
    reasons = {k: n for k, n in (drops + read).items() if k not in ("images", "objects", "tags")}
    left_out(f"annotate {run.name}", kept, read["objects"], "objects", reasons, str(folder))
    return {
        "images": read.pop("images", 0),
        "tags": drops.pop("tags", 0),
        "objects": read.pop("objects", 0),
        "kept": kept,
        "fronts": fronts,
        "dropped": dict(sorted(drops.items())),
        "read_drops": dict(sorted(read.items())),
    }


if __name__ == "__main__":
    main("annotate", compute)
