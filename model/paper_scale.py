"""Parameters, memory and time of designs at paper scale, from their architectures alone: nothing is fetched or built.
`spatialllm plan` and the tests take their figures from here; the tests hold them against models on the meta device.

Units: FLOPs count a multiplication and an addition as two; memory is in GiB; one GPU is an A100."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_registry.errors import InputError, nearest
from model.training.machine import PEAK_FLOPS
from model.zoo import ARCHITECTURES, ENCODERS

GIB = 2**30
GPUS = 8
CARDS_GIB = {"A100-80G": 80.0, "A100-40G": 40.0}
PEAK = PEAK_FLOPS["A100"]
SCALE = "paper"
GRADIENT_BYTES = 4  # they are accumulated in fp32

# LLaVA-1.5-7B (CLIP-L at 336 px, Vicuna-7B) on eight A100 (`haotian-liu/LLaVA:README.md`): samples and hours of each
# stage. How much of the cards' peak that is follows from the FLOPs below and is assumed of every other design.
PUBLISHED_H = {"align": (558_000, 3.5), "instruct": (665_000, 10.0)}
PUBLISHED_DESIGN = (("clip",), "vicuna-7b")
# Text tokens of a sample beside its image. Not published; assumed: a caption, and a dialogue of several turns.
CAPTION_TOKENS, DIALOGUE_TOKENS = 30, 300
PUBLISHED_TEXT = {"align": CAPTION_TOKENS, "instruct": DIALOGUE_TOKENS}


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters; `embedding` is the LLM's input embedding, a part of `llm` that multiplies nothing."""

    encoders: dict[str, int]
    connector: int
    llm: int
    embedding: int

    @property
    def total(self) -> int:
        """Of the whole design."""
        return sum(self.encoders.values()) + self.connector + self.llm

    def trained(self, stage: str, lora: int = 0) -> int:
        """What has gradients in a stage: adapt, align, or instruct in full or with adapters of so many parameters."""
        if stage == "adapt":
            return self.encoders["clip"]
        if stage == "align":
            return self.connector
        return self.connector + (lora or self.llm)


def architecture(name: str) -> dict[str, Any]:
    """A model's configuration fields; InputError names the nearest that there is."""
    if name not in ARCHITECTURES:
        raise InputError(f"model/zoo.py: ARCHITECTURES has no {name!r}; {nearest(name, ARCHITECTURES)}")
    return dict(ARCHITECTURES[name])


def encoder_parameters(name: str) -> int:
    """Of a vision transformer: patches, positions, layers, and what its family adds."""
    a = architecture(name)
    d, layers, patch = a["hidden_size"], a["num_hidden_layers"], a["patch_size"]
    inner = a.get("intermediate_size", d * a.get("mlp_ratio", 4))
    patches = (a["image_size"] // patch) ** 2
    mlp = 2 * d * inner + inner + d
    body = layers * (4 * (d * d + d) + mlp + 4 * d) + 3 * patch**2 * d
    pooling = d + 4 * (d * d + d) + 2 * d + mlp  # SigLIP's attention pooling, which this project does not use
    return (
        body
        + {
            "clip_vision_model": d + (patches + 1) * d + 4 * d,
            "dinov2": d + 2 * d + (patches + 1) * d + layers * 2 * d + 2 * d,
            "vit_mae": d + d + (patches + 1) * d + 2 * d,
            "siglip_vision_model": d + patches * d + 2 * d + pooling,
        }[a["model_type"]]
    )


def llm_parameters(name: str) -> int:
    """Of a Llama or Qwen3."""
    a = architecture(name)
    d, layers = a["hidden_size"], a["num_hidden_layers"]
    head = a.get("head_dim", d // a["num_attention_heads"])
    queries, keys = a["num_attention_heads"] * head, a["num_key_value_heads"] * head
    norms = 2 * d + (2 * head if a["model_type"] == "qwen3" else 0)
    layer = 2 * d * queries + 2 * d * keys + 3 * d * a["intermediate_size"] + norms
    return a["vocab_size"] * d * (1 if a["tie_word_embeddings"] else 2) + layers * layer + d


def lora_parameters(a: Mapping[str, Any], rank: int) -> int:
    """Of adapters on all linear layers of an LLM of this architecture but its head."""
    d, inner = a["hidden_size"], a["intermediate_size"]
    head = a.get("head_dim", d // a["num_attention_heads"])
    queries, keys = a["num_attention_heads"] * head, a["num_key_value_heads"] * head
    return a["num_hidden_layers"] * rank * (2 * (d + queries) + 2 * (d + keys) + 3 * (d + inner))


def grid_of(encoders: Sequence[str]) -> int:
    """Side of the common grid: the finest of the encoders'."""
    return max((ENCODERS[e][SCALE].image_size // architecture(e)["patch_size"] for e in encoders), default=0)


def sizes(encoders: Sequence[str], llm: str) -> Sizes:
    """A design's parameters, with channel concatenation and mlp2x_gelu."""
    d = architecture(llm)["hidden_size"]
    width = sum(architecture(e)["hidden_size"] for e in encoders)
    connector = width * d + d + d * d + d if encoders else 0
    return Sizes(
        {e: encoder_parameters(e) for e in encoders},
        connector,
        llm_parameters(llm),
        architecture(llm)["vocab_size"] * d,
    )


def model_states_gib(
    total: int, trained: int, zero_stage: int, gpus: int = GPUS, gradient_bytes: int = GRADIENT_BYTES
) -> float:
    """Memory per GPU of weights in bf16, gradients, and AdamW's fp32 copy and moments (12 bytes).

    ZeRO-1 shares out the optimizer's, ZeRO-2 the gradients too, ZeRO-3 the weights as well (arXiv 1910.02054, Fig. 1,
    whose gradients have 2 bytes).
    """
    weights = 2 * total / (gpus if zero_stage >= 3 else 1)
    gradients = gradient_bytes * trained / (gpus if zero_stage >= 2 else 1)
    optimizer = 12 * trained / (gpus if zero_stage >= 1 else 1)
    return (weights + gradients + optimizer) / GIB


def activations_gib(llm: str, tokens: int, targets: int) -> float:
    """Memory of one pass over so many tokens on one GPU with gradient checkpointing.

    The inputs of every layer, the inside of one (34 bytes a value, arXiv 2205.05198, Eq. 1 without the attention
    matrix, which is never kept), and the logits of the targets with their gradient.
    """
    a = architecture(llm)
    kept = tokens * a["hidden_size"] * (2 * a["num_hidden_layers"] + 34)
    return (kept + targets * a["vocab_size"] * (4 + 4 + 2)) / GIB


def flops_per_sample(stage: str, encoders: Sequence[str], llm: str, text_tokens: float, lora: bool = False) -> float:
    """Training FLOPs of one sample with its image, as LLaVA trains: with gradient checkpointing.

    A forward pass through the LLM is done twice; its weights' gradients are needed in a full stage 2 only.

    Args:
        stage: adapt (next-token where there is an `llm`, contrastive where it is ""), align or instruct.
    """
    seen = {e: (ENCODERS[e][SCALE].image_size // architecture(e)["patch_size"]) ** 2 for e in encoders}
    vision = sum(2 * encoder_parameters(e) * patches for e, patches in seen.items())
    if stage == "adapt":
        vision *= 3
    if not llm:
        return float(vision)
    parts, a = sizes(encoders, llm), architecture(llm)
    tokens = (grid_of(encoders) ** 2 if encoders else 0) + text_tokens
    attention = 2 * a["num_hidden_layers"] * a["hidden_size"] * tokens**2  # causal: half of all pairs
    forward = 2 * (parts.llm - parts.embedding) * tokens + attention
    passes = 4 if stage == "instruct" and not lora else 3
    return float(vision + 6 * parts.connector * tokens + passes * forward)


def utilisation(stage: str) -> float:
    """Share of the cards' peak that the published run of a stage reached, by these FLOPs."""
    kind = "instruct" if stage == "instruct" else "align"
    samples, hours = PUBLISHED_H[kind]
    flops = samples * flops_per_sample(kind, *PUBLISHED_DESIGN, PUBLISHED_TEXT[kind])
    return flops / (hours * 3600 * GPUS * PEAK)


def gpu_seconds(
    stage: str, encoders: Sequence[str], llm: str, samples: float, text_tokens: float, lora: bool = False
) -> float:
    """Seconds on one A100 for a stage run over so many samples, at the published run's utilisation."""
    flops = samples * flops_per_sample(stage, encoders, llm, text_tokens, lora)
    return flops / (utilisation(stage) * PEAK)
