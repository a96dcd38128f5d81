"""What the costs of a stage run read off its name: how much of its training it does, and on which data."""

import pytest

from flows.costs.cost import Recorded

WHOLE = "instruct/clip_vicuna-7b_cc558k_mix665k+3di-ft1m_weight_decay=1e-1"
NINTH = WHOLE.replace("_weight", "_frac=1of9_weight")


@pytest.mark.parametrize("run", [WHOLE, WHOLE.replace("weight_decay", "x_frac")])
def test_keys_with_underscores_are_settings(run):
    """Not data, of which there would be another amount, and not the share at which a rung stops."""
    recorded = Recorded({run: 90.0})
    assert recorded.expected(WHOLE.replace("=1e-1", "=2e-1")) == pytest.approx(90.0)


def test_a_rung_is_a_part_of_its_designs_training():
    recorded = Recorded({NINTH: 10.0})
    assert recorded.expected(WHOLE) == pytest.approx(90.0)
    assert recorded.left(WHOLE, 90.0) == pytest.approx(80.0)
