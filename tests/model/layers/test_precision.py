"""bf16 products by fp32 units, beside torch's own kernels: nothing but the order of a sum differs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.layers.precision import mixed_precision

ROOT = Path(__file__).parents[3]

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
import torch
from torch import nn
from torch.nn import functional as F
if {ours}:
    from model.layers import precision
    precision.use_fp32_units()

torch.manual_seed(0)
x, y = torch.randn(2, 3, 7, 16, requires_grad=True), torch.randn(2, 3, 16, 5, requires_grad=True)
one = torch.randn(16, 5, requires_grad=True)
picture = torch.randn(2, 3, 8, 8, requires_grad=True)
linear, bare, conv = nn.Linear(16, 9), nn.Linear(16, 9, bias=False), nn.Conv2d(3, 4, 4, 4)
flat = torch.randn(7, 16, requires_grad=True)
parts = [x, y, one, picture, flat, *linear.parameters(), *bare.parameters(), *conv.parameters()]
with torch.autocast("cpu", torch.bfloat16):
    results = dict(
        linear=linear(x), bare=bare(x), product=x @ y, broadcast=x @ one, batched=torch.bmm(x[0], y[0]),
        plain=torch.mm(flat, one), added=torch.addmm(one[:1, :5], flat, one), conv=conv(picture),
        batch_added=torch.baddbmm(y[0, :, :1], x[0], y[0]), vector=x @ one[:, 0],
        einsum=torch.einsum("bhik,bhkj->bhij", x, y), twice=linear(x) @ linear.weight.to(torch.bfloat16),
    )
    with torch.autocast("cpu", enabled=False):
        results["outside"] = x @ y
sum(value.float().square().sum() for value in results.values()).backward()
results |= {{f"gradient {{k}}": part.grad for k, part in enumerate(parts)}}
torch.save({{name: value.detach() for name, value in results.items()}}, {out!r})
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """By torch's kernels and by ours."""
    folder = tmp_path_factory.mktemp("precision")
    for ours in (False, True):
        code = PROGRAM.format(root=str(ROOT), ours=ours, out=str(folder / f"{ours}.pt"))
        subprocess.run([sys.executable, "-c", code], check=True)
    return torch.load(folder / "False.pt"), torch.load(folder / "True.pt")


def test_products_and_gradients_are_those_of_bf16(results):
    expected, ours = results
    assert len(expected) == 23
    for name, value in expected.items():
        assert ours[name].dtype == value.dtype and ours[name].shape == value.shape, name
        # bf16 has 8 bits: sums in another order, rounded again, and gradients are sums of such.
        off = (ours[name].float() - value.float()).abs().max() / value.float().abs().max()
        assert off < 2**-6, f"{name}: off by {off:.2e} of the largest"


def test_outside_of_autocast_nothing_changes(results):
    assert torch.equal(*(part["outside"] for part in results))


def test_operands_are_rounded_and_sums_are_not():
    """A sum in bf16 of 1 and 256 times 1/256 would stay 1; rounding of the operands is what bf16 means."""
    ones, small = torch.ones(1, 257), torch.full((257, 1), 1 / 256)
    small[0] = 1.0
    with mixed_precision("cpu"):
        assert (ones @ small).item() == 2.0
        assert (torch.tensor([[1 + 2**-9]]) @ torch.ones(1, 1)).item() == 1.0


@pytest.mark.parametrize("enabled", [False, True])
def test_it_is_on_where_asked(enabled):
    with mixed_precision("cpu", enabled):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (torch.bfloat16 if enabled else torch.float32)


def test_muon_takes_the_steps_of_torchs_bf16():
    torch.manual_seed(0)
    start, gradients = torch.randn(12, 20), torch.randn(5, 12, 20)
    ends = []
    for ours in (False, True):
        weight = torch.nn.Parameter(start.clone())
        muon = torch.optim.Muon([weight], lr=0.1, weight_decay=0.0)
        for gradient in gradients:
            weight.grad = gradient.clone()
            with mixed_precision("cpu", ours):
                muon.step()
        ends.append(weight.detach() - start)
    assert ends[0].abs().max() > 0.1
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=0.02 * ends[0].abs().max().item())
