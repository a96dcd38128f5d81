"""Answering questions with options: the likelihood of each option's letter, and free generation as a cross-check.
Questions about one image share its prefix, as isolated turns do in training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from data_registry.errors import InputError
from model.conversations.collate import Collator, ImageLookup
from model.conversations.samples import EncodedSample, EncodedTurn, SampleEncoder
from model.layers.precision import mixed_precision
from model.modeling import SpatialLLMForConditionalGeneration

LETTERS = "ABCD"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the model reads it (options included), the image's key or None, and how many options it has."""

    id: str
    image: str | None
    text: str
    options: int


def in_bf16(device: torch.device | str) -> bool:
    """Whether answers are computed in bf16 where no parameter says so: on a GPU alone, as a CPU's are versioned."""
    return torch.device(device).type == "cuda"


def letter_ids(encoder: SampleEncoder, count: int = len(LETTERS)) -> list[int]:
    """The token of each option letter as an answer begins with it.

    Raises:
        InputError: a letter is not exactly one token, or two are the same: their likelihoods could not be compared.
    """
    tokens = []
    for letter in LETTERS[:count]:
        ids = encoder.answer(letter)
        if len(ids) != 1 or ids[0] in tokens:
            raise InputError(f"the tokenizer writes the option letter {letter!r} as {list(ids)}; it must be one token")
        tokens.append(ids[0])
    return tokens


@torch.inference_mode()
def letter_logprobs(
    model: SpatialLLMForConditionalGeneration,
    encoder: SampleEncoder,
    images: ImageLookup | None,
    questions: Sequence[Asked],
    pad_token_id: int,
    batch: int = 32,
    bf16: bool = True,
) -> list[list[float]]:
    """Log-probability of each question's letters as the next token, in the questions' order.

    Args:
        encoder: isolated turns, with the model's own template.
        images: from image keys to pixels or features; None for a blind model.
        batch: images in one forward pass.
    """
    device = model.device
    letters = torch.tensor(letter_ids(encoder), device=device)
    by_image: dict[str | None, list[int]] = {}
    for index, question in enumerate(questions):
        # A blind row may hold any questions: eight to a row, as in training.
        image = question.image if images is not None else f"{index // 8}"
        by_image.setdefault(image, []).append(index)
    rows = sorted(by_image.items(), key=lambda row: (len(row[1]), max(len(questions[k].text) for k in row[1]), row[1]))
    by_question: list[list[float]] = [[] for _ in questions]
    collate = Collator(pad_token_id, images)
    for start in range(0, len(rows), batch):
        samples, order = [], []
        for image, members in rows[start : start + batch]:
            turns = []
            for k in members:
                asked = encoder.question(questions[k].text)
                turns.append(EncodedTurn((*asked, int(letters[0])), (False,) * len(asked) + (True,)))
            key = image if images is not None else None
            samples.append(
                EncodedSample(questions[members[0]].id, key, encoder.prefix(key is not None), tuple(turns), True)
            )
            order += members
        inputs = collate(samples)
        del inputs["sample_ids"], inputs["tokens"]
        inputs.pop("labels")
        states = inputs.pop("label_positions").to(device)
        moved = {name: _to(value, device) for name, value in inputs.items()}
        with mixed_precision(device, bf16):
            hidden = model.hidden_states(**moved).flatten(0, 1)[states]
            logits = model.get_output_embeddings()(hidden)
        logprobs = logits.float().log_softmax(-1)[:, letters].tolist()
        for k, row in zip(order, logprobs, strict=True):
            by_question[k] = row[: questions[k].options]
    return by_question


@torch.inference_mode()
def generate_answers(
    model: SpatialLLMForConditionalGeneration,
    tokenizer,
    encoder: SampleEncoder,
    images: ImageLookup | None,
    questions: Sequence[Asked],
    max_new_tokens: int = 48,
    batch: int = 32,
    bf16: bool = False,
) -> list[str]:
    """Greedy answers in words, batched with padding on the left; autocast rounds the weights once for a whole batch."""
    answers = []
    for start in range(0, len(questions), batch):
        part = questions[start : start + batch]
        rows = [encoder.prefix(images is not None) + encoder.question(question.text) for question in part]
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for r, row in enumerate(rows):
            ids[r, length - len(row) :], mask[r, length - len(row) :] = torch.tensor(row), 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        if images is not None:
            inputs |= images([question.image for question in part])
        moved = {name: _to(value, model.device) for name, value in inputs.items()}
        with mixed_precision(model.device, bf16):
            out = model.generate(**moved, max_new_tokens=max_new_tokens, do_sample=False)
        answers += [text.strip() for text in tokenizer.batch_decode(out[:, length:], skip_special_tokens=True)]
    return answers


def parse_letter(answer: str, options: Sequence[str]) -> int | None:
    """The option that a free answer names, by its letter or its words; None where it names none or several.

    An answer that cannot be parsed is wrong, never a guess.
    """
    text = answer.strip().rstrip(".").strip()
    head = text.split(".")[0].split(")")[0].strip(" (")
    if len(head) == 1 and head in LETTERS[: len(options)]:
        return LETTERS.index(head)
    named = [k for k, option in enumerate(options) if option.lower() in text.lower()]
    return named[0] if len(named) == 1 else None


def _to(value, device):
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return [_to(item, device) for item in value] if isinstance(value, list) else value
