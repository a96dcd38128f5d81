"""One encoder exports to transformers' LLaVA: equal logits after saving and loading, refused where it cannot hold."""

import pytest
import torch
from PIL import Image

from data_registry.errors import InputError
from model.conversations.templates import build_template
from model.export import llava_processor, to_jinja, to_llava
from model.processing import SpatialLLMProcessor
from tests.model.tiny_models import make_model, make_tokenizer


def with_image_token():
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]}, replace_extra_special_tokens=False)
    return tokenizer, tokenizer.convert_tokens_to_ids("<image>")


def model_of(kind, tokenizer, image_id, template="chat", **llm):
    model = make_model((kind,), template=template, tokenizer=make_tokenizer(), **llm)
    model.config.image_token_id = image_id
    return model


@pytest.mark.parametrize(("kind", "tie", "mixing"), [
    ("clip", True, "channel"), ("clip", False, "sum"), ("dinov2", True, "channel"), ("siglip2", False, "interleave"),
])  # fmt: skip
def test_logits_are_equal(tmp_path, kind, tie, mixing):
    from transformers import LlavaForConditionalGeneration

    tokenizer, image_id = with_image_token()
    model = model_of(kind, tokenizer, image_id, tie=tie, mixing=mixing)
    image = Image.fromarray(torch.randint(0, 256, (30, 44, 3), dtype=torch.uint8).numpy())
    ours = SpatialLLMProcessor.of(model, tokenizer)(images=image, text="which is closer ?")
    encoder = model.encoders[kind]
    with torch.no_grad():
        features = [encoder(ours["pixel_values"])]  # not rounded to half precision, as the feature cache has them
        inputs = {name: ours[name] for name in ("input_ids", "attention_mask")}
        expected = model(**inputs, image_features=features).logits
        to_llava(model).save_pretrained(tmp_path)
        llava = LlavaForConditionalGeneration.from_pretrained(tmp_path).eval()
        found = llava(**inputs, pixel_values=encoder.normalise(ours["pixel_values"])).logits
    torch.testing.assert_close(found[..., : expected.shape[-1]], expected, rtol=1e-4, atol=1e-5)
    assert (found[..., expected.shape[-1] :] == 0).all()
    assert llava.generation_config.suppress_tokens == [image_id]


@pytest.mark.parametrize("template", ["chat", "vicuna_v1"])
def test_its_processor_writes_the_same_tokens_and_pixels(tmp_path, template):
    from transformers import AutoProcessor

    tokenizer, image_id = with_image_token()
    model = model_of("clip", tokenizer, image_id, template)
    image = Image.fromarray(torch.randint(0, 256, (30, 44, 3), dtype=torch.uint8).numpy())
    ours = SpatialLLMProcessor.of(model, tokenizer)(images=image, text="which is closer ?")
    llava_processor(model, tokenizer).save_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    content = [{"type": "image"}, {"type": "text", "text": "which is closer ?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    theirs = processor(images=[image], text=[text], add_special_tokens=False, return_tensors="pt")
    assert theirs["input_ids"].tolist() == ours["input_ids"].tolist()
    pixels = model.encoders["clip"].normalise(ours["pixel_values"])
    # Their rescaling and ours round to 8 bits at different places; a crop or another pad would be far off.
    assert (theirs["pixel_values"] - pixels).abs().mean() < 0.05


@pytest.mark.parametrize("template", ["chat", "vicuna_v1"])
def test_a_conversation_in_jinja_is_the_template(template):
    tokenizer = make_tokenizer()
    built = build_template(template, tokenizer, "be brief" if template == "vicuna_v1" else "")
    from jinja2 import Environment

    said = [("user", "q0"), ("assistant", "a0"), ("user", "q1"), ("assistant", "a1")]
    text = (
        Environment()
        .from_string(to_jinja(built))
        .render(messages=[{"role": role, "content": content} for role, content in said])
    )
    first = built.opening + "q0" + built.reply + built.lead + "a0" + built.closing
    assert text == first + built.question_again + "q1" + built.reply + built.lead + "a1" + built.closing


def test_what_llava_cannot_hold_is_refused():
    with pytest.raises(InputError, match=r"this design has 2 \(clip, dinov2\)"):
        to_llava(make_model())
    with pytest.raises(InputError, match=r"this design has 0 \(none\)"):
        to_llava(make_model(()))
    with pytest.raises(InputError, match="'mae'"):
        to_llava(make_model(("mae",)))
    with pytest.raises(InputError, match="this design's is normed_mlp2x_gelu; use the format spatialllm"):
        to_llava(make_model(("clip",), connector="normed_mlp2x_gelu"))
