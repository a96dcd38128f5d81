"""The module that turns pixels into patch features, from any vision transformer or CNN that the study knows.
Which ones those are says `model/zoo.py`; a new family of them is an entry in TOWERS here."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_registry.errors import InputError, nearest
from model.backbones.hub import resolve
from model.zoo import ENCODERS, EncoderSpec, entry

# Vision model_type -> (configuration, model) of transformers, or "ours". A checkpoint that holds a text tower too says
# its own model_type (`clip`), which names the same vision tower.
TOWERS = {
    "clip_vision_model": ("CLIPVisionConfig", "CLIPVisionModel"),
    "dinov2": ("Dinov2Config", "Dinov2Model"),
    "vit_mae": ("ViTMAEConfig", "ViTMAEModel"),
    "siglip_vision_model": ("SiglipVisionConfig", "SiglipVisionModel"),
    "efficientnet_lite": ("EfficientNetLiteConfig", "EfficientNetLiteModel"),
}
WHOLE = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}


def tower_classes(kind: str, where: str) -> tuple[type, type]:
    """(configuration, model) of a vision model_type; InputError names `where` it stood and the nearest known one."""
    kind = WHOLE.get(kind, kind)
    if kind not in TOWERS:
        raise InputError(f"{where}: model_type {kind!r} is no vision encoder; {nearest(kind, TOWERS)}")
    if kind == "efficientnet_lite":
        from model.backbones import efficientnet as family
    else:
        import transformers as family
    config, model = TOWERS[kind]
    return getattr(family, config), getattr(family, model)


def encoder_spec(name: str, scale: str) -> EncoderSpec:
    """The table's entry; InputError names the nearest known encoder or the scales it has."""
    return entry(ENCODERS, "encoder", name, scale)


class VisionEncoder(nn.Module):
    """A frozen or LoRA-adapted vision tower with its own preprocessing.

    Args:
        name: the encoder's name in the table.
        spec: how it is read.
        tower: a vision model that returns hidden states of patches in reading order.
    """

    name: str
    spec: EncoderSpec
    grid: int
    width: int

    def __init__(self, name: str, spec: EncoderSpec, tower: nn.Module):
        super().__init__()
        self.name, self.spec, self.tower = name, spec, tower
        config = tower.config
        side = spec.image_size // config.patch_size
        if spec.image_size % config.patch_size:
            raise InputError(
                f"encoder {name!r}: image_size {spec.image_size} is no multiple of its patch size {config.patch_size}"
            )
        self.grid, self.width = side, config.hidden_size

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Patch features of a batch of square images.

        Args:
            pixels: (n, 3, s, s) in 0..1, or uint8 in 0..255; resized if s is not the encoder's own size.

        Returns:
            (n, grid * grid, width), row by row from the top left.
        """
        pixels = self.normalise(pixels)
        extra = self._extra_inputs(pixels)
        hidden = self.tower(pixels, output_hidden_states=True, **extra).hidden_states[self.spec.layer]
        return hidden[:, self.spec.skip :]

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tower's own input, (n, 3, size, size), from the pixels that `forward` takes."""
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        size = self.spec.image_size
        if pixels.shape[-1] != size:
            pixels = nn.functional.interpolate(
                pixels.float(), (size, size), mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
        mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (self.spec.mean, self.spec.std))
        return ((pixels - mean) / std).to(next(self.tower.parameters()).dtype)

    def _extra_inputs(self, pixels: torch.Tensor) -> dict[str, Any]:
        kind = self.tower.config.model_type
        if kind == "vit_mae":
            # MAE shuffles its patches by sorted noise even when it masks none: rising noise keeps them in order.
            n = self.grid * self.grid
            noise = torch.arange(n, dtype=torch.float32, device=pixels.device).expand(len(pixels), n)
            return {"noise": noise, "interpolate_pos_encoding": self.spec.image_size != self.tower.config.image_size}
        if kind == "clip_vision_model":
            return {"interpolate_pos_encoding": self.spec.image_size != self.tower.config.image_size}
        return {}  # DINOv2 always interpolates

    def describe(self) -> dict[str, Any]:
        """All that rebuilds this module without weights; JSON-able, and the same wherever its own weights lay."""
        vision = self.tower.config.to_dict()
        vision.pop("_name_or_path", None)
        return {"name": self.name, "spec": asdict(self.spec), "vision": vision}


def build_tower(vision: dict[str, Any]) -> nn.Module:
    """A vision tower with random weights from its configuration."""
    kind = vision.get("model_type", "")
    config_class, model_class = tower_classes(kind, "config.json")
    fields = {k: v for k, v in vision.items() if k not in ("model_type", "architectures", "transformers_version")}
    config = config_class(**fields)
    if kind == "vit_mae":
        config.mask_ratio = 0.0  # masking is for its pretraining
    return model_class(config)


def rebuild_encoder(description: dict[str, Any]) -> VisionEncoder:
    """The module of `VisionEncoder.describe`, with random weights."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in description["spec"].items()}
    return VisionEncoder(description["name"], EncoderSpec(**fields), build_tower(description["vision"]))


def load_encoder(name: str, scale: str, folder: Path) -> VisionEncoder:
    """A pretrained encoder from a foundation or stage-0 folder, in fp32.

    Args:
        folder: a transformers folder, or one with source.json {"repo", "revision"} that names the hub's.

    Raises:
        InputError: unknown name or scale, weights missing, or a normalisation that contradicts the table.
    """
    from transformers import PreTrainedConfig

    spec = encoder_spec(name, scale)
    where, options = resolve(folder)
    kind = PreTrainedConfig.get_config_dict(where, **options)[0].get("model_type", "")
    _, model_class = tower_classes(kind, f"{folder}/config.json")
    extra = {"mask_ratio": 0.0} if kind == "vit_mae" else {}
    tower = model_class.from_pretrained(where, use_safetensors=True, dtype=torch.float32, **extra, **options)
    _check_normalisation(name, spec, folder)
    return VisionEncoder(name, spec, tower.eval())


def _check_normalisation(name: str, spec: EncoderSpec, folder: Path) -> None:
    import json

    path = Path(folder) / "preprocessor_config.json"
    if not path.exists():
        return
    stated = json.loads(path.read_text())
    for key, own in (("image_mean", spec.mean), ("image_std", spec.std)):
        if key in stated and any(abs(a - b) > 1e-4 for a, b in zip(stated[key], own, strict=True)):
            raise InputError(
                f"{path}: {key} is {stated[key]}, but model/zoo.py has {own} for {name!r}: make them equal"
            )
