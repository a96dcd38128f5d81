"""What the training and scoring stages share: conversations of a mix, encoders of a design, a model and its files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_registry.errors import InputError
from tasks.stage.harness import StageRun
from tasks.training.mix_reader import folders

if TYPE_CHECKING:
    from torch import nn

    from model.backbones.encoders import VisionEncoder
    from model.conversations.samples import SampleEncoder
    from model.modeling import SpatialLLMForConditionalGeneration

IMAGE_TOKEN = "<image>"
CONNECTOR_FILE = "model.safetensors"


def load_encoders(run: StageRun) -> "list[tuple[VisionEncoder, Path]]":
    """A design's frozen encoders, in its order, each with its folder; none for a blind design."""
    from model.backbones.encoders import load_encoder

    names = run.parts["encoders"]
    if not names:
        return []
    return [(load_encoder(name, run.scale, folder), folder) for name, folder in zip(names, folders(run, "encoders"))]


def image_token_id(tokenizer) -> int:
    """The id of the image placeholder; where the tokenizer has none, one beyond the LLM's vocabulary is added."""
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]}, replace_extra_special_tokens=False)
    return tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)


def assemble(
    run: StageRun,
    encoders: "Sequence[tuple[VisionEncoder, Path]]",
    connector: str = "mlp2x_gelu",
    mixing: str = "channel",
) -> "tuple[SpatialLLMForConditionalGeneration, Any]":
    """A design's model with a new connector, and its tokenizer."""
    from model.backbones.llms import llm_spec, load_llm
    from model.modeling import SpatialLLMForConditionalGeneration

    spec = llm_spec(run.parts["llm"], run.scale)
    llm, tokenizer = load_llm(run.input("llm"))
    model = SpatialLLMForConditionalGeneration.assemble(
        [encoder for encoder, _ in encoders],
        llm,
        image_token_id(tokenizer),
        spec.template,
        spec.system,
        mixing,
        connector,
        run.seed,
    )
    return model, tokenizer


def sample_encoder(
    model: "SpatialLLMForConditionalGeneration", tokenizer, template: str, max_length: int, isolate: bool
) -> "SampleEncoder":
    """How conversations become tokens for this model, with a template of its own or stage 1's `plain`."""
    from model.conversations.samples import SampleEncoder
    from model.conversations.templates import build_template

    config = model.config
    built = build_template(template, tokenizer, config.system)
    return SampleEncoder(built, tokenizer, config.image_token_id, config.image_tokens, max_length, isolate)


def connector_of(model: "SpatialLLMForConditionalGeneration") -> "nn.Module":
    """The connector of a model that sees; ValueError for a blind one."""
    if model.connector is None:
        raise ValueError("a blind model has no connector")
    return model.connector


def save_connector(model: "SpatialLLMForConditionalGeneration", out: Path) -> None:
    """Connector weights with a config.json that says what they fit."""
    from safetensors.torch import save_file

    save_file(connector_of(model).state_dict(), out / CONNECTOR_FILE, metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(_connector_facts(model), indent=1) + "\n")


def load_connector(model: "SpatialLLMForConditionalGeneration", folder: Path) -> None:
    """Put stage 1's connector into a model; InputError when it was trained for other parts."""
    from safetensors.torch import load_file

    stated, own = read_connector_facts(folder), _connector_facts(model)
    for key, value in own.items():
        if stated.get(key) != value:
            raise InputError(f"{folder}/config.json: {key} is {stated.get(key)!r}, but this design has {value!r}")
    connector_of(model).load_state_dict(load_file(folder / CONNECTOR_FILE))


def read_connector_facts(folder: Path) -> dict[str, Any]:
    """What stage 1 wrote about its connector."""
    return json.loads((folder / "config.json").read_text())


def _connector_facts(model: "SpatialLLMForConditionalGeneration") -> dict[str, Any]:
    config = model.config
    return {
        "connector": config.connector,
        "mixing": config.mixing,
        "grid": config.grid,
        "encoders": list(model.encoders),
        "input_width": sum(encoder.width for encoder in model.encoders.values()),
        "hidden_size": config.text_config.hidden_size,
    }


def save_model(model: "SpatialLLMForConditionalGeneration", tokenizer, out: Path) -> None:
    """A folder that `from_pretrained` loads as it is: config, weights, tokenizer, and where generation stops."""
    from model.conversations.samples import SampleEncoder
    from model.conversations.templates import build_template

    config = model.config
    closing = build_template(config.template, tokenizer, config.system).closing
    stop = SampleEncoder(build_template("plain", tokenizer), tokenizer, 0, 0, 0, True).ids(closing)[0]
    model.generation_config.eos_token_id = sorted({stop, tokenizer.eos_token_id})
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def load_model(folder: Path, device: str = "cpu") -> "tuple[SpatialLLMForConditionalGeneration, Any]":
    """A trained model in fp32 and its tokenizer, ready to answer."""
    import torch

    from model.backbones.llms import load_tokenizer
    from model.modeling import SpatialLLMForConditionalGeneration

    if not (folder / "config.json").exists():
        raise InputError(f"{folder}: no trained model here; train one with `spatialllm run DESIGN`")
    model = SpatialLLMForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval().to(device), load_tokenizer(folder)
