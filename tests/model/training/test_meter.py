"""Throughput is what was counted by the clock; a token's FLOPs are those that torch itself counts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.training import meter
from model.training.meter import Meter, model_flops, peak_flops
from tests.model.tiny_models import make_llm


def test_what_is_counted_by_the_clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    one = Meter(processes=2, flops=(1e9, 1e8), peak_flops=1e12)
    with one.waiting():
        now[0] += 1
    one.count(8, 500, 40)
    now[0] += 3
    one.count(8, 300, 10)
    found = one.read()
    assert found["system/samples_per_second"] == 2 * 16 / 4
    assert found["system/tokens_per_second"] == 2 * 800 / 4
    assert found["system/data_wait_share"] == 0.25
    assert found["system/mfu"] == pytest.approx((800 * 1e9 + 50 * 1e8) / 4 / 1e12), "of one device by its own share"
    now[0] += 1
    assert one.read()["system/samples_per_second"] == 0, "each reading begins anew"


@pytest.mark.parametrize("trained", [False, True])
def test_flops_of_a_token_are_those_that_torch_counts(trained):
    llm = make_llm(vocab=64, tie=False).requires_grad_(trained)
    tokens = 32
    embeds = torch.randn(1, tokens, 48, requires_grad=True)  # as a connector's output
    with FlopCounterMode(display=False) as counter:
        llm(inputs_embeds=embeds).logits.sum().backward()
    counted = counter.get_flop_counts()["Global"]
    linear = sum(count for op, count in counted.items() if op in (torch.ops.aten.mm, torch.ops.aten.addmm))
    per_token, per_target = model_flops(llm)
    assert (per_token + per_target) * tokens == linear > per_token * tokens


def test_a_cpu_has_no_known_peak():
    assert peak_flops(torch.device("cpu")) is None
