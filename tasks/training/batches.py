"""Batches of a training whose pictures stay on S3: the order that needs few shards at a time."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from tasks.sources.streams import open_images

if TYPE_CHECKING:
    from model.conversations.samples import EncodedSample
    from model.training.batching import GroupedBatches
    from tasks.stage.harness import StageRun
    from tasks.training.params import TrainParams


def batches(
    run: "StageRun", params: "TrainParams", samples: "Sequence[EncodedSample]", ahead: Callable[[Iterable[str]], None]
) -> "GroupedBatches | None":
    """The order of a training with `shard_window`; None without. `ahead` as for `in_shard_windows`."""
    if not params.shard_window or not samples:  # the training says that there are none
        return None
    from model.training.batching import GroupedBatches, cut_global_batch
    from tasks.training.machine import machine_of

    devices = int(os.environ.get("WORLD_SIZE", "1"))
    micro, _ = cut_global_batch(params.global_batch, machine_of(run).per_device_batch, devices)
    plain = GroupedBatches.of(samples, params.global_batch, micro, run.seed)
    return in_shard_windows(run, params, plain, [sample.image for sample in samples], ahead)


def in_shard_windows(
    run: "StageRun",
    params: "TrainParams",
    plain: "GroupedBatches",
    images: Sequence[str | None],
    ahead: Callable[[Iterable[str]], None],
) -> "GroupedBatches":
    """The same batches, but with `shard_window` mixed within windows of so many shards, while the next one's come.

    Args:
        images: key of each sample's image.
        ahead: told which images come next.
    """
    if not params.shard_window:
        return plain
    from model.training.batching import ShardedBatches
    from tasks.training.image_lookup import image_folders

    opened = open_images(run.runtime, image_folders(run))
    shards_of = [None if key is None else opened.shard_of(key) for key in images]
    return ShardedBatches.within(
        plain,
        shards_of,
        params.shard_window,
        lambda indices: ahead(key for index in indices if (key := images[index]) is not None),
    )
