"""From the encoders' features to the LLM's embedding space: mixing on a common grid, and a small MLP.
Channel concatenation after `prismatic-vlms:prismatic/models/backbones/vision`, interleaved tokens with a connector per
encoder after `MMVP:LLaVA/llava/model/llava_arch.py`, mlp2x_gelu after LLaVA-1.5."""

from collections.abc import Sequence

import torch
from torch import nn

from data_registry.errors import InputError, nearest


def resize_grid(features: torch.Tensor, grid: int) -> torch.Tensor:
    """Features (n, g * g, width) of a square grid, resized bilinearly to (n, grid * grid, width)."""
    n, tokens, width = features.shape
    side = round(tokens**0.5)
    if side == grid:
        return features
    planes = features.mT.reshape(n, width, side, side)
    planes = nn.functional.interpolate(planes.float(), (grid, grid), mode="bilinear", align_corners=False)
    return planes.flatten(2).mT.to(features.dtype)


def mix_channels(features: Sequence[torch.Tensor], grid: int) -> torch.Tensor:
    """Channel concatenation: one (n, grid * grid, sum of widths) from one (n, g * g, width) per encoder."""
    return torch.cat([resize_grid(feature, grid) for feature in features], -1)


class MLPConnector(nn.Module):
    """mlp2x_gelu: two linear layers with a GELU between. (n, tokens, d_in) -> (n, tokens, d_out)."""

    def __init__(self, d_in: int, d_out: int, hidden: int | None = None):
        super().__init__()
        hidden = hidden or d_out
        self.linear_1 = nn.Linear(d_in, hidden)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(hidden, d_out)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear_2(self.act(self.linear_1(features)))


class NormedMLPConnector(MLPConnector):
    """mlp2x_gelu between two norms: features come in at unit scale, image tokens leave at the scale of words.

    Raw features of small encoders are tens of times as long as the words of a small LLM. Tokens of that length drown
    whatever its layers add to them, so that it cannot find an object by its name among them (measured: tokens of norm
    115 beside words of norm 1.7). Between the layers it is several times as wide as a small LLM, which is narrower than
    what it must tell apart.
    """

    def __init__(self, d_in: int, d_out: int):
        super().__init__(d_in, d_out, hidden=6 * d_out)
        self.gain = nn.Parameter(torch.ones(d_out))

    def match(self, embeddings: torch.Tensor) -> None:
        """Start with image tokens as long as the median word of an embedding table (vocabulary, d_out)."""
        with torch.no_grad():
            self.gain.fill_(embeddings.float().pow(2).mean(-1).sqrt().median().item())

    @staticmethod
    def unit(features: torch.Tensor) -> torch.Tensor:
        """Features at unit scale, as the first layer sees them."""
        return nn.functional.layer_norm(features, features.shape[-1:])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        tokens = super().forward(self.unit(features))
        return nn.functional.rms_norm(tokens, tokens.shape[-1:]) * self.gain.to(tokens.dtype)


class Connectors(nn.ModuleList):
    """One connector per encoder, for mixings that happen in the LLM's space."""


def interleave(tokens: Sequence[torch.Tensor]) -> torch.Tensor:
    """(n, encoders * t, d) from one (n, t, d) per encoder: every place's tokens side by side, in reading order."""
    return torch.stack(list(tokens), 2).flatten(1, 2)


def add(tokens: Sequence[torch.Tensor]) -> torch.Tensor:
    """(n, t, d), the sum of one (n, t, d) per encoder."""
    return torch.stack(list(tokens)).sum(0)


CONNECTORS = {"mlp2x_gelu": MLPConnector, "normed_mlp2x_gelu": NormedMLPConnector}
SEPARATE = {"interleave": interleave, "sum": add}  # mixings of connected tokens; `channel` mixes before connecting
MIXINGS = ("channel", *SEPARATE)


def build_connector(kind: str, widths: Sequence[int], d_out: int, mixing: str = "channel") -> nn.Module:
    """A connector by name for encoders of these widths: one for all (channel) or one for each.

    Raises:
        InputError: unknown kind or mixing, with the nearest known one.
    """
    if kind not in CONNECTORS:
        raise InputError(f"unknown connector {kind!r}; {nearest(kind, CONNECTORS)}")
    if mixing not in MIXINGS:
        raise InputError(f"unknown mixing {mixing!r}; {nearest(mixing, MIXINGS)}")
    if mixing == "channel":
        return CONNECTORS[kind](sum(widths), d_out)
    return Connectors(CONNECTORS[kind](width, d_out) for width in widths)


def connect(connector: nn.Module, features: Sequence[torch.Tensor], mixing: str, grid: int) -> torch.Tensor:
    """Image tokens (n, `tokens_per_image`, d_out) from one (n, g * g, width) per encoder, on a common grid."""
    if mixing == "channel":
        return connector(mix_channels(features, grid))
    return SEPARATE[mixing]([own(resize_grid(feature, grid)) for own, feature in zip(connector, features, strict=True)])


def tokens_per_image(mixing: str, grid: int, encoders: int) -> int:
    """How many tokens of the LLM's input an image takes."""
    return grid * grid * (encoders if mixing == "interleave" else 1)
