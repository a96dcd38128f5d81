"""Attention for isolated turns: many questions about one image in one row, none of which sees another.
The image is computed once and shared; the result equals a separate row for each question."""

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

IMPLEMENTATION = "isolated_turns"


def isolated_turns_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    prefix_length: int | None = None,
    turns: int | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention over rows laid out as a prefix of P tokens and T turns of l tokens each: L = P + T * l.

    The prefix attends to itself causally, a turn to the prefix and causally to itself. Per row that is
    P² + T·l·(P + l) scores instead of L² (a quarter, with 64 image tokens and 8 turns of 30). On a CPU they are plain
    matrix products, which with matrix units run about three times as fast as the masked flash kernel; on a GPU two
    calls of the flash kernel. Without `turns` it is transformers' own scaled dot product attention.

    Args:
        query, key, value: (n, heads, L, d); fewer key heads where they are shared.

    Returns:
        (n, L, heads, d).
    """
    if turns is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    attend = _products if query.device.type == "cpu" else _fused
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, prefix_length, turns, scaling).transpose(1, 2), None


def _fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, p: int, turns: int, scaling: float
) -> torch.Tensor:
    """Each turn as a sequence of its own whose keys are the prefix's and then its own; (n, heads, L, d)."""
    options = {"scale": scaling, "enable_gqa": query.shape[1] > key.shape[1]}
    own = (query.shape[2] - p) // turns
    # Split once: a slice's gradient is a tensor of zeros as large as the whole, and two slices' are added up.
    parts = [part.split([p, turns * own], 2) for part in (query, key, value)]
    (_, query_turns), keys, values = parts

    def apart(part: torch.Tensor) -> torch.Tensor:  # (n, turns, heads, own, d)
        return part.unflatten(2, (turns, own)).transpose(1, 2)

    def with_prefix(prefix: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        return torch.cat([prefix[:, None].expand(-1, turns, -1, -1, -1), apart(part)], 3).flatten(0, 1)

    out_prefix = scaled_dot_product_attention(*(prefix for prefix, _ in parts), is_causal=True, **options)
    later = causal_lower_right(own, p + own)
    out_turns = scaled_dot_product_attention(
        apart(query_turns).flatten(0, 1), with_prefix(*keys), with_prefix(*values), attn_mask=later, **options
    )
    # Joined as the kernels lay them out and the next layer reads them, (n, L, heads, d): one copy instead of three.
    out_turns = out_turns.transpose(1, 2).unflatten(0, (-1, turns)).flatten(1, 2)
    return torch.cat([out_prefix.transpose(1, 2), out_turns], 1).transpose(1, 2)


def _products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, p: int, turns: int, scaling: float
) -> torch.Tensor:
    """The same by matrix products alone; (n, heads, L, d)."""
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    n, heads, length, d = query.shape
    own = (length - p) // turns
    query = query * scaling

    prefix_keys, prefix_values = key[:, :, :p], value[:, :, :p]
    out_prefix = _softmax(_causal(query[:, :, :p] @ prefix_keys.mT)) @ prefix_values

    turn_queries = query[:, :, p:]
    folded = (n, heads, turns, own, d)
    to_prefix = (turn_queries @ prefix_keys.mT).view(n, heads, turns, own, p)
    to_own = _causal(turn_queries.reshape(folded) @ key[:, :, p:].reshape(folded).mT)
    weights = _softmax(torch.cat([to_prefix, to_own], -1))
    out_turns = weights[..., :p].reshape(n, heads, turns * own, p) @ prefix_values
    out_turns = out_turns + (weights[..., p:] @ value[:, :, p:].reshape(folded)).view(n, heads, turns * own, d)
    return torch.cat([out_prefix, out_turns], 2)


def _causal(scores: torch.Tensor) -> torch.Tensor:
    size = scores.shape[-1]
    later = torch.ones(size, size, dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(later, float("-inf"))


def _softmax(scores: torch.Tensor) -> torch.Tensor:
    # The kernel sums in fp32 whatever the input; keeping bf16 in and out halves the memory traffic.
    with torch.autocast(scores.device.type, enabled=False):
        return torch.softmax(scores, -1)


# cuDNN's kernel copies from pageable memory in every call, which empties the queue of a GPU; flash does not.
torch.backends.cuda.enable_cudnn_sdp(False)
AttentionInterface.register(IMPLEMENTATION, isolated_turns_attention)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
