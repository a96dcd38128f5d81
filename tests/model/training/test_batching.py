"""The order of training for pictures that come shard by shard: all samples, few shards at a time, fixed by the seed."""

import itertools
from collections import Counter

import pytest

from model.training.batching import ShardedBatches

SHARDS, EACH, BLIND = 10, 13, 21
BLOCKS = [k // EACH for k in range(SHARDS * EACH)] + [None] * BLIND
SIZES = [(k * 7 % 31,) for k in range(len(BLOCKS))]


def batches(micro: int = 8, window: int = 2, seed: int = 1, upcoming=lambda indices: None) -> ShardedBatches:
    groups = [block is None for block in BLOCKS]
    return ShardedBatches(groups, SIZES, 8, micro, seed, BLOCKS, window, upcoming)


@pytest.mark.parametrize("window", [1, 2, 3, 20])
def test_every_sample_is_seen_and_batches_are_of_one_kind(window):
    made = batches(window=window)
    order = list(made)
    assert len(order) == len(made) and all(len(batch) == 8 for batch in order)
    seen = Counter(index for batch in order for index in batch)
    assert seen.keys() == set(range(len(BLOCKS)))
    assert seen.total() - len(BLOCKS) == len(order) * 8 - len(BLOCKS) < 16, "at most one batch of a kind is filled up"
    assert all(len({BLOCKS[index] is None for index in batch}) == 1 for batch in order)


def test_a_window_has_few_shards_and_what_comes_next_is_said_before():
    told: list[set[int]] = []
    order = []
    for batch in batches(upcoming=lambda indices: told.append({BLOCKS[k] for k in indices} - {None})):
        shards = {BLOCKS[index] for index in batch} - {None}
        assert shards <= told[-1]
        order.append(shards)
    assert len(told) == SHARDS // 2
    assert len(told[0]) == 4, "its own and the next window's"
    assert all(len(one & other) >= 2 and len(one) <= 6 for one, other in itertools.pairwise(told))
    assert any(len(shards) > 1 for shards in order), "shards of a window are mixed"


def test_the_order_is_the_seeds_and_micro_batches_change_no_global_batch():
    assert list(batches()) == list(batches())
    assert list(batches()) != list(batches(seed=2))
    other = batches()
    other.set_epoch(1)
    assert list(batches()) != list(other)
    parts = list(batches(micro=4))
    whole = [sorted(parts[at] + parts[at + 1]) for at in range(0, len(parts), 2)]
    assert whole == [sorted(batch) for batch in batches()]
