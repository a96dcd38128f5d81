"""Rotary position embedding in a quarter of transformers' passes over memory, for GPUs, where these are its cost."""

import torch
from transformers.models.llama import modeling_llama

_theirs = modeling_llama.apply_rotary_pos_emb


class _Rotated(torch.autograd.Function):
    """x (n, heads, L, d) turned by angles whose cos and sin are (n or 1, 1, L, d / 2), in the halves' pairs."""

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx, grad):
        return _turn(grad, *ctx.saved_tensors, -1), None, None


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, way: int) -> torch.Tensor:
    (a, b), out = x.chunk(2, -1), torch.empty_like(x)
    first, second = out.chunk(2, -1)
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-way)
    torch.mul(b, cos, out=second).addcmul_(a, sin, value=way)
    return out


def rotate(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of queries and keys (n, heads, L, d) by cos and sin (n or 1, L, d), whose halves are equal."""
    half = q.shape[-1] // 2
    cos, sin = (table[..., :half].unsqueeze(unsqueeze_dim).to(q.dtype) for table in (cos, sin))
    return _Rotated.apply(q, cos, sin), _Rotated.apply(k, cos, sin)


def apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=1):
    """Llama's own on a CPU, whose results are kept."""
    return (_theirs if q.device.type == "cpu" else rotate)(q, k, cos, sin, unsqueeze_dim)


modeling_llama.apply_rotary_pos_emb = apply_rotary_pos_emb  # its attention looks it up by name in every call
