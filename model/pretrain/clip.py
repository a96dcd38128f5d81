"""Tiny CLIP: pictures and their captions are drawn together, all other pairs of the batch apart."""

from collections.abc import Iterable

import torch
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from model.layers.precision import mixed_precision
from model.pretrain import attention
from model.pretrain.vision import VisionSize

START, END = "<|startoftext|>", "<|endoftext|>"
TEXT_LENGTH = 32


def build(
    size: VisionSize, tokenizer: PreTrainedTokenizerFast, text_width: int = 128, text_layers: int = 2
) -> CLIPModel:
    """A CLIP with random weights and a small text tower."""
    vision = {**size.transformer, "intermediate_size": 4 * size.width, "hidden_act": "gelu"}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": text_width,
        "intermediate_size": 4 * text_width,
        "num_hidden_layers": text_layers,
        "num_attention_heads": 4,
        "max_position_embeddings": TEXT_LENGTH,
        "hidden_act": "gelu",
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "attn_implementation": attention.NAME,
    }
    return CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=text_width))


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A lower-case tokenizer of whole words, with bytes for words that no caption had."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in (START, END)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=START, eos_token=END, pad_token=END, model_max_length=TEXT_LENGTH
    )


def contrastive_loss(
    model: CLIPModel, pixels: torch.Tensor, tokens: dict[str, torch.Tensor], captions: list[str]
) -> torch.Tensor:
    """Symmetric cross entropy over all pairs of the batch (`openai/CLIP`, Radford et al. 2021, Fig. 3).

    Equal captions count as matches of each other's pictures: template captions repeat, and a repeated one is no
    negative.
    """
    with mixed_precision("cpu"):
        seen = model.visual_projection(model.vision_model(pixels).pooler_output)
        read = model.text_projection(model.text_model(**tokens).pooler_output)
    seen, read = F.normalize(seen.float(), dim=-1), F.normalize(read.float(), dim=-1)
    logits = seen @ read.T * model.logit_scale.exp().clamp(max=100)
    number = {text: i for i, text in enumerate(dict.fromkeys(captions))}
    ids = torch.tensor([number[text] for text in captions])
    target = (ids[:, None] == ids[None]).float()
    target = target / target.sum(1, keepdim=True)  # symmetric: equal captions form blocks
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
