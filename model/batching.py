"""The order of training: batches of one modality and of similar length, fixed by the seed.
The batch per device is how a global batch is cut up; it changes no global batch and no order."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from data_registry.errors import InputError
from model.samples import EncodedSample


def cut_global_batch(global_batch: int, per_device: int, devices: int) -> tuple[int, int]:
    """(batch per device, accumulation steps) with per device <= `per_device` that make up the global batch exactly.

    Raises:
        InputError: the global batch is no multiple of the number of devices.
    """
    if global_batch % devices:
        raise InputError(f"global_batch {global_batch} is no multiple of {devices} devices; change one of them")
    share = global_batch // devices
    per_device = max(size for size in range(1, min(per_device, share) + 1) if share % size == 0)
    return per_device, share // per_device


class GroupedBatches(torch.utils.data.Sampler[list[int]]):
    """Indices of micro-batches, epoch after epoch.

    Samples are shuffled, sorted by size within windows of 32 global batches, and cut into global batches of one
    group each (with or without image); those are shuffled again. A group's last batch is filled up from its start,
    so that every optimizer step sees `global_batch` samples.

    Args:
        groups: per sample, what a batch must have in common.
        sizes: per sample, by what to sort.
        global_batch: samples per optimizer step, a multiple of micro_batch.
        micro_batch: samples per yielded list.
        seed: of the order.
    """

    WINDOW = 32

    def __init__(
        self, groups: Sequence[object], sizes: Sequence[tuple[int, ...]], global_batch: int, micro_batch: int, seed: int
    ):
        self.groups, self.sizes = groups, sizes
        self.global_batch, self.micro_batch, self.seed = global_batch, micro_batch, seed
        self.epoch = 0
        self.by_group = {}
        for index, group in enumerate(groups):
            self.by_group.setdefault(group, []).append(index)

    @classmethod
    def of(cls, samples: Sequence[EncodedSample], global_batch: int, micro_batch: int, seed: int) -> "GroupedBatches":
        """Grouped by modality; sorted by number of turns, then by the longest turn."""
        groups = [len(s.prefix) for s in samples] if samples[0].isolated else [s.image is None for s in samples]
        sizes = [(len(s.turns), max(len(t.ids) for t in s.turns)) if s.isolated else (s.length,) for s in samples]
        return cls(groups, sizes, global_batch, micro_batch, seed)

    def set_epoch(self, epoch: int) -> None:
        """The order differs between epochs; the trainer says which one it is."""
        self.epoch = epoch

    def __len__(self) -> int:
        steps = sum(-(-len(members) // self.global_batch) for members in self.by_group.values())
        return steps * (self.global_batch // self.micro_batch)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        batches = []
        for members in self.by_group.values():
            order = [members[at] for at in rng.permutation(len(members))]
            filled = order + [order[at % len(order)] for at in range(-len(order) % self.global_batch)]
            window = self.WINDOW * self.global_batch
            for start in range(0, len(filled), window):
                near = sorted(filled[start : start + window], key=lambda index: self.sizes[index])
                batches += [near[at : at + self.global_batch] for at in range(0, len(near), self.global_batch)]
        for at in rng.permutation(len(batches)):
            # Dealt like cards, so that micro-batches of one step are alike in length.
            batch, parts = batches[at], self.global_batch // self.micro_batch
            yield from (batch[part::parts] for part in range(parts))
