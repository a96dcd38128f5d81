"""Stage `annotate`: in-the-wild pictures become scenes, by networks that see and the geometry between them.
`python -m tasks.annotate NAME` writes Omni3D JSON of estimated values and the pictures in shards, as `scenes` does."""

import io
import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_registry import omni3d, shards
from data_registry.annotate import scenes
from data_registry.errors import InputError
from tasks import annotators, given_pictures, pose
from tasks.annotators import Annotation, Annotators, Networks, Tags
from tasks.claim import write_json
from tasks.stage import Metrics, StageRun, main

DATASET_ID = 200
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
        field_of_view_deg: horizontal, of all pictures; only where the depth network does not estimate it.
        filters: every threshold.
        batch: pictures that the networks see together.
        part: pictures after which the work is kept; a kill costs at most so many.
        most_px: a picture with more pixels fails, since masks and depth of it may not fit the memory.
        max_failed: share of the pictures that may fail; more is a fault of the set-up and stops the stage.
    """

    seed: int
    given: str
    source: str
    networks: Networks
    tags: Tags
    field_of_view_deg: float | None = None
    filters: scenes.Filters = field(default_factory=scenes.Filters)
    batch: int = 8
    part: int = 256
    most_px: int = 4_000_000
    max_failed: float = 0.05


def compute(run: StageRun) -> Metrics:
    """Annotate every picture; returns counts, also of what was dropped and why."""
    p = run.parse(Params)
    folder = given_pictures.place(run.runtime, "annotate", run.name)
    names = given_pictures.keys(folder)
    given_pictures.check(folder, names, p.given, f"annotate.{run.scale}.each.{run.name}.given", run.progress)
    parts = [(k, range(k, min(k + p.part, len(names)))) for k in range(0, len(names), p.part)]
    missing = [(start, members) for start, members in parts if not _part(run.work, start).exists()]
    if missing:
        networks = _load(run, p)
        failed = {
            path: json.loads(path.read_text())["failures"]
            for path in (_part(run.work, start) for start, _ in parts)
            if path.exists()
        }
        for start, members in missing:
            annotated, failures = annotate(networks, folder, names, members, p)
            write_json(
                _part(run.work, start),
                {
                    "annotations": [
                        {"image": one.image, "objects": one.objects, "drops": dict(one.drops)} for one in annotated
                    ],
                    "failures": failures,
                },
            )
            run.progress(members.stop, len(names))
            failed[_part(run.work, start)] = failures
            _check_failures(failed, members.stop, p.max_failed)
    return _join(run, p, folder, [start for start, _ in parts])


def annotate(
    networks: Annotators, folder: Path, names: list[str], members: Iterable[int], p: Params
) -> tuple[list[Annotation], dict[str, str]]:
    """Annotations of some pictures in their order, and for each that failed why. One failure stops nothing else."""
    decoded: dict[int, np.ndarray] = {}
    failures: dict[str, str] = {}
    for k in members:
        try:
            decoded[k] = _decode(folder / names[k], p.most_px)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            failures[names[k]] = f"does not decode: {error}"
    found: list[Annotation] = []
    waiting = list(decoded)
    for start in range(0, len(waiting), p.batch):
        chosen = waiting[start : start + p.batch]
        try:
            found += networks(chosen, [names[k] for k in chosen], [decoded[k] for k in chosen])
        except Exception as error:
            log.warning("a batch of %d pictures failed (%s); they are tried one by one", len(chosen), error)
            for k in chosen:
                try:
                    found += networks([k], [names[k]], [decoded[k]])
                except Exception as alone:
                    failures[names[k]] = f"{type(alone).__name__}: {alone}"
    return found, failures


def _load(run: StageRun, p: Params) -> Annotators:
    import torch

    from model.encoders import load_encoder
    from tasks.lmm import prepare

    prepare(run)
    wanted = str(run.runtime.get("device", "auto"))
    device = ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted
    estimator = pose.load(run.inputs["pose"], load_encoder(run.parts["encoder"], run.scale, run.inputs["encoder"]))
    estimator.encoder.to(device)
    estimator.head.to(device)
    hub = run.runtime.get("hub_folder")
    return annotators.load(
        p.networks, estimator, p.tags, p.filters, p.field_of_view_deg, p.seed,
        Path(hub).expanduser() if hub else None, device,
    )  # fmt: skip


def _decode(path: Path, most_px: int) -> np.ndarray:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        if image.width * image.height > most_px:
            raise ValueError(f"{image.width}×{image.height} pixels are more than annotate: most_px {most_px}")
        return np.asarray(image.convert("RGB"))


def _part(work: Path, start: int) -> Path:
    return work / f"part-{start:09d}.json"


def _check_failures(failed: dict[Path, dict[str, str]], done: int, most: float) -> None:
    """Stop where too many fail: something is wrong with the set-up, and the rest would fail too.

    Args:
        failed: by part, its failures.
        done: pictures tried so far.
    """
    count = sum(map(len, failed.values()))
    if count > most * done:
        name, why = next(pair for one in failed.values() for pair in one.items())
        for path in (path for path, one in failed.items() if one):
            path.unlink()  # tried again by the next run
        raise InputError(
            f"annotate: {count} of {done} pictures failed, more than max_failed ({most:g}) allows; "
            f"the first was {name}: {why}"
        )


def _join(run: StageRun, p: Params, folder: Path, starts: list[int]) -> Metrics:
    """The parts as one Omni3D file, with the pictures that did not fail; then read back as every later stage will."""
    info = {
        "id": DATASET_ID, "source": p.source, "name": f"{p.source} {run.name}", "split": run.name, "version": "1",
        "url": "", "provenance": "estimated",
    }  # fmt: skip
    categories = [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(p.tags.vocabulary)]
    drops: Counter[str] = Counter()
    failures: dict[str, str] = {}
    path = run.out / "annotations.json"
    with omni3d.Writer(path, info, categories) as file, shards.Writer(run.out) as images:
        for start in starts:
            part: dict[str, Any] = json.loads(_part(run.work, start).read_text())
            failures |= part["failures"]
            for one in part["annotations"]:
                image = one["image"] | {"dataset_id": DATASET_ID}
                file.add(image, [o | {"dataset_id": DATASET_ID} for o in one["objects"]])
                drops.update(one["drops"])
                data = (folder / image["file_path"]).read_bytes()
                images.add(image["file_path"], data, image["width"], image["height"])
    write_json(run.out / "failures.json", failures)
    read: Counter[str] = Counter()
    kept = fronts = 0
    for scene in omni3d.read(path, read):
        kept += len(scene.objects)
        fronts += sum(obj.front is not None for obj in scene.objects)
    del drops["objects"]  # the reader counts them too
    return {
        "images": read.pop("images"),
        "images_failed": len(failures),
        "tags": drops.pop("tags", 0),
        "objects": read.pop("objects"),
        "kept": kept,
        "fronts": fronts,
        "dropped": dict(sorted(drops.items())),
        "read_drops": dict(sorted(read.items())),
    }


if __name__ == "__main__":
    main("annotate", compute)
