"""The model: layouts, padding, cache and head change nothing but speed; every design builds, trains and generates."""

import pytest
import torch

from data_registry.errors import InputError
from data_registry.paper import TABLE_2
from model.conversations.collate import Collator
from model.conversations.samples import Conversation, SampleEncoder
from model.conversations.templates import build_template
from model.modeling import SpatialLLMForConditionalGeneration
from tests.model.tiny_models import make_encoder, make_llm, make_model, make_tokenizer

QUESTIONS = (
    ("which object is closer to the camera ?", "the car"),
    ("what colour is the mug ?", "green"),
    ("is the car left of the chair ? answer yes or no .", "yes"),
)


def encoder_for(model, tokenizer, isolate):
    template = build_template(model.config.template, tokenizer)
    return SampleEncoder(template, tokenizer, model.config.image_token_id, model.config.image_tokens, 512, isolate)


def batch_of(model, tokenizer, conversations, pixels, isolate):
    encoder = encoder_for(model, tokenizer, isolate)
    images = {f"i{k}": pixels[k] for k in range(len(pixels))}
    collate = Collator(tokenizer.pad_token_id, lambda keys: {"pixel_values": torch.stack([images[k] for k in keys])})
    batch = collate([encoder.encode(c) for c in conversations])
    del batch["sample_ids"], batch["tokens"]
    return batch


def prompts(model, tokenizer, questions, pixels, side="left"):
    encoder = encoder_for(model, tokenizer, True)
    rows = [encoder.prefix(True) + encoder.question(q) for q in questions]
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for r, row in enumerate(rows):
        where = slice(length - len(row), length) if side == "left" else slice(0, len(row))
        ids[r, where], mask[r, where] = torch.tensor(row), 1
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels[: len(rows)]}


@pytest.mark.parametrize("template", ["plain", "vicuna_v1", "chat"])
def test_isolated_turns_equal_separate_samples(tokenizer, pixels, template):
    model = make_model(template=template, tokenizer=tokenizer)
    whole = Conversation("a", "i0", QUESTIONS)
    other = Conversation("b", "i1", QUESTIONS[:2])  # fewer turns: padded with an empty one
    together = batch_of(model, tokenizer, [whole, other], pixels, isolate=True)
    loss = model(**together).loss * len(together["labels"])
    loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    separate = 0.0
    for conversation in (whole, other):
        for turn in conversation.turns:
            one = batch_of(model, tokenizer, [Conversation("x", conversation.image, (turn,))], pixels, isolate=False)
            part = model(**one).loss * len(one["labels"])
            part.backward()
            separate += part.detach()
    torch.testing.assert_close(loss.detach(), separate, rtol=1e-5, atol=1e-5)
    for name, p in model.named_parameters():
        if name in grads:
            torch.testing.assert_close(p.grad, grads[name], rtol=1e-4, atol=1e-4, msg=name)


def test_following_turns_do_see_each_other(model, tokenizer, pixels):
    """The guard of the test above: without isolation the same conversation has another loss."""
    conversation = Conversation("a", "i0", QUESTIONS)
    isolated = model(**batch_of(model, tokenizer, [conversation], pixels, isolate=True)).loss
    following = model(**batch_of(model, tokenizer, [conversation], pixels, isolate=False)).loss
    assert abs(isolated - following) > 1e-3


@pytest.mark.parametrize("isolate", [True, False])
def test_padding_changes_nothing(model, tokenizer, pixels, isolate):
    short = Conversation("a", "i0", QUESTIONS[1:2])
    long = Conversation("b", "i1", QUESTIONS)
    alone = batch_of(model, tokenizer, [short], pixels, isolate)
    both = batch_of(model, tokenizer, [short, long], pixels, isolate)
    others = batch_of(model, tokenizer, [long], pixels, isolate)
    total = sum(model(**b).loss * len(b["labels"]) for b in (alone, others))
    torch.testing.assert_close(model(**both).loss * len(both["labels"]), total, rtol=1e-5, atol=1e-5)


def test_head_where_needed_equals_full_loss(model, tokenizer, pixels):
    batch = batch_of(model, tokenizer, [Conversation("a", "i0", QUESTIONS)], pixels, isolate=False)
    needed = model(**batch).loss
    labels, positions = batch.pop("labels"), batch.pop("label_positions")
    logits = model(**batch).logits
    full = torch.full_like(batch["input_ids"], -100).flatten()
    full[positions + 1] = labels
    shifted = full.view_as(batch["input_ids"])[:, 1:].flatten()
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), shifted, ignore_index=-100)
    torch.testing.assert_close(needed, expected)
    torch.testing.assert_close(model(**batch, labels=full.view_as(batch["input_ids"])).loss, expected)


def test_generation_with_cache_equals_without(model, tokenizer, pixels):
    inputs = prompts(model, tokenizer, [QUESTIONS[0][0]], pixels)
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": tokenizer.pad_token_id, "eos_token_id": None}
    cached = model.generate(**inputs, **options, use_cache=True)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    for _ in range(12):
        logits = model(input_ids=ids, attention_mask=mask, pixel_values=inputs["pixel_values"]).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
        mask = torch.ones_like(ids)
    assert torch.equal(cached, ids)
    assert len(set(cached[0, -12:].tolist())) > 1
    assert torch.equal(model.generate(**inputs, **options, use_cache=False), ids)
    inputs["image_features"] = model.encode_images(inputs.pop("pixel_values"))
    assert torch.equal(model.generate(**inputs, **options), ids)


def test_batch_equals_batches_of_one(model, tokenizer, pixels):
    questions = [q for q, _ in QUESTIONS]
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": tokenizer.pad_token_id, "eos_token_id": None}
    together = model.generate(**prompts(model, tokenizer, questions, pixels), **options)[:, -8:]
    for r, question in enumerate(questions):
        alone = model.generate(**prompts(model, tokenizer, [question], pixels[r : r + 1]), **options)[:, -8:]
        assert torch.equal(together[r : r + 1], alone)


def test_image_matters_and_belongs_to_its_row(model, tokenizer, pixels):
    inputs = prompts(model, tokenizer, [QUESTIONS[0][0]] * 2, pixels)
    logits = model(**inputs).logits[:, -1]
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    swapped = model(**{**inputs, "pixel_values": pixels[:2].flip(0)}).logits[:, -1]
    torch.testing.assert_close(swapped, logits.flip(0), rtol=1e-4, atol=1e-4)


def test_precomputed_features_equal_live_ones(model, tokenizer, pixels):
    batch = batch_of(model, tokenizer, [Conversation("a", "i0", QUESTIONS)], pixels, isolate=True)
    live = model(**batch).loss
    batch["image_features"] = model.encode_images(batch.pop("pixel_values"))
    torch.testing.assert_close(model(**batch).loss, live)


@pytest.mark.parametrize(
    ("tie", "mixing"), [(True, "channel"), (False, "channel"), (True, "interleave"), (True, "sum")]
)
def test_save_and_load(tmp_path, tokenizer, pixels, tie, mixing):
    from transformers import AutoConfig, AutoModelForCausalLM

    model = make_model(("clip", "mae"), tokenizer=tokenizer, tie=tie, mixing=mixing)
    model.save_pretrained(tmp_path)
    assert [p.name for p in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    assert AutoConfig.from_pretrained(tmp_path).image_tokens == (32 if mixing == "interleave" else 16)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, SpatialLLMForConditionalGeneration)
    inputs = prompts(model, tokenizer, [QUESTIONS[0][0]], pixels)
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    tied = loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert tied == tie


def test_placeholders_must_fit_the_images(model, tokenizer, pixels):
    inputs = prompts(model, tokenizer, [QUESTIONS[0][0]], pixels)
    with pytest.raises(InputError, match="16 image placeholders in the text for 2 images"):
        model(**{**inputs, "pixel_values": pixels[:2]})
    inputs.pop("pixel_values")
    with pytest.raises(InputError, match="no pixel_values"):
        model(**inputs)


@pytest.mark.parametrize("row", TABLE_2, ids=lambda row: str(getattr(row, "row", row)))
def test_all_designs_of_table_2(row, pixels):
    """Each row of the paper's Table 2 at random tiny size: build, one training step, generate."""
    tokenizer = make_tokenizer()
    names = row.encoders
    template, hidden = ("vicuna_v1", 48) if row.llm == "vicuna-7b" else ("chat", 64)
    llm = make_llm(len(tokenizer), hidden=hidden)
    model = SpatialLLMForConditionalGeneration.assemble(
        [make_encoder(name) for name in names], llm, len(tokenizer), template
    )
    batch = batch_of(model, tokenizer, [Conversation("a", "i0", QUESTIONS)], pixels, isolate=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model(**batch).loss
    before.backward()
    optimizer.step()
    model.eval()
    assert model(**batch).loss < before
    ids = model.generate(**prompts(model, tokenizer, [QUESTIONS[0][0]], pixels), max_new_tokens=3, do_sample=False)
    assert ids.shape[1] > 16
