"""Scoring: letters as single tokens, likelihoods equal to plain next-token ones, answers in words read strictly."""

import pytest
import torch

from data_registry.errors import InputError
from model.conversations.samples import SampleEncoder
from model.conversations.templates import build_template
from model.scoring import Asked, generate_answers, in_bf16, letter_ids, letter_logprobs, parse_letter
from tests.model.tiny_models import make_model


def encoder_of(model, tokenizer):
    config = model.config
    return SampleEncoder(
        build_template(config.template, tokenizer), tokenizer, config.image_token_id, config.image_tokens, 512, True
    )


@pytest.mark.parametrize("template", ["vicuna_v1", "chat"])
def test_letter_likelihoods_equal_one_by_one(tokenizer, pixels, template):
    model = make_model(template=template, tokenizer=tokenizer)
    encoder = encoder_of(model, tokenizer)
    texts = ["which is closer ?", "what ?", "is the red car left of the blue chair ?", "how many ?"]
    asked = [Asked(f"q{k}", f"i{k % 2}", text, 2 + k % 2) for k, text in enumerate(texts)]
    images = lambda keys: {"pixel_values": torch.stack([pixels[int(key[1:])] for key in keys])}  # noqa: E731
    found = letter_logprobs(model, encoder, images, asked, 0, batch=2, bf16=False)
    for question, row in zip(asked, found, strict=True):
        ids = torch.tensor([encoder.prefix(True) + encoder.question(question.text)])
        with torch.no_grad():
            logits = model(input_ids=ids, **images([question.image])).logits[0, -1]
        expected = logits.log_softmax(-1)[letter_ids(encoder)][: question.options]
        torch.testing.assert_close(torch.tensor(row), expected, rtol=1e-4, atol=1e-4)


def test_blind_likelihoods(tokenizer):
    model = make_model(encoders=(), tokenizer=tokenizer)
    encoder = encoder_of(model, tokenizer)
    asked = [Asked(f"q{k}", "i0", f"which {k} ?", 2) for k in range(11)]
    found = letter_logprobs(model, encoder, None, asked, 0, bf16=False)
    ids = torch.tensor([encoder.prefix(False) + encoder.question(asked[9].text)])
    with torch.no_grad():
        expected = model(input_ids=ids).logits[0, -1].log_softmax(-1)[letter_ids(encoder)][:2]
    torch.testing.assert_close(torch.tensor(found[9]), expected, rtol=1e-4, atol=1e-4)


def test_generated_answers_do_not_depend_on_their_batch(model, tokenizer, pixels):
    encoder = encoder_of(model, tokenizer)
    images = lambda keys: {"pixel_values": torch.stack([pixels[int(key[1:])] for key in keys])}  # noqa: E731
    asked = [Asked("a", "i0", "which ?", 0), Asked("b", "i1", "is the red car left of the chair ?", 0)]
    together = generate_answers(model, tokenizer, encoder, images, asked, max_new_tokens=6)
    alone = [generate_answers(model, tokenizer, encoder, images, [q], max_new_tokens=6)[0] for q in asked]
    assert together == alone


def test_answers_are_generated_in_bf16_with_a_cache_on_a_gpu_and_in_fp32_on_a_cpu(model, tokenizer, pixels):
    assert in_bf16("cuda:1") and not in_bf16("cpu")
    encoder = encoder_of(model, tokenizer)
    asked = [Asked("a", "i0", "which ?", 0), Asked("b", "i1", "is the red car left of the chair ?", 0)]
    images = lambda keys: {"pixel_values": torch.stack([pixels[int(key[1:])] for key in keys])}  # noqa: E731
    seen = []

    def see(layer, given, states):
        seen.append((states.dtype, states.shape[1]))

    model.get_decoder().layers[-1].mlp.register_forward_hook(see)
    for bf16, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        seen.clear()
        answers = generate_answers(model, tokenizer, encoder, images, asked, max_new_tokens=4, bf16=bf16)
        assert len(answers) == 2 and {each for each, _ in seen} == {dtype}
        assert seen[0][1] > 1 and {length for _, length in seen[1:]} == {1}, "a word at a time after the question"


def test_letter_of_several_tokens_is_refused(model, tokenizer):
    encoder = encoder_of(model, tokenizer)
    encoder._cache[" B"] = (5, 6)
    with pytest.raises(InputError, match="option letter 'B' as"):
        letter_ids(encoder)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A", 0), ("B.", 1), ("(B) the dog", 1), ("A. the car", 0), ("the dog", 1), ("It is the car.", 0),
        ("the car and the dog", None), ("C", None), ("", None), ("Both", None),
    ],
)  # fmt: skip
def test_answers_in_words(answer, expected):
    assert parse_letter(answer, ["the car", "the dog"]) == expected
