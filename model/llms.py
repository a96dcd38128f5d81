"""The language models of the design space: one table, and how to load one with its tokenizer.
A new LLM is one entry in LLMS (and one in params.yaml: foundation, which says where its weights come from)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_registry.errors import InputError, nearest
from model.hub import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True)
class LLMSpec:
    """How a language model is spoken to.

    Attributes:
        template: conversation template of stage 2 and of scoring (`model/templates.py`).
        system: text that opens every conversation; the tiny LLMs know no such text and have none.
    """

    template: str
    system: str = ""


LLMS: dict[str, dict[str, LLMSpec]] = {
    "vicuna-7b": {"tiny": LLMSpec("vicuna_v1"), "paper": LLMSpec("vicuna_v1", VICUNA_SYSTEM)},
    "llama3-8b": {"tiny": LLMSpec("chat"), "paper": LLMSpec("chat")},
}


def llm_spec(name: str, scale: str) -> LLMSpec:
    """The table's entry; InputError names the nearest known LLM or the scales it has."""
    if name not in LLMS:
        raise InputError(f"model/llms.py: unknown LLM {name!r}; {nearest(name, LLMS)}")
    if scale not in LLMS[name]:
        raise InputError(f"model/llms.py: LLM {name!r} has no entry for scale {scale!r}; {nearest(scale, LLMS[name])}")
    return LLMS[name][scale]


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
