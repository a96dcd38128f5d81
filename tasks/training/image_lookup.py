"""The pictures of a training or a benchmark as features: cached where that fits, computed in each step elsewhere."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data_registry.storage import shards
from tasks.stage.harness import StageRun
from tasks.training.machine import data_workers, device_of
from tasks.training.mix_reader import folders

if TYPE_CHECKING:
    from model.backbones.encoders import VisionEncoder
    from tasks.training.features import CachedImages, LiveImages


def images_of(
    run: StageRun, encoders: "Sequence[tuple[VisionEncoder, Path]]", bf16: bool
) -> "CachedImages | LiveImages | None":
    """How a stage gets its images; None for a blind design."""
    from tasks.sources.streams import open_images
    from tasks.training.features import image_lookup

    if not encoders:
        return None
    budget_gb = float(run.runtime.get("feature_budget_gb", 20))
    opened = partial(open_images, run.runtime)
    return image_lookup(
        encoders,
        image_folders(run),
        bf16,
        budget_gb,
        device=device_of(run.runtime),
        workers=data_workers(run.runtime),
        progress=run.progress,
        open_images=opened,
    )


def image_folders(run: StageRun) -> list[Path]:
    """Where a stage's images lie: its scenes, and the data sets that bring pictures of their own."""
    data = folders(run, "data") if "data" in run.inputs else []
    return list(dict.fromkeys([run.input("scenes"), *filter(shards.has_images, data)]))
