"""One question about one image, answered by a trained design: the code behind `spatialllm ask IMAGE QUESTION`.
With options ("... A. the car B. the dog") by the likelihood of their letters, as in scoring; without, in words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from data_registry.conversations import LETTERS, multiple_choice
from data_registry.errors import InputError
from tasks.training import machine, model_files

if TYPE_CHECKING:
    from model.backbones.encoders import VisionEncoder

_OPTION = re.compile(rf"(?:(?<=\s)|^)([{LETTERS}])[.)]\s+")


@dataclass(frozen=True)
class Answer:
    """What a design answered.

    Attributes:
        text: the option's words, or the generated answer.
        options: the options read from the question, none for a question without.
        probabilities: of the options, by the letters' likelihoods.
    """

    text: str
    options: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()


def split_options(question: str) -> tuple[str, tuple[str, ...]]:
    """The question proper and its options, in the order A, B, ...; none where it has fewer than two.

    >>> split_options("Which is closer? A. the car B. the dog")
    ('Which is closer?', ('the car', 'the dog'))
    """
    marks = list(_OPTION.finditer(question))
    if len(marks) < 2 or [mark[1] for mark in marks] != list(LETTERS[: len(marks)]):
        return question.strip(), ()
    ends = [mark.start() for mark in marks[1:]] + [len(question)]
    options = tuple(question[mark.end() : end].strip().rstrip(",;") for mark, end in zip(marks, ends, strict=True))
    return question[: marks[0].start()].strip(), options


def ask(folder: Path, image: Path, question: str, device: str = "cpu") -> Answer:
    """Answer a question about an image file.

    Args:
        folder: output of an instruct run.
        image: any file that Pillow reads; padded to a square, never cropped.
        device: where it is computed, as torch names it; on a GPU in bf16.

    Raises:
        InputError: no model there, no such image, or one that does not decode.
    """
    if not image.is_file():
        raise InputError(f"{image}: no such file; give the path of an image")
    if not question.strip():
        raise InputError("the question is empty; ask one, with or without options (A. ... B. ...)")
    import torch

    from model.backbones.images import decode_image, to_pixels
    from model.scoring import Asked, generate_answers, in_bf16, letter_logprobs

    picture = decode_image(image.read_bytes(), str(image), upright=True)
    model, tokenizer = model_files.load_model(folder, device)
    lookup, bf16 = None, in_bf16(device)
    if model.encoders:
        encoders = cast("Iterable[VisionEncoder]", model.encoders.values())
        pixels = to_pixels(picture, max(encoder.spec.image_size for encoder in encoders))
        lookup = lambda keys: {"pixel_values": torch.from_numpy(pixels)[None]}  # noqa: E731
    encoder = model_files.sample_encoder(model, tokenizer, model.config.template, 1 << 20, True)
    stem, options = split_options(question)
    if options:
        asked = Asked("", str(image), multiple_choice(stem, options), len(options))
        (logprobs,) = letter_logprobs(model, encoder, lookup, [asked], tokenizer.pad_token_id, bf16=bf16)
        probabilities = torch.tensor(logprobs).softmax(0).tolist()
        best = max(range(len(options)), key=probabilities.__getitem__)
        return Answer(options[best], options, tuple(probabilities))
    asked = Asked("", str(image), stem, 0)
    (text,) = generate_answers(model, tokenizer, encoder, lookup, [asked], bf16=bf16)
    return Answer(text)


def answer(root: Path, design: str, image: Path, question: str) -> str:
    """What a design of this repository answers, as text for the terminal: with options, each with its probability."""
    from tasks.identity import settings

    config = settings.load(root)
    folder = root / "runs" / config.scale / "instruct" / design
    reply = ask(folder, image, question, machine.device_of(config.runtime))
    if not reply.options:
        return reply.text
    lines = [reply.text]
    for letter, option, probability in zip(LETTERS, reply.options, reply.probabilities, strict=False):
        lines.append(f"  {letter}. {option}: {probability:.0%}")
    return "\n".join(lines)
