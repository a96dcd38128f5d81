"""Tiny MAE: three quarters of a picture's patches are hidden and painted back from the rest (He et al. 2022)."""

import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from model.layers.precision import mixed_precision
from model.pretrain.vision import VisionSize


def build(size: VisionSize, decoder_width: int = 96, decoder_layers: int = 2) -> ViTMAEForPreTraining:
    """An MAE with random weights."""
    return ViTMAEForPreTraining(
        ViTMAEConfig(
            **size.transformer,
            intermediate_size=4 * size.width,
            decoder_hidden_size=decoder_width,
            decoder_num_hidden_layers=decoder_layers,
            decoder_num_attention_heads=4,
            decoder_intermediate_size=4 * decoder_width,
            mask_ratio=0.75,
            norm_pix_loss=True,
        )
    )


def reconstruction_loss(model: ViTMAEForPreTraining, pixels: torch.Tensor) -> torch.Tensor:
    """Mean squared error on the hidden patches, each normalised by its own mean and deviation."""
    with mixed_precision("cpu"):
        return model(pixels).loss.float()
