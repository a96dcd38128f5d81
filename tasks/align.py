"""Stage 1, alignment: only the connector trains, on captions, between frozen encoders and LLM.
`python -m tasks.align NAME` writes the connector: config.json and model.safetensors."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from data_registry.errors import InputError
from tasks.stage.harness import Metrics, StageRun, main
from tasks.training import fit, image_lookup, machine, mix_reader, model_files, params

if TYPE_CHECKING:
    import torch

    from model.connector import NormedMLPConnector
    from model.conversations.samples import Conversation
    from model.modeling import SpatialLLMForConditionalGeneration
    from tasks.training.features import CachedImages, LiveImages


@dataclass(frozen=True)
class Params(params.TrainParams):
    """params.yaml: align.

    Attributes:
        connector: kind of connector (`model/connector.py`).
        mixing: how features of several encoders become one sequence.
        template: `plain` (captions without their questions, as LLaVA does) or `own`, the LLM's conversation template.
        start: `random`, or `words` (`model/training/word_start.py`), for `normed_mlp2x_gelu` after `channel` mixing.
    """

    connector: str
    mixing: Literal["channel", "interleave", "sum"]
    template: Literal["own", "plain", "vicuna_v1", "chat"]
    start: Literal["random", "words"] = field(default="random", kw_only=True)


def compute(run: StageRun) -> Metrics:
    """Train the connector of one combination of encoders, LLM and captions."""
    params = run.parse(Params)
    machine.prepare(run)
    from model.training.frozen import freeze_all_but

    encoders = model_files.load_encoders(run)
    model, tokenizer = model_files.assemble(run, encoders, params.connector, params.mixing)
    conversations = mix_reader.read_conversations(run, params.fraction, params.mix)
    seen = [conversation for conversation in conversations if conversation.image is not None]
    if not seen:
        raise InputError(f"align {run.name}: none of its samples has an image, so the connector has nothing to learn")
    trained = freeze_all_but(model, model_files.connector_of(model))
    images = image_lookup.images_of(run, encoders, params.bf16)
    if images is None:
        raise InputError(f"plan.yaml: plan.align.{run.name}: has no encoders, so there is nothing to align")
    detectors = _start(run, params, model, tokenizer, images, seen)
    template = model.config.template if params.template == "own" else params.template
    metrics = fit.fit(run, params, model, tokenizer, images, seen, template)
    if run.rank == 0:
        model_files.save_connector(model, run.out)
    return {
        **metrics,
        "trained_parameters": trained,
        "dropped_without_image": len(conversations) - len(seen),
        "words_at_start": detectors,
    }


def _start(
    run: StageRun,
    params: Params,
    model: "SpatialLLMForConditionalGeneration",
    tokenizer,
    images: "CachedImages | LiveImages",
    seen: "Sequence[Conversation]",
) -> int:
    """Give the connector its start; returns how many of its hidden units stand for a word."""
    where = f"params.yaml: {run.stage}.{run.scale}"
    if params.start == "random":
        return 0
    if params.connector != "normed_mlp2x_gelu" or params.mixing != "channel":
        raise InputError(
            f"{where}.start: words needs connector: normed_mlp2x_gelu and mixing: channel, not "
            f"{params.connector} and {params.mixing}; or use start: random"
        )
    from model.training import word_start

    texts: dict[str, list[int]] = defaultdict(list)
    for conversation in seen:
        for _, answer in conversation.turns:
            texts[str(conversation.image)] += tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]
    embeddings = cast("torch.Tensor", model.get_input_embeddings().weight)
    connector = cast("NormedMLPConnector", model_files.connector_of(model))
    batches = _features(model, images, list(texts), machine.device_of(run.runtime), params.bf16)
    count = word_start.start(connector, batches, model.config.grid, list(texts.values()), embeddings)
    if not count:
        raise InputError(
            f"{where}.start: words finds none of the captions' words in the features of {len(texts)} images; "
            "take more images, or start: random"
        )
    return count


def _features(
    model: "SpatialLLMForConditionalGeneration",
    images: "CachedImages | LiveImages",
    keys: Sequence[str],
    device: str,
    bf16: bool,
    batch: int = 256,
) -> "Iterator":
    """Features of images, some at a time: the same numbers whether they are cached or computed here."""

    from model.layers.precision import mixed_precision

    for start in range(0, len(keys), batch):
        inputs = images(keys[start : start + batch])
        if "image_features" in inputs:
            yield inputs["image_features"]
        else:
            model.encoders.to(device)
            with mixed_precision(device, bf16):
                features = model.encode_images(inputs["pixel_values"].to(device))
            yield [feature.cpu() for feature in features]


if __name__ == "__main__":
    main("align", compute, shared=lambda parts: True)
