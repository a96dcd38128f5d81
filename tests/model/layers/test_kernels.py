"""What runs in another way on a GPU gives the same numbers: the ways are compared here on a CPU, where both run."""

import copy
import functools

import pytest
import torch
from peft.tuners.lora import Linear
from torch import nn
from transformers.models.llama import modeling_llama

from model.conversations.collate import Collator
from model.layers import attention, rotary
from model.layers.lora import FusedLora
from model.training.adaptation import LLM_LINEARS, Lora, add_lora, merge_lora
from model.training.frozen import freeze_all_but, rounded_once
from tests.model.tiny_models import make_llm, make_model, make_samples, make_tokenizer


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_fused_attention_equals_plain_products(key_heads, scaling):
    torch.manual_seed(0)
    n, p, turns, own, d = 2, 7, 3, 5, 8
    length = p + turns * own
    made = [torch.randn(n, heads, length, d, requires_grad=True) for heads in (4, key_heads, key_heads)]
    grad = torch.randn(n, 4, length, d)
    found = []
    for attend in (attention._products, attention._fused):
        out = attend(*made, p, turns, d**-0.5 if scaling is None else scaling)
        found.append((out, *torch.autograd.grad(out, made, grad)))
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-5)


def test_rotation_is_that_of_transformers():
    torch.manual_seed(0)
    q = torch.randn(2, 7, 4, 16).transpose(1, 2).requires_grad_()
    k = torch.randn(2, 7, 2, 16).transpose(1, 2).requires_grad_()
    angles = torch.rand(1, 7, 8) * 6
    cos, sin = (torch.cat([each, each], -1) for each in (angles.cos(), angles.sin()))
    grads = [torch.randn(2, 4, 7, 16), torch.randn(2, 2, 7, 16)]
    results = []
    for turn in (rotary.rotate, rotary._theirs):
        out = turn(q, k, cos, sin)
        results.append([*out, *torch.autograd.grad(out, [q, k], grads)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert modeling_llama.apply_rotary_pos_emb is rotary.apply_rotary_pos_emb


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("bf16", [False, True])
def test_fused_adapters_are_those_of_peft(dropout, bf16):
    torch.manual_seed(0)
    llm = make_llm(vocab=64)
    add_lora(llm, Lora(rank=3, alpha=6.0, dropout=dropout), LLM_LINEARS)
    layer = next(module for module in llm.modules() if isinstance(module, FusedLora))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    nn.init.normal_(b)
    layer.base_layer.requires_grad_(False)
    x = torch.randn(2, 5, layer.in_features, requires_grad=True)
    grad, results = torch.randn(2, 5, layer.out_features), []
    for forward in (layer.fused, functools.partial(Linear.forward, layer)):
        torch.manual_seed(1)  # the same is dropped
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = forward(x)
        results.append((out, *torch.autograd.grad(out, [x, a, b], grad.to(out.dtype))))
    for found, expected in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        assert (found - expected).norm() < (0.02 if bf16 else 1e-5) * expected.norm()
    assert merge_lora(llm) == 14


@pytest.mark.parametrize("tie", [True, False])
def test_weights_rounded_once_are_those_that_autocast_rounds(tie):
    """The loss and its gradients bit for bit, and afterwards the weights as they were."""
    llm = make_llm(vocab=64, tie=tie)
    front = nn.Linear(6, llm.config.hidden_size)
    model = nn.ModuleDict({"front": front, "llm": llm})
    freeze_all_but(model, front)
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(2, 9, 6)

    def step() -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            loss = llm(inputs_embeds=front(x)).logits.float().logsumexp(-1).sum()
        return [loss, *torch.autograd.grad(loss, list(front.parameters()))]

    plain = step()
    with rounded_once(model):
        assert llm.lm_head.weight.dtype == torch.bfloat16 and front.weight.dtype == torch.float32
        for a, b in zip(plain, step(), strict=True):
            assert torch.equal(a, b)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.dtype == before[name].dtype, name


def test_weights_come_back_after_a_failure():
    llm = make_llm(vocab=64).requires_grad_(False)
    before = llm.lm_head.weight.clone()
    with pytest.raises(RuntimeError, match="stop"), rounded_once(llm):
        raise RuntimeError("stop")
    assert torch.equal(llm.lm_head.weight, before)


@pytest.mark.parametrize("isolate", [True, False])
def test_training_needs_no_cache(isolate):
    """Loss and gradients bit for bit as with the KV cache that a Llama fills by itself."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer).train()
    batch = Collator(tokenizer.pad_token_id, dict)(make_samples(model, tokenizer, 6, isolate, blind_every=1))
    del batch["sample_ids"], batch["tokens"]
    trained = [p for p in model.language_model.parameters() if p.requires_grad]
    results = []
    for kept in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            out = model(**batch, use_cache=kept)
        assert (out.past_key_values is not None) == kept
        results.append([out.loss, *torch.autograd.grad(out.loss, trained)])
    for plain, spared in zip(*results, strict=True):
        assert torch.equal(plain, spared)


def test_rows_need_no_mask():
    """Rows without a mask, as the collator makes them, give the loss of rows with one."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    freeze_all_but(model, model.connector)
    pixels = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    collate = Collator(
        tokenizer.pad_token_id, lambda keys: {"pixel_values": torch.stack([pixels[int(key[1:])] for key in keys])}
    )
    samples = make_samples(model, tokenizer, count=6, isolate=False, blind_every=0)
    batch = collate(samples)
    del batch["sample_ids"], batch["tokens"]
    lengths = torch.tensor([sample.length for sample in samples])
    mask = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
    losses = [model(**batch).loss, model(**batch, attention_mask=mask).loss]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
