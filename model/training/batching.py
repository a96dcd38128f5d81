"""The order of training: batches of one modality and of similar length, fixed by the seed.
The batch per device is how a global batch is cut up; it changes no global batch and no order."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from data_registry.errors import InputError
from model.conversations.samples import EncodedSample


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
            batches += self._alike(_filled(order, order, self.global_batch))
        yield from self._dealt(batches, rng)

    def _alike(self, order: Sequence[int]) -> list[list[int]]:
        """Global batches of samples of similar size."""
        batches, window = [], self.WINDOW * self.global_batch
        for start in range(0, len(order), window):
            alike = sorted(order[start : start + window], key=lambda index: self.sizes[index])
            batches += [alike[at : at + self.global_batch] for at in range(0, len(alike), self.global_batch)]
        return batches

    def _dealt(self, batches: Sequence[list[int]], rng: np.random.Generator) -> Iterator[list[int]]:
        """Micro-batches of shuffled global batches."""
        for at in rng.permutation(len(batches)):
            # Dealt like cards, so that micro-batches of one step are alike in length.
            batch, parts = batches[at], self.global_batch // self.micro_batch
            yield from (batch[part::parts] for part in range(parts))


class ShardedBatches(GroupedBatches):
    """The same, but samples are mixed within windows of a few shards, for pictures that come shard by shard.

    Shards are shuffled and taken `window` at a time; what fills no global batch goes into the next window. Samples
    without a picture are dealt out evenly.

    Args:
        blocks: per sample, its shard; None without a picture.
        window: shards whose samples are mixed.
        upcoming: called as a window begins with the indices of its samples and then of the next one's.
    """

    def __init__(
        self,
        groups: Sequence[object],
        sizes: Sequence[tuple[int, ...]],
        global_batch: int,
        micro_batch: int,
        seed: int,
        blocks: Sequence[int | None],
        window: int,
        upcoming: Callable[[Iterable[int]], None] = lambda indices: None,
    ):
        super().__init__(groups, sizes, global_batch, micro_batch, seed)
        self.blocks, self.window, self.upcoming = blocks, window, upcoming

    @classmethod
    def within(
        cls,
        plain: GroupedBatches,
        blocks: Sequence[int | None],
        window: int,
        upcoming: Callable[[Iterable[int]], None] = lambda indices: None,
    ) -> "ShardedBatches":
        """Grouped and sorted as others are."""
        return cls(
            plain.groups, plain.sizes, plain.global_batch, plain.micro_batch, plain.seed, blocks, window, upcoming
        )

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        windows = self._windows(rng)
        left: dict[object, list[int]] = {group: [] for group in self.by_group}
        for number, members in enumerate(windows):
            self.upcoming(index for window in (*left.values(), *windows[number : number + 2]) for index in window)
            batches, last = [], number == len(windows) - 1
            for group, waiting in left.items():
                order = waiting + [index for index in members if self.groups[index] == group]
                whole = len(order) - len(order) % self.global_batch
                left[group] = order[whole:]
                batches += self._alike(order[:whole])
                if last and left[group]:
                    batches.append(_filled(left[group], order, self.global_batch))
            yield from self._dealt(batches, rng)

    def _windows(self, rng: np.random.Generator) -> list[list[int]]:
        """Indices by window, in an order of chance."""
        shards: dict[int, list[int]] = {}
        blind: list[int] = []
        for index in rng.permutation(len(self.blocks)).tolist():
            block = self.blocks[index]
            (blind if block is None else shards.setdefault(block, [])).append(index)
        order = rng.permutation(sorted(shards)).tolist()
        parts = [order[at : at + self.window] for at in range(0, len(order), self.window)] or [[]]
        bounds = [round(len(blind) * number / len(parts)) for number in range(len(parts) + 1)]
        windows = []
        for number, part in enumerate(parts):
            members = [index for shard in part for index in shards[shard]] + blind[bounds[number] : bounds[number + 1]]
            windows.append([members[at] for at in rng.permutation(len(members))])
        return windows


def _filled(batch: list[int], more: Sequence[int], size: int) -> list[int]:
    """Up to a multiple of `size`, from the start of `more` and round again."""
    return batch + [more[at % len(more)] for at in range(-len(batch) % size)]
