"""Mixes: exact numbers, smaller within larger, the same whatever the file's order, and amounts that make no sense."""

import itertools
import random

import numpy as np
import pytest

from data_registry import mix
from data_registry.errors import InputError

IDS = [f"3di-ft1m/train/{k:06d}.jpg" for k in range(1000)]


@pytest.mark.parametrize(("amount", "count"), [(1, 1), (250, 250), (1000, 1000), (0.25, 250), (1.0, 1000), (0.0004, 0)])
def test_a_mix_takes_exactly_what_is_asked_for(amount, count):
    assert mix.chosen(IDS, amount, "").sum() == count


def test_smaller_shares_are_part_of_larger_ones():
    taken = [mix.chosen(IDS, amount, "") for amount in (10, 0.05, 300, 0.9)]
    for small, large in itertools.pairwise(taken):
        assert (large[small]).all()


def test_the_order_of_the_file_does_not_matter():
    order = random.Random(0).sample(range(1000), 1000)
    plain, shuffled = mix.chosen(IDS, 100, ""), mix.chosen([IDS[k] for k in order], 100, "")
    assert {IDS[k] for k in np.flatnonzero(plain)} == {IDS[order[k]] for k in np.flatnonzero(shuffled)}


def test_the_choice_is_spread_over_the_file():
    places = np.flatnonzero(mix.chosen(IDS, 200, ""))
    assert 350 < np.median(places) < 650


@pytest.mark.parametrize(("amounts", "message"), [
    ({"3di-ft": 0.5}, r"mix\.3di-ft: not among the data sets of this run; did you mean 3di-ft1m"),
    ({"3di-ft1m": 0}, r"mix\.3di-ft1m: 0 is neither a number of samples"),
    ({"3di-ft1m": 1.5}, r"1\.5 is neither"),
    ({"3di-ft1m": -0.5}, r"-0\.5 is neither"),
])  # fmt: skip
def test_amounts_that_make_no_sense_are_refused(amounts, message):
    with pytest.raises(InputError, match=message):
        mix.check(amounts, ["mix665k", "3di-ft1m"], "params.yaml: instruct.tiny.mix")


def test_more_than_there_is_is_refused():
    with pytest.raises(InputError, match="1,001 samples are asked for, but there are 1,000; lower it"):
        mix.chosen(IDS, 1001, "mix")
