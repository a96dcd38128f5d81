"""A design with one encoder as transformers' own LLaVA, so that the ecosystem's servers can load it.
The weights stay what they are; only names, the place of the pixel normalisation and the chat template move."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from data_registry.errors import InputError
from model.backbones.encoders import VisionEncoder
from model.conversations.samples import IMAGE
from model.conversations.templates import Template, build_template
from model.modeling import SpatialLLMForConditionalGeneration

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor


def to_llava(model: SpatialLLMForConditionalGeneration) -> "LlavaForConditionalGeneration":
    """The same function of (token ids, normalised pixels) as `LlavaForConditionalGeneration`.

    Its vocabulary grows by the image placeholder where that lies beyond the LLM's own, by rows of zeros that
    generation never chooses.

    Raises:
        InputError: several encoders or none, or an encoder or a connector that LLaVA computes in another way.
    """
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    encoder = _only_encoder(model)
    config = model.config
    if config.connector != "mlp2x_gelu":
        raise InputError(
            f"LLaVA's connector is mlp2x_gelu, this design's is {config.connector}; use the format spatialllm, or "
            "train with connector: mlp2x_gelu in params.yaml: align"
        )
    text = type(config.text_config)(**config.text_config.to_dict())
    text.vocab_size = max(text.vocab_size, config.image_token_id + 1)
    llava_config = LlavaConfig(
        vision_config=encoder.tower.config,
        text_config=text,
        image_token_index=config.image_token_id,
        projector_hidden_act="gelu",
        vision_feature_select_strategy="default" if encoder.spec.skip else "full",
        vision_feature_layer=encoder.spec.layer,
        image_seq_length=config.image_tokens,
        tie_word_embeddings=config.tie_word_embeddings,
    )
    with torch.random.fork_rng(devices=[]):
        llava = LlavaForConditionalGeneration(llava_config)
    connector = model.connector if config.mixing == "channel" else model.connector[0]
    llava.model.vision_tower.load_state_dict(encoder.tower.state_dict())
    llava.model.multi_modal_projector.load_state_dict(connector.state_dict())
    state = model.get_decoder().state_dict()
    state["embed_tokens.weight"] = _grown(state["embed_tokens.weight"], text.vocab_size)
    llava.model.language_model.load_state_dict(state)
    if not config.tie_word_embeddings:
        llava.lm_head.weight.data = _grown(model.get_output_embeddings().weight, text.vocab_size)
    llava.tie_weights()
    llava.generation_config.update(**model.generation_config.to_diff_dict())
    llava.generation_config.suppress_tokens = list(range(config.text_config.vocab_size, text.vocab_size)) or None
    return llava.to(next(model.parameters()).dtype).eval()


def llava_processor(model: SpatialLLMForConditionalGeneration, tokenizer) -> "LlavaProcessor":
    """The processor that goes with `to_llava`: padding to a square, this encoder's normalisation, our chat template."""
    from transformers import LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    encoder, config = _only_encoder(model), model.config
    side = {"height": encoder.spec.image_size, "width": encoder.spec.image_size}
    images = LlavaImageProcessorPil(
        do_pad=True, do_center_crop=False, size=side, image_mean=encoder.spec.mean, image_std=encoder.spec.std
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=encoder.tower.config.patch_size,
        vision_feature_select_strategy="default" if encoder.spec.skip else "full",
        num_additional_image_tokens=encoder.spec.skip,
        chat_template=to_jinja(build_template(config.template, tokenizer, config.system)),
    )


def to_jinja(template: Template) -> str:
    """A conversation template as a chat template over messages whose content is text or a list of image and text."""
    if not template.keep_question:
        raise InputError("the template plain has no questions; a chat template cannot be made of it")
    q, again, reply, end = (
        _quoted(t) for t in (template.opening, template.question_again, template.reply, template.closing)
    )
    image = _quoted(IMAGE + template.after_image)
    return (
        f"{{{{ {q} }}}}{{% for m in messages %}}{{% if m.role == 'user' %}}"
        f"{{% if not loop.first %}}{{{{ {again} }}}}{{% endif %}}"
        "{% if m.content is string %}{{ m.content }}{% else %}"
        f"{{% for c in m.content %}}{{% if c.type == 'image' %}}{{{{ {image} }}}}"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
        f"{{{{ {reply} }}}}{{% else %}}{{{{ {_quoted(template.lead)} }}}}"
        "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}"
        f"{{{{ {end} }}}}{{% endif %}}{{% endfor %}}"
    )


def _only_encoder(model: SpatialLLMForConditionalGeneration) -> VisionEncoder:
    names = list(model.encoders)
    if len(names) != 1:
        raise InputError(f"LLaVA has one vision encoder, this design has {len(names)} ({', '.join(names) or 'none'})")
    encoder = model.encoders[names[0]]
    kind = encoder.tower.config.model_type
    if kind not in ("clip_vision_model", "dinov2", "siglip_vision_model"):
        raise InputError(f"LLaVA cannot run the encoder {names[0]!r} ({kind}) as this project does; export no LLaVA")
    if kind != "dinov2" and _grid_of(encoder.tower) != encoder.grid:
        raise InputError(f"encoder {names[0]!r} sees images of another size than it was made for, which LLaVA does not")
    return encoder


def _grid_of(tower: nn.Module) -> int:
    return tower.config.image_size // tower.config.patch_size


def _grown(weight: torch.Tensor, rows: int) -> torch.Tensor:
    weight = weight.detach()
    return torch.cat([weight, weight.new_zeros(rows - len(weight), weight.shape[1])])


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
