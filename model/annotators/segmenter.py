"""Masks of boxes: SAM or SAM 2. One mask per box, with the network's own estimate of how good it is."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import interpolate

from model.annotators.pictures import IMAGENET, batch, exactly, load, longest


class Segmenter:
    """A promptable segmenter.

    Args:
        kind: "sam", which pads pictures to its square, or "sam2", which stretches them.
    """

    def __init__(self, kind: str, network: torch.nn.Module):
        self.kind, self.network = kind, network
        size = (
            network.config.vision_config.image_size
            if kind == "sam"
            else network.config.prompt_encoder_config.image_size
        )
        self.size = int(size if isinstance(size, int) else size[0])

    @classmethod
    def load(cls, where: str, options: dict, device: str) -> "Segmenter":
        """From a folder or hub repository (`model.backbones.hub.resolve`)."""
        from transformers import Sam2Model, SamModel

        # SAM 2's published weights are those of its video model, of which the image model is a part
        kind, network = load({"sam": SamModel, "sam2": Sam2Model, "sam2_video": Sam2Model}, "segmenter", where, options)
        return cls("sam" if kind == "sam" else "sam2", network.to(device))

    @torch.no_grad()
    def __call__(
        self, pictures: Sequence[np.ndarray], boxes: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each picture (masks (n, h, w) bool, scores (n,) in 0..1) of its boxes (n, 4) in pixels."""
        empty = [(np.zeros((0, *p.shape[:2]), bool), np.zeros(0)) for p in pictures]
        asked = [k for k, own in enumerate(boxes) if len(own)]
        if not asked:
            return empty
        chosen = [pictures[k] for k in asked]
        size = longest(self.size) if self.kind == "sam" else exactly(self.size)
        pixels, sizes = batch(chosen, size, IMAGENET, side=self.size)
        prompts = torch.zeros(len(asked), max(len(boxes[k]) for k in asked), 4)  # shorter lists end in empty boxes
        for row, k, (height, width) in zip(prompts, asked, sizes):
            scale = np.array([width, height] * 2) / np.array(pictures[k].shape[1::-1] * 2)
            row[: len(boxes[k])] = torch.from_numpy(boxes[k] * scale)
        device = self.network.device
        output = self.network(pixel_values=pixels.to(device), input_boxes=prompts.to(device), multimask_output=False)
        for masks, scores, k, inner in zip(output.pred_masks, output.iou_scores, asked, sizes):
            n = len(boxes[k])
            empty[k] = self._upscale(masks[:n, 0], inner, pictures[k].shape[:2]), scores[:n, 0].clip(0, 1).cpu().numpy()
        return empty

    def _upscale(self, masks: torch.Tensor, inner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """Mask logits (n, m, m) as masks of the picture's own size; `inner` is what the picture fills of the square."""
        sized = np.empty((len(masks), *size), bool)
        for row, whole in zip(
            sized, masks[:, None, None].float(), strict=True
        ):  # one by one: large pictures, many boxes
            if self.kind == "sam":
                whole = interpolate(whole, (self.size, self.size), mode="bilinear", align_corners=False)
                whole = whole[..., : inner[0], : inner[1]]
            whole = interpolate(whole, size, mode="bilinear", align_corners=False)
            row[:] = (whole[0, 0] > 0).cpu().numpy()
        return sized
