"""LoRA and its merge into plain weights: on a CLIP vision tower in stage 0, by a contrastive or a next-token loss; on
an LLM in stage 2.
Settings after `MaxZanella/CLIP-LoRA`; equal captions and captions of one image count as matches."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from model.backbones.encoders import VisionEncoder
from model.modeling import SpatialLLMForConditionalGeneration

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Lora:
    """Rank, scale (the update is alpha / rank times B·A) and dropout of the adapters on q, k and v."""

    rank: int = 2
    alpha: float = 1.0
    dropout: float = 0.25


ATTENTION = ("q_proj", "k_proj", "v_proj")
LLM_LINEARS = (*ATTENTION, "o_proj", "gate_proj", "up_proj", "down_proj")  # all but the head, as LLaVA's LoRA has them


def add_lora(tower: nn.Module, lora: Lora, targets: Sequence[str] = ATTENTION) -> list[nn.Parameter]:
    """Put adapters on the target layers (by the last part of their names), in place; returns their parameters."""
    from peft import LoraConfig, inject_adapter_in_model

    from model.layers.lora import FusedLora

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(targets),
        bias="none",
    )
    config._register_custom_module({nn.Linear: FusedLora})  # peft's way to bring a layer of one's own
    inject_adapter_in_model(config, tower)
    return [p for name, p in tower.named_parameters() if "lora_" in name]


def merge_lora(tower: nn.Module) -> int:
    """Fold the adapters into the weights they adapt and remove them, in place; returns how many there were."""
    from peft.tuners.lora import LoraLayer

    adapters = [(name, module) for name, module in tower.named_modules() if isinstance(module, LoraLayer)]
    for name, module in adapters:
        module.merge()
        parent, _, last = name.rpartition(".")
        setattr(tower.get_submodule(parent), last, module.get_base_layer())
    return len(adapters)


@dataclass(frozen=True, slots=True)
class Pair:
    """An image with one caption of it."""

    id: str
    image: str
    caption: str


@torch.no_grad()
def encode_captions(
    clip: "CLIPModel", tokenizer: "PreTrainedTokenizerBase", captions: Sequence[str], batch: int = 256
) -> tuple[torch.Tensor, int]:
    """Normalised text features (n, d) of captions, and how many were cut at the text tower's length (77 tokens)."""
    limit = clip.config.text_config.max_position_embeddings
    features, cut = [], 0
    for start in range(0, len(captions), batch):
        part = list(captions[start : start + batch])
        cut += sum(len(ids) > limit for ids in tokenizer(part)["input_ids"])
        tokens = tokenizer(part, truncation=True, max_length=limit, padding=True, return_tensors="pt")
        inputs = {name: tokens[name].to(clip.device) for name in ("input_ids", "attention_mask")}
        features.append(F.normalize(clip.get_text_features(**inputs).pooler_output.float(), dim=-1))
    return torch.cat(features).cpu(), cut


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, matches: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross entropy against all matches of a batch, each an equal share; summed over the pairs.

    Args:
        images, texts: (n, d), normalised.
        matches: (n, n) bool, symmetric, true on the diagonal.
        scale: the inverse temperature.
    """
    logits = images @ texts.T * scale
    target = matches / matches.sum(1, keepdim=True)
    both = F.cross_entropy(logits, target, reduction="sum") + F.cross_entropy(logits.T, target, reduction="sum")
    return both / 2


class ContrastiveAdapter(nn.Module):
    """CLIP's image side with adapters against text features that are computed once: {"loss"} from a batch.

    Args:
        clip: its text tower is not used here; its vision tower has adapters.
        encoder: that vision tower with its preprocessing.
    """

    def __init__(self, clip: "CLIPModel", encoder: VisionEncoder):
        super().__init__()
        self.encoder, self.projection = encoder, clip.visual_projection
        self.register_buffer("scale", clip.logit_scale.detach().exp(), persistent=False)

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Recompute activations, as the Trainer asks of a model of transformers."""
        self.encoder.tower.activation_checkpointing_enable(**options)

    def forward(
        self,
        pixel_values: torch.Tensor,
        text_features: torch.Tensor,
        matches: torch.Tensor,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> dict[str, torch.Tensor]:
        """Loss of a batch of pairs; `labels` only counts them."""
        pooled = self.encoder.tower(self.encoder.normalise(pixel_values)).pooler_output
        images = F.normalize(self.projection(pooled).float(), dim=-1)
        count = len(labels) if num_items_in_batch is None else num_items_in_batch
        # DeepSpeed's Trainer hands floats over in bf16.
        return {"loss": contrastive_loss(images, text_features.float(), matches, self.scale) / count}


class PairCollator:
    """Batches of pairs for `ContrastiveAdapter`.

    Args:
        images: from image keys to {"pixel_values"}.
        features: (captions, d) text features, with the row of each caption.
    """

    def __init__(self, images: Callable[[Sequence[str]], dict[str, Any]], features: torch.Tensor, rows: dict[str, int]):
        self.images, self.features, self.rows = images, features, rows

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        rows = torch.tensor([self.rows[pair.caption] for pair in pairs])
        number = {key: k for k, key in enumerate(Counter(pair.image for pair in pairs))}
        image = torch.tensor([number[pair.image] for pair in pairs])
        return {
            **self.images([pair.image for pair in pairs]),
            "text_features": self.features[rows],
            "matches": (rows[:, None] == rows) | (image[:, None] == image),
            "labels": rows,
            "sample_ids": [pair.id for pair in pairs],
        }


def train_adapters_of(model: SpatialLLMForConditionalGeneration, adapters: Sequence[nn.Parameter]) -> int:
    """For the next-token loss: adapters and a throwaway connector train, the LLM does not; returns how many."""
    model.requires_grad_(False)
    for p in (*adapters, *model.connector.parameters()):
        p.requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
