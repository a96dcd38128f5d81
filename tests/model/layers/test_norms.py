"""The bf16 norm: the values and gradients of transformers' fp32 one, to bf16's precision."""

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from model.layers.norms import AutocastRMSNorm, use_autocast_norms
from tests.model.tiny_models import make_llm


def test_values_and_gradients_equal_those_in_fp32():
    torch.manual_seed(0)
    reference, ours = LlamaRMSNorm(64), AutocastRMSNorm(64)
    with torch.no_grad():
        reference.weight.copy_(torch.rand(64) + 0.5)
        ours.weight.copy_(reference.weight)
    x = torch.randn(3, 50, 64) * 4
    grad = torch.randn(3, 50, 64)
    a, b = x.clone().requires_grad_(), x.bfloat16().requires_grad_()
    expected = reference(a)
    expected.backward(grad)
    found = ours(b)
    assert found.dtype == torch.bfloat16
    found.backward(grad.bfloat16())
    for ours_, theirs in ((found, expected), (b.grad, a.grad), (ours.weight.grad, reference.weight.grad)):
        error = (ours_.float() - theirs).norm() / theirs.norm()
        assert error < 0.01


def test_fp32_is_untouched():
    x = torch.randn(2, 5, 64)
    assert torch.equal(AutocastRMSNorm(64)(x), LlamaRMSNorm(64)(x))


@pytest.mark.parametrize("tie", [True, False])
def test_exchange_keeps_weights_and_names(tie):
    llm = make_llm(40, tie=tie)
    before = dict(llm.named_parameters())
    assert use_autocast_norms(llm) == 5
    after = dict(llm.named_parameters())
    assert before.keys() == after.keys() and all(after[name] is p for name, p in before.items())
    assert use_autocast_norms(llm) == 0
