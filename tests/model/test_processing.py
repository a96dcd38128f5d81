"""The processor: loaded by the Auto classes, the tokens and pixels of scoring, batches equal to batches of one."""

import pytest
import torch
from PIL import Image

from data_registry.errors import InputError
from model.processing import SpatialLLMImageProcessor, SpatialLLMProcessor
from model.scoring import Asked, generate_answers
from tests.model.tiny_models import make_model, make_tokenizer

QUESTIONS = ("which object is closer to the camera ?", "what colour is the mug ?", "is the car left ?")
OPTIONS = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}


@pytest.fixture(scope="module")
def images():
    made = []
    for k in range(len(QUESTIONS)):
        pixels = torch.randint(0, 256, (20 + 9 * k, 40, 3), generator=torch.Generator().manual_seed(k))
        made.append(Image.fromarray(pixels.to(torch.uint8).numpy()))
    return made


def as_generated(model, processor, images, questions):
    inputs = processor(images=images, text=questions)
    out = model.generate(**inputs, **OPTIONS, pad_token_id=processor.tokenizer.pad_token_id)
    return out[:, inputs["input_ids"].shape[1] :]


@pytest.mark.parametrize("mixing", ["channel", "interleave"])
def test_the_auto_classes_load_it_and_answers_stay_the_same(tmp_path, images, mixing):
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForCausalLM, AutoProcessor

    tokenizer = make_tokenizer()
    model = make_model(template="chat", tokenizer=tokenizer, mixing=mixing)
    processor = SpatialLLMProcessor.of(model, tokenizer)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py")) and not list(tmp_path.glob("*.bin"))
    loaded, own = AutoModelForCausalLM.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == "spatialllm"
    assert isinstance(AutoImageProcessor.from_pretrained(tmp_path), SpatialLLMImageProcessor)
    assert isinstance(own, SpatialLLMProcessor)
    assert own.tokenizer.chat_template == tokenizer.chat_template
    expected = as_generated(model, processor, images, QUESTIONS)
    assert torch.equal(as_generated(loaded.eval(), own, images, QUESTIONS), expected)
    assert own.batch_decode(expected) == tokenizer.batch_decode(expected)


def test_a_batch_equals_batches_of_one_and_the_cache_changes_nothing(images):
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    processor = SpatialLLMProcessor.of(model, tokenizer)
    together = as_generated(model, processor, images, QUESTIONS)
    assert len({tuple(row) for row in together.tolist()}) > 1
    inputs = processor(images=images, text=QUESTIONS)
    assert (inputs["attention_mask"][:, 0] == 0).any() and (inputs["attention_mask"][:, -1] == 1).all()
    uncached = model.generate(**inputs, **OPTIONS, pad_token_id=tokenizer.pad_token_id, use_cache=False)
    assert torch.equal(uncached[:, inputs["input_ids"].shape[1] :], together)
    for row, image, question in zip(together, images, QUESTIONS, strict=True):
        assert torch.equal(as_generated(model, processor, image, question)[0], row)


def test_it_asks_as_scoring_does(images):
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    processor = SpatialLLMProcessor.of(model, tokenizer)
    pixels = processor.image_processor(images)["pixel_values"]
    asked = [Asked(f"q{k}", str(k), question, 0) for k, question in enumerate(QUESTIONS)]
    scored = generate_answers(
        model, tokenizer, processor._encoder, lambda keys: {"pixel_values": pixels[[int(k) for k in keys]]}, asked, 8
    )
    inputs = processor(images=images, text=["<image>" + question for question in QUESTIONS])
    out = model.generate(**inputs, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    own = processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert [text.strip() for text in own] == scored


def test_a_blind_model_takes_text_alone_and_counts_are_checked(images):
    tokenizer = make_tokenizer()
    model = make_model((), tokenizer=tokenizer)
    processor = SpatialLLMProcessor.of(model, tokenizer)
    assert set(processor(text="what ?")) == {"input_ids", "attention_mask"}
    with pytest.raises(InputError, match="3 images for 1 questions"):
        processor(images=images, text="what ?")
    with pytest.raises(InputError, match="no text"):
        processor(images=images)
