"""Loading a language model with its tokenizer; which ones there are says `model/zoo.py`."""

from pathlib import Path
from typing import TYPE_CHECKING

from model.backbones.hub import resolve
from model.zoo import LLMS, LLMSpec, entry

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def llm_spec(name: str, scale: str) -> LLMSpec:
    """The table's entry; InputError names the nearest known LLM or the scales it has."""
    return entry(LLMS, "LLM", name, scale)


def load_llm(folder: Path, dtype: str = "float32") -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A causal language model and its tokenizer from a foundation folder (or the hub repository it names)."""
    import torch
    from transformers import AutoModelForCausalLM

    where, options = resolve(folder)
    llm = AutoModelForCausalLM.from_pretrained(where, use_safetensors=True, dtype=getattr(torch, dtype), **options)
    return llm, load_tokenizer(folder)


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a foundation or instruct folder; it pads, with the end token where it has no pad of its own."""
    from transformers import AutoTokenizer

    where, options = resolve(folder)
    tokenizer = AutoTokenizer.from_pretrained(where, **options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
