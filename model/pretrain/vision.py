"""What the pretraining of all encoders shares: their sizes, their normalisation, and random views of pictures.
A view moves, mirrors and tints a picture, and its maps with it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from model.pretrain import attention


@dataclass(frozen=True)
class VisionSize:
    """Side of the picture and of a patch in pixels, width of the stream, layers, attention heads."""

    image: int = 96
    patch: int = 12
    width: int = 192
    layers: int = 6
    heads: int = 3

    @property
    def transformer(self) -> dict[str, int | str]:
        """The fields that all vision configurations of transformers share."""
        return {
            "image_size": self.image,
            "patch_size": self.patch,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "attn_implementation": attention.NAME,
        }


@dataclass
class Views:
    """A batch of pictures after random moves, with maps that moved along.

    Attributes:
        images: (n, s, s, 3) uint8.
        body: (n, c, c) int8, object per cell; -1 where none is.
        nocs: (n, c, c, 3) int8.
        boxes: (n, 8, 4) float32 in pixels.
    """

    images: np.ndarray
    body: np.ndarray
    nocs: np.ndarray
    boxes: np.ndarray


def random_views(
    images: np.ndarray, body: np.ndarray, nocs: np.ndarray, boxes: np.ndarray, rng: np.random.Generator, cells: int = 4
) -> Views:
    """Each picture mirrored or not, and moved by up to `cells` map cells; its edge pixels fill the gap.

    What is mirrored stays true: a thing's left is then its right, so the third coordinate of `nocs` changes sign.
    """
    n, size = images.shape[:2]
    grid = body.shape[1]
    stride = size // grid
    out = Views(np.empty_like(images), np.empty_like(body), np.empty_like(nocs), boxes.copy())
    flips = rng.random(n) < 0.5
    moves = rng.integers(-cells, cells + 1, (n, 2))
    for i in range(n):
        picture, where, point = images[i], body[i], nocs[i]
        if flips[i]:
            picture, where = picture[:, ::-1], where[:, ::-1]
            point = point[:, ::-1] * np.array([1, 1, -1], np.int8)
            out.boxes[i] = out.boxes[i][:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [size, 0, size, 0]
        dy, dx = moves[i]
        rows, columns = np.arange(size) - dy * stride, np.arange(size) - dx * stride
        out.images[i] = picture[rows.clip(0, size - 1)][:, columns.clip(0, size - 1)]
        rows, columns = np.arange(grid) - dy, np.arange(grid) - dx
        inside = ((rows >= 0) & (rows < grid))[:, None] & ((columns >= 0) & (columns < grid))[None]
        clipped = np.ix_(rows.clip(0, grid - 1), columns.clip(0, grid - 1))
        out.body[i] = np.where(inside, where[clipped], -1)
        out.nocs[i] = point[clipped]
        out.boxes[i] += np.array([dx, dy, dx, dy]) * stride
    return out


def to_pixels(
    images: np.ndarray, mean: tuple[float, float, float], std: tuple[float, float, float], tint: torch.Generator | None
) -> torch.Tensor:
    """(n, 3, s, s) normalised float pixels, with random brightness, contrast and warmth if `tint` is given."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    if tint is not None:
        shape = len(pixels), 1, 1, 1
        gain = 1 + 0.2 * (torch.rand(shape, generator=tint) * 2 - 1)
        shift = 0.1 * (torch.rand(shape, generator=tint) * 2 - 1)
        warmth = 0.05 * (torch.rand(len(pixels), 3, 1, 1, generator=tint) * 2 - 1)
        pixels = (pixels - 0.5) * gain + 0.5 + shift + warmth
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def head(width: int, inner: int, out: int) -> nn.Sequential:
    """A two-layer projection head."""
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, out))
