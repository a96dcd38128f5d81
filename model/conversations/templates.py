"""Conversation templates as data: which text opens a conversation, asks for a reply and ends it.
`plain` for captions in stage 1, `vicuna_v1` for Vicuna, `chat` for the tokenizer's own chat template."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_registry.errors import InputError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = ("plain", "vicuna_v1", "chat")


@dataclass(frozen=True)
class Template:
    """A conversation is opening [image after_image] question reply answer closing, then again question ...

    Attributes:
        opening: before the image and the first question; the sequence's first token is part of it.
        after_image: between the image and the first question.
        question_again: before every later question.
        reply: between a question and its answer.
        lead: what an answer begins with (a space); it is part of the target.
        closing: after an answer; part of the target, and where generation stops.
        keep_question: whether the question is part of the sequence at all.
    """

    opening: str
    after_image: str
    question_again: str
    reply: str
    lead: str
    closing: str
    keep_question: bool = True


def build_template(name: str, tokenizer: "PreTrainedTokenizerBase", system: str = "") -> Template:
    """A template for a tokenizer. `plain` throws questions away: data for it must be captions.

    Raises:
        InputError: unknown template, or `chat` with a tokenizer that has no chat template.
    """
    if name not in TEMPLATES:
        raise InputError(f"unknown conversation template {name!r}; {nearest(name, TEMPLATES)}")
    bos, eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
    if name == "plain":
        return Template(bos, "", "", "", "", "\n", keep_question=False)
    if name == "vicuna_v1":
        opening = f"{bos}{system} USER: " if system else f"{bos}USER: "
        return Template(opening, "\n", "USER: ", " ASSISTANT:", " ", eos)
    return _from_chat_template(tokenizer, system)


def _from_chat_template(tokenizer: "PreTrainedTokenizerBase", system: str) -> Template:
    """Read the pieces off a rendered conversation, so that any model's own template works unchanged."""
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}/tokenizer_config.json: no chat_template; use the template vicuna_v1, "
            "or a tokenizer with one"
        )
    marks = ["⟦q0⟧", "⟦a0⟧", "⟦q1⟧", "⟦a1⟧"]
    messages = [{"role": "system", "content": system}] if system else []
    for at, mark in enumerate(marks):
        messages.append({"role": "user" if at % 2 == 0 else "assistant", "content": mark})
    rest, pieces = tokenizer.apply_chat_template(messages, tokenize=False), []
    for mark in marks:
        if mark not in rest:
            raise InputError(f"{tokenizer.name_or_path}: its chat template drops or repeats a message; cannot be used")
        before, rest = rest.split(mark, 1)
        pieces.append(before)
    opening, reply, between, _ = pieces
    closing = rest
    if not closing or not between.startswith(closing):
        raise InputError(f"{tokenizer.name_or_path}: its chat template ends no answer; cannot be used for training")
    lead = " " if reply.endswith(" ") else ""  # tokenizers join a space to the word after it
    return Template(opening, "\n", between.removeprefix(closing), reply.removesuffix(" "), lead, closing)
