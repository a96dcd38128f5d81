"""Pictures as the annotators' networks take them: resized, normalised, padded at the right and below where need be.
Their own image processors want torchvision, which has to match torch's build; these few lines do not."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from data_registry.errors import InputError, nearest

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

Size = tuple[int, int]  # height, width


def batch(
    pictures: Sequence[np.ndarray],
    size: Callable[[Size], Size],
    normal: tuple[Sequence[float], Sequence[float]],
    fill: float = 0.0,
    side: int | None = None,
) -> tuple[torch.Tensor, list[Size]]:
    """Pictures resized, normalised and padded at the right and below to one size.

    Args:
        size: (height, width) of a picture -> that to resize it to.
        normal: mean and standard deviation of the channels, for pixels in 0..1.
        fill: of the padding, after normalisation.
        side: of the square they are padded to; else to the largest height and width among them.

    Returns:
        (n, 3, h, w) float32, and each picture's height and width within it.
    """
    mean, std = (np.array(values, np.float32) for values in normal)
    made, sizes = [], []
    for rgb in pictures:
        height, width = size(rgb.shape[:2])
        image = Image.fromarray(rgb)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        made.append((np.asarray(image, np.float32) / 255 - mean) / std)
        sizes.append((height, width))
    shape = (side, side) if side else tuple(max(s[k] for s in sizes) for k in range(2))
    out = np.full((len(made), 3, *shape), fill, np.float32)
    for row, picture in zip(out, made, strict=True):
        row[:, : picture.shape[0], : picture.shape[1]] = picture.transpose(2, 0, 1)
    return torch.from_numpy(out), sizes


def exactly(side: int) -> Callable[[Size], Size]:
    """To a square, whatever the shape was."""
    return lambda size: (side, side)


def longest(side: int) -> Callable[[Size], Size]:
    """The longer side becomes `side`, the shape stays."""
    return lambda size: tuple(max(1, int(v * side / max(size) + 0.5)) for v in size)


def shortest(side: int, most: float) -> Callable[[Size], Size]:
    """The shorter side becomes `side`, unless the longer one would exceed `most`."""
    return lambda size: tuple(max(1, round(v * min(side / min(size), most / max(size)))) for v in size)


def nearest_side(side: int, multiple: int) -> Callable[[Size], Size]:
    """The side that is nearest to `side` by ratio to it becomes it; both multiples of `multiple` (DPT's rule)."""

    def to(size: Size) -> Size:
        scale = min((side / v for v in size), key=lambda s: abs(1 - s))
        return tuple(max(multiple, round(v * scale / multiple) * multiple) for v in size)

    return to


def load(classes: dict[str, type], task: str, where: str, options: dict) -> tuple[str, torch.nn.Module]:
    """The network of a folder or hub repository by its model_type, in fp32 and for inference.

    Args:
        classes: transformers' classes by model_type.
        where, options: as `model.backbones.hub.resolve` gives them.
    """
    from transformers import AutoConfig

    kind = AutoConfig.from_pretrained(where, **options).model_type
    if kind not in classes:
        raise InputError(
            f"params.yaml: annotate: {task}: {where} is of type {kind!r}, which does not fit; {nearest(kind, classes)}"
        )
    network = classes[kind].from_pretrained(where, use_safetensors=True, dtype=torch.float32, **options)
    return kind, network.eval()
