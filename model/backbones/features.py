"""Features of frozen encoders, computed once and read many times: the maths, without knowing where they are kept.
They are the same numbers that a live encoder gives in training: bf16 arithmetic where that is on, rounded to fp16."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from model.backbones.encoders import VisionEncoder
from model.layers.precision import mixed_precision


def feature_shape(encoder: VisionEncoder) -> tuple[int, int]:
    """(grid * grid, width): the features of one image."""
    return encoder.grid * encoder.grid, encoder.width


def feature_bytes(encoder: VisionEncoder, images: int) -> int:
    """Size of the features of so many images in fp16."""
    tokens, width = feature_shape(encoder)
    return 2 * tokens * width * images


@torch.no_grad()
def extract(encoder: VisionEncoder, batches: Iterable[np.ndarray], bf16: bool) -> Iterator[np.ndarray]:
    """Features (n, grid * grid, width) in fp16 for each batch of pixels (n, 3, s, s) uint8."""
    device = next(encoder.parameters()).device
    encoder.eval()
    for batch in batches:
        pixels = torch.from_numpy(batch).to(device)
        with mixed_precision(device, bf16):
            yield encoder(pixels).half().cpu().numpy()
