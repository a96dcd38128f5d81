"""Mixed precision in bf16, at the speed of fp32 on CPUs without bf16 units.

There torch's own kernels are many times slower than in fp32 (`make bench-precision`). In their place a product is
computed in fp32 from operands rounded to bf16, and its result is rounded to bf16: what bf16 units do as well, which sum
in fp32. The order of the sum is another one, as it is between any two kinds of processor. Where the CPU has such units
(AVX-512, AMX) nothing is replaced.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
_library: torch.library.Library | None = None


def mixed_precision(device: torch.device | str, enabled: bool = True) -> torch.autocast:
    """`torch.autocast` in bf16 on this kind of device; on a CPU without bf16 units at the speed of fp32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled)


def bf16_products(device: torch.device | str) -> contextlib.AbstractContextManager:
    """For code that multiplies bf16 tensors by itself (Muon): fp32 units where the CPU has none for bf16."""
    slow = torch.device(device).type == "cpu" and not has_bf16_units()
    return mixed_precision(device) if slow else contextlib.nullcontext()


def has_bf16_units() -> bool:
    """Whether products in bf16 run on units of this CPU."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _round(x: Any) -> Any:
    return x.to(torch.bfloat16) if isinstance(x, torch.Tensor) and x.is_floating_point() else x


class _Product(torch.autograd.Function):
    """(..., n, k) @ (..., k, m) in bf16, by fp32 units; keeps the rounded operands for the backward pass."""

    @staticmethod
    def forward(ctx, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        return torch.matmul(a.float(), b.float()).bfloat16()

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        a, b = ctx.saved_tensors
        grad = grad.float()
        of_a = torch.matmul(grad, b.float().mT).bfloat16() if ctx.needs_input_grad[0] else None
        of_b = torch.matmul(a.float().mT, grad).bfloat16() if ctx.needs_input_grad[1] else None
        return of_a, of_b


class _Linear(torch.autograd.Function):
    """x (..., k), weight (m, k), bias (m,) or None in bf16, by fp32 units."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x.float(), weight.float(), None if bias is None else bias.float()).bfloat16()

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.float()
        flat = grad.reshape(-1, grad.shape[-1])
        of_x = torch.matmul(grad, weight.float()).bfloat16() if ctx.needs_input_grad[0] else None
        of_weight = (flat.mT @ x.reshape(-1, x.shape[-1]).float()).bfloat16() if ctx.needs_input_grad[1] else None
        of_bias = flat.sum(0).bfloat16() if ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias


def _matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if a.dim() > 1 and b.dim() > 1 and a.shape[:-2] == b.shape[:-2]:
        return _Product.apply(a, b)
    return torch.matmul(a.float(), b.float()).bfloat16()  # broadcast: autograd sums the gradients


def _addmm(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> torch.Tensor:
    return torch.addmm(c.float(), a.float(), b.float(), beta=beta, alpha=alpha).bfloat16()


def _baddbmm(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> torch.Tensor:
    return torch.baddbmm(c.float(), a.float(), b.float(), beta=beta, alpha=alpha).bfloat16()


def _conv2d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, *rest: Any) -> torch.Tensor:
    return F.conv2d(x.float(), weight.float(), None if bias is None else bias.float(), *rest).bfloat16()


_PRODUCTS: dict[str, Callable[..., torch.Tensor]] = {
    "linear": lambda x, weight, bias=None: _Linear.apply(x, weight, bias),
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "conv2d": _conv2d,
}


def _under_autocast(product: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The product as autocast calls it: operands are rounded, and it is left for what happens inside."""

    @functools.wraps(product)
    def call(*operands: Any, **options: Any) -> torch.Tensor:
        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
            return product(*map(_round, operands), **options)

    return call


def use_fp32_units() -> None:
    """Let autocast on this CPU compute its products by fp32 units; a second call changes nothing."""
    global _library
    if _library is None:
        _library = torch.library.Library("aten", "IMPL")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that kernels are replaced, which is the point
            for name, product in _PRODUCTS.items():
                _library.impl(name, _under_autocast(product), "AutocastCPU")


if not has_bf16_units():
    use_fp32_units()
