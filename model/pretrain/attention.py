"""Attention as plain matrix products, registered with transformers under the name `plain`.
On a CPU its backward in bf16 is about twice as fast as that of the fused kernel (whose forward is faster)."""

import torch
from torch import nn
from transformers import AttentionInterface

NAME = "plain"


def plain_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Softmax attention over (batch, heads, length, width) without dropout; the mask is additive and broadcasts."""
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores = scores + attention_mask
    mixed = scores.softmax(-1, dtype=scores.dtype) @ value
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, plain_attention)
