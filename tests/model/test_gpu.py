"""On a CUDA device: the kernels that run there, and training, features and scores beside those of the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.tuners.lora import Linear
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from model.backbones.features import extract
from model.layers import attention
from model.layers.lora import FusedLora
from model.layers.norms import AutocastRMSNorm
from model.scoring import Asked, generate_answers, letter_logprobs
from model.training.adaptation import LLM_LINEARS, Lora, add_lora
from model.training.frozen import rounded_once
from model.training.recipe import Machine
from tasks.training.model_files import sample_encoder
from tests.model.tiny_models import make_encoder, make_llm, make_model, make_tokenizer, train_tiny

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@pytest.mark.parametrize("key_heads", [32, 8])
@pytest.mark.parametrize("d", [64, 128])
def test_turns_run_in_the_flash_kernel(key_heads, d):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    torch.manual_seed(0)
    n, p, turns, own = 2, 601, 5, 40
    made = [
        torch.randn(n, heads, p + turns * own, d, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        for heads in (32, key_heads, key_heads)
    ]
    grad = torch.randn(n, 32, p + turns * own, d, device="cuda", dtype=torch.bfloat16)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # or an error
        out = attention._fused(*made, p, turns, d**-0.5)
        found = [out, *torch.autograd.grad(out, made, grad)]
    whole = [each.detach().float().requires_grad_() for each in made]
    out = attention._products(*whole, p, turns, d**-0.5)
    for ours, expected in zip(found, [out, *torch.autograd.grad(out, whole, grad.float())], strict=True):
        assert apart(ours, expected) < 0.01


def test_the_norm_is_transformers():
    torch.manual_seed(0)
    reference, ours = LlamaRMSNorm(256).cuda(), AutocastRMSNorm(256).cuda()
    x = torch.randn(3, 50, 256, device="cuda") * 4
    grad = torch.randn_like(x)
    a, b = x.clone().requires_grad_(), x.bfloat16().requires_grad_()
    reference(a).backward(grad)
    with torch.autocast("cuda", torch.bfloat16):
        found = ours(b)
    assert found.dtype == torch.bfloat16
    found.backward(grad.bfloat16())
    assert apart(found, reference(a)) < 0.01 and apart(b.grad, a.grad) < 0.01
    assert apart(ours.weight.grad, reference.weight.grad) < 0.01


def test_adapters_are_pefts():
    torch.manual_seed(0)
    llm = make_llm(vocab=64)
    add_lora(llm, Lora(rank=4, alpha=8.0, dropout=0.0), LLM_LINEARS)
    layer = next(module for module in llm.modules() if isinstance(module, FusedLora)).cuda()
    layer.base_layer.requires_grad_(False)
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(2, 5, layer.in_features, device="cuda", requires_grad=True)
    for enabled, limit in ((False, 1e-5), (True, 0.01)):
        with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            found, expected = layer(x), Linear.forward(layer, x)
        assert found.dtype == expected.dtype and apart(found, expected) < limit
        ours, theirs = (torch.autograd.grad(each.float().square().sum(), x)[0] for each in (found, expected))
        assert apart(ours, theirs) < limit


def test_training_fills_no_cache():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer).cuda()
    words = torch.arange(3, 12, device="cuda")[None]
    assert model(input_ids=words, labels=words).past_key_values is None
    assert model(input_ids=words).past_key_values is not None


def test_weights_rounded_once_are_those_that_autocast_rounds():
    llm = make_llm(vocab=64).cuda().requires_grad_(False)
    x = torch.randn(2, 9, llm.config.hidden_size, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        plain = llm(inputs_embeds=x).logits
        with rounded_once(llm):
            assert torch.equal(llm(inputs_embeds=x).logits, plain)


LOSSES = """
import json, sys; sys.path.insert(0, {here!r})
from pathlib import Path
from tests.model.tiny_models import train_tiny
from model.training.deepspeed import deepspeed_config
from model.training.recipe import Machine, Recipe
zero, found = {zero}, []
machine = Machine(per_device_batch=4, log_steps=1, device={device!r}, gradient_checkpointing=zero == 3,
                  deepspeed=deepspeed_config(zero) if zero else None)
recipe = Recipe(lr=1e-3, global_batch=8, epochs=1)
train_tiny(Path({work!r}), recipe=recipe, machine=machine, lora={lora}, blind_every=0,
           on_log=lambda step, values: found.append(values["loss"]))
print(json.dumps(found))
"""


def losses(work: Path, device: str, zero: int, lora: int) -> list[float]:
    """Of a training in a process of its own: DeepSpeed leaves its state behind."""
    here = str(Path(__file__).parents[2])
    code = LOSSES.format(here=here, work=str(work / device), device=device, zero=zero, lora=lora)
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("zero", [0, 2, 3])
def test_training_takes_the_steps_of_the_cpu(tmp_path, lora, zero):
    found, expected = losses(tmp_path, "cuda", zero, lora), losses(tmp_path, "cpu", 0, lora)
    assert len(found) > 5
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_a_resumed_training_ends_in_the_same_weights(tmp_path):
    machine = Machine(per_device_batch=4, checkpoint_steps=3, log_steps=1, device="cuda")
    whole, _ = train_tiny(tmp_path / "whole", machine=machine)
    train_tiny(tmp_path / "broken", machine=machine, frac=0.5)
    resumed, result = train_tiny(tmp_path / "broken", machine=machine)
    assert result.resumed_from > 0
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a.cpu(), b.cpu()), name


def test_utilisation_and_memory_of_the_gpu_are_logged(tmp_path, monkeypatch):
    from model.training import trainer

    monkeypatch.setattr(trainer, "peak_flops", lambda device: 1e12 if device.type == "cuda" else None)
    lines = []
    machine = Machine(per_device_batch=4, log_steps=1, device="cuda")
    train_tiny(tmp_path, machine=machine, on_log=lambda step, values: lines.append(values))
    assert all(0 < line["system/mfu"] < 1 and 0 < line["system/peak_memory_gib"] < 2 for line in lines)


@pytest.mark.parametrize("kind", ["clip", "dinov2", "mae", "siglip2"])
def test_features_are_those_of_the_cpu(kind):
    encoder = make_encoder(kind)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    for bf16, limit in ((False, 0.002), (True, 0.02)):
        (expected,) = extract(encoder.cpu(), [pixels], bf16)
        (found,) = extract(encoder.cuda(), [pixels], bf16)
        assert apart(torch.from_numpy(found), torch.from_numpy(expected)) < limit


def test_answers_are_those_of_the_cpu():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    encoder = sample_encoder(model, tokenizer, model.config.template, 512, True)
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    asked = [Asked(f"q{k}", f"i{k % 3}", f"which is closer ? A. car B. {'mug ' * k}", 2) for k in range(7)]
    images = lambda keys: {"pixel_values": torch.stack([pixels[int(key[1:])] for key in keys])}  # noqa: E731
    for bf16, limit in ((False, 1e-3), (True, 0.15)):
        expected = letter_logprobs(model.cpu(), encoder, images, asked, tokenizer.pad_token_id, bf16=bf16)
        found = letter_logprobs(model.cuda(), encoder, images, asked, tokenizer.pad_token_id, bf16=bf16)
        np.testing.assert_allclose(found, expected, atol=limit)
        assert (np.argmax(found, 1) == np.argmax(expected, 1)).all()
    words = [
        generate_answers(model.to(device), tokenizer, encoder, images, asked, max_new_tokens=3, bf16=bf16)
        for device, bf16 in (("cpu", False), ("cuda", False), ("cuda", True))
    ]
    assert words[0] == words[1] and sum(a == b for a, b in zip(words[0], words[2], strict=True)) > len(asked) // 2
