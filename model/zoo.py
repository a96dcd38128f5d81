"""The vision encoders and LLMs of the design space, at every scale, in one table that loads no torch.
A new one is an entry here and one in params.yaml (foundation: where its weights come from); nothing else names it.
For a plan at paper scale its architecture is here too (`ARCHITECTURES`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from data_registry.errors import InputError, nearest

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


Spec = TypeVar("Spec")


@dataclass(frozen=True)
class EncoderSpec:
    """How an encoder is read: everything but its weights.

    Attributes:
        image_size: side in pixels of the square that it sees.
        layer: index into the hidden states (0 is the embedding, -1 the last layer, -2 the one before).
        mean, std: its own pixel normalisation, for pixels in 0..1.
        skip: leading tokens that are no patches (CLS, registers).
    """

    image_size: int
    layer: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    skip: int = 1


@dataclass(frozen=True)
class LLMSpec:
    """How a language model is spoken to.

    Attributes:
        template: conversation template of stage 2 and of scoring (`model/conversations/templates.py`).
        system: text that opens every conversation; the tiny LLMs know no such text and have none. A chat template
            may bring one of its own.
    """

    template: str
    system: str = ""


class Scales(dict[str, Spec]):
    """What a model is at each scale that has it, and `title`: its name in reports. A plain dict goes by its key."""

    def __init__(self, title: str, **scales: Spec) -> None:
        super().__init__(scales)
        self.title = title


VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_CLIP = {"mean": CLIP_MEAN, "std": CLIP_STD}
_IMAGENET = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
_HALF = {"mean": HALF, "std": HALF}

ENCODERS: dict[str, dict[str, EncoderSpec]] = {
    "clip": Scales(
        "CLIP",
        tiny=EncoderSpec(image_size=96, layer=-1, **_CLIP),
        paper=EncoderSpec(image_size=336, layer=-2, **_CLIP),  # ViT-L/14-336: 24 x 24
    ),
    "dinov2": Scales(
        "DINOv2",
        tiny=EncoderSpec(image_size=96, layer=-1, **_IMAGENET),
        paper=EncoderSpec(image_size=336, layer=-2, **_IMAGENET),  # ViT-L/14: 24 x 24
    ),
    "mae": Scales(
        "MAE",
        tiny=EncoderSpec(image_size=96, layer=-1, **_IMAGENET),
        paper=EncoderSpec(image_size=224, layer=-2, **_IMAGENET),  # ViT-L/16: 14 x 14, resized to the common grid
    ),
    "siglip2": Scales(
        "SigLIP 2",
        # So400m/14-384: 27 x 27. Its patches tile 378 of the 384 pixels, so 378 shows it the whole image.
        paper=EncoderSpec(image_size=378, layer=-2, skip=0, **_HALF),
    ),
    "efficientnet-lite0": Scales(
        "EfficientNet-Lite0",
        small=EncoderSpec(image_size=256, layer=-1, skip=0, **_IMAGENET),  # stride 32: 8 x 8
    ),
}

LLMS: dict[str, dict[str, LLMSpec]] = {
    "vicuna-7b": Scales("Vicuna-7B", tiny=LLMSpec("vicuna_v1"), paper=LLMSpec("vicuna_v1", VICUNA_SYSTEM)),
    "llama3-8b": Scales("Llama3-8B", tiny=LLMSpec("chat"), paper=LLMSpec("chat")),
    "qwen3-8b": Scales("Qwen3-8B", paper=LLMSpec("chat")),
    "smollm2-135m": Scales("SmolLM2-135M", small=LLMSpec("chat")),
}


def title(name: str) -> str | None:
    """The name of an encoder or an LLM in reports; None of what is neither."""
    scales = ENCODERS.get(name) or LLMS.get(name)
    return None if scales is None else getattr(scales, "title", name)


# What the paper scale's models are made of, as fields of their transformers configurations: enough to build them on
# the meta device and to count their parameters and FLOPs before anything is fetched.
ARCHITECTURES: dict[str, dict[str, object]] = {
    "clip": {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
    },
    "dinov2": {
        "model_type": "dinov2", "hidden_size": 1024, "mlp_ratio": 4, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 518, "patch_size": 14,
    },
    "mae": {
        "model_type": "vit_mae", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 224, "patch_size": 16,
    },
    "siglip2": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "image_size": 384, "patch_size": 14,
    },
    "vicuna-7b": {
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "tie_word_embeddings": False,
    },
    "llama3-8b": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False,
    },
    "qwen3-8b": {
        "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "tie_word_embeddings": False,
    },
}  # fmt: skip


def entry(table: Mapping[str, Mapping[str, Spec]], kind: str, name: str, scale: str) -> Spec:
    """The entry of a table for a scale; InputError names the nearest known name, or the scales it has."""
    if name not in table:
        raise InputError(f"model/zoo.py: unknown {kind} {name!r}; {nearest(name, table)}")
    if scale not in table[name]:
        raise InputError(
            f"model/zoo.py: {kind} {name!r} has no entry for scale {scale!r}; {nearest(scale, table[name])}"
        )
    return table[name][scale]
