"""EfficientNet-Lite0 as a vision tower: seven stages of inverted residuals, ReLU6, no squeeze-and-excitation.
After `tensorflow/tpu:models/official/efficientnet/lite`. Its batch norms are folded into the convolutions: the encoder
is frozen, and a batch norm in a model that trains would quietly adapt its statistics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

# Per stage: blocks, kernel, stride of the first block, expansion, channels out.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
STEM = 32
BATCH_NORM_EPS = 1e-3


class EfficientNetLiteConfig(PreTrainedConfig):
    """Lite0 has no choices. `patch_size`: pixels per feature, each way; `hidden_size`: width of a feature."""

    model_type = "efficientnet_lite"

    patch_size: int = 32
    hidden_size: int = 320


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: by what the stride needs, the odd pixel at the bottom right."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        down, right = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:])
        return super().forward(F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2)))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; the input is added where shapes allow."""

    def __init__(self, inside: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = inside * expansion
        self.expand = SameConv(inside, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = SameConv(wide, out, 1)
        self.residual = stride == 1 and inside == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class EfficientNetLiteModel(PreTrainedModel):
    """Pixels (n, 3, s, s) to features (n, (s / 32)², 320) of the last stage, in reading order; no classifier."""

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig):
        super().__init__(config)
        self.stem = SameConv(3, STEM, 3, 2)
        blocks, inside = [], STEM
        for count, kernel, stride, expansion, out in STAGES:
            for index in range(count):
                blocks.append(InvertedResidual(inside, out, kernel, stride if index == 0 else 1, expansion))
                inside = out
        self.blocks = nn.ModuleList(blocks)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, output_hidden_states: bool = True) -> BaseModelOutput:
        """`hidden_states` holds the last stage alone: the earlier ones have other grids and widths."""
        x = F.relu6(self.stem(pixel_values))
        for block in self.blocks:
            x = block(x)
        features = x.flatten(2).mT
        return BaseModelOutput(last_hidden_state=features, hidden_states=(features,) if output_hidden_states else None)


def folded(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our state from that of `efficientnet-lite-pytorch`: every batch norm folded into its convolution.

    Raises:
        KeyError: a weight is missing.
    """

    def fold(conv: str, norm: str) -> dict[str, torch.Tensor]:
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        return {"weight": weights[f"{conv}.weight"] * scale[:, None, None, None], "bias": bias}

    state: dict[str, Any] = {f"stem.{k}": v for k, v in fold("_conv_stem", "_bn0").items()}
    parts = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1")}
    parts["project"] = ("_project_conv", "_bn2")
    for index in range(sum(count for count, *_ in STAGES)):
        there = f"_blocks.{index}."
        for own, (conv, norm) in parts.items():
            if index or own != "expand":  # the first block does not expand
                folded_part = fold(there + conv, there + norm)
                state |= {f"blocks.{index}.{own}.{k}": v for k, v in folded_part.items()}
    return state


AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
