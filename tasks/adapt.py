"""Stage 0: LoRA on CLIP's vision tower with 3D probing captions, merged and saved in the shape of a foundation model.
`python -m tasks.adapt NAME`; the objective, `clip` (contrastive) or `ntp` (next token), is part of the name."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_registry import ranges
from data_registry.errors import InputError, nearest
from tasks.stage.harness import Metrics, StageRun, main
from tasks.training import fit, image_lookup, machine, mix_reader, model_files, params

if TYPE_CHECKING:
    from transformers import CLIPModel

    from model.backbones.encoders import VisionEncoder
    from model.conversations.samples import Conversation


@dataclass(frozen=True)
class Params(params.TrainParams):
    """params.yaml: adapt.

    Attributes:
        rank, alpha, dropout: of the adapters.
        min_lr: where the cosine ends.
    """

    rank: ranges.Count
    alpha: ranges.Positive
    dropout: ranges.Dropout
    min_lr: ranges.NotNegative


def compute(run: StageRun) -> Metrics:
    """Adapt one CLIP; writes the whole of it, text tower included."""
    params = run.parse(Params)
    objective = run.parts["objective"]
    objectives = {"clip": _contrastive, "ntp": _next_token}
    if objective not in objectives:
        raise InputError(f"adapt {run.name}: unknown objective {objective!r}; {nearest(objective, objectives)}")
    machine.prepare(run)
    from model.backbones.encoders import VisionEncoder, encoder_spec
    from model.training.adaptation import Lora, add_lora, merge_lora
    from tasks.sources.streams import open_images
    from tasks.training.features import LiveImages

    clip, folder = _load_clip(run)
    spec = encoder_spec("clip", run.scale)
    encoder = VisionEncoder("clip", spec, clip.vision_model)
    conversations = [
        conversation
        for conversation in mix_reader.read_conversations(run, params.fraction, params.mix)
        if conversation.image is not None
    ]
    if not conversations:
        raise InputError(f"adapt {run.name}: none of its samples has an image, so the encoder has nothing to learn")
    import torch

    torch.manual_seed(run.seed)  # the adapters' random start
    adapters = add_lora(clip.vision_model, Lora(params.rank, params.alpha, params.dropout))
    clip.requires_grad_(False)
    images = LiveImages(open_images(run.runtime, image_lookup.image_folders(run)), spec.image_size)
    metrics = objectives[objective](run, params, clip, folder, encoder, adapters, conversations, images)
    metrics["adapted_layers"] = merge_lora(clip.vision_model)
    if run.rank:
        return metrics
    clip.half().save_pretrained(run.out)
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, run.out / name)
    return metrics


def _load_clip(run: StageRun) -> "tuple[CLIPModel, Path]":
    import torch
    from transformers import CLIPModel

    from model.backbones.hub import resolve

    (folder,) = mix_reader.folders(run, "encoders")
    where, options = resolve(folder)
    return CLIPModel.from_pretrained(where, use_safetensors=True, dtype=torch.float32, **options), folder


def _contrastive(
    run: StageRun,
    params: Params,
    clip: "CLIPModel",
    folder: Path,
    encoder: "VisionEncoder",
    adapters: list,
    conversations: "list[Conversation]",
    images: Any,
) -> Metrics:
    """Images against captions, with CLIP's own frozen text tower."""
    import dataclasses

    if params.faults == "count":
        raise InputError(
            f"params.yaml: {run.stage}.{run.scale}.faults: count is for the objective ntp; a contrastive loss is of "
            "its whole batch, so use stop"
        )
    from model.backbones.llms import load_tokenizer
    from model.training.adaptation import ContrastiveAdapter, Pair, PairCollator, encode_captions
    from model.training.batching import GroupedBatches
    from model.training.recipe import Monitor, TrainingData
    from model.training.trainer import train
    from tasks.training.batches import in_shard_windows

    pairs = [
        Pair(f"{conversation.id}#{k}", conversation.image, caption)
        for conversation in conversations
        if conversation.image is not None
        for k, (_, caption) in enumerate(conversation.turns)
    ]
    captions = sorted({pair.caption for pair in pairs})
    features, cut = encode_captions(clip.to(machine.device_of(run.runtime)), load_tokenizer(folder), captions)
    collate = PairCollator(images, features, {caption: row for row, caption in enumerate(captions)})
    model = ContrastiveAdapter(clip, encoder)
    for p in adapters:
        p.requires_grad_(True)
    # A pair's negatives are the rest of its batch, so the batch cannot be cut up without changing the loss.
    whole_step = dataclasses.replace(machine.machine_of(run, params.zero_stage), per_device_batch=params.global_batch)
    plain = GroupedBatches([0] * len(pairs), [(0,)] * len(pairs), params.global_batch, params.global_batch, run.seed)
    batches = in_shard_windows(run, params, plain, [pair.image for pair in pairs], images.ahead)
    data, monitor = TrainingData(pairs, collate, batches), Monitor(run.recorder.log, run.progress)
    result = train(model, data, params.recipe(), run.work, run.seed, whole_step, monitor)
    return {
        "loss": result.loss,
        "steps": result.steps,
        "samples": len(pairs),
        "distinct_captions": len(captions),
        "captions_cut": cut,
        "trained_parameters": sum(p.numel() for p in adapters),
    }


def _next_token(
    run: StageRun,
    params: Params,
    clip: "CLIPModel",
    folder: Path,
    encoder: "VisionEncoder",
    adapters: list,
    conversations: "list[Conversation]",
    images: Any,
) -> Metrics:
    """Captions from images through a frozen LLM and a connector that is thrown away afterwards."""
    from model.training.adaptation import train_adapters_of

    model, tokenizer = model_files.assemble(run, [(encoder, folder)])
    trained = train_adapters_of(model, adapters)
    metrics = fit.fit(run, params, model, tokenizer, images, conversations, template="plain")
    return {**metrics, "trained_parameters": trained}


if __name__ == "__main__":
    # A contrastive loss is of its whole batch, which several processes would cut up.
    main("adapt", compute, shared=lambda parts: parts["objective"] == "ntp")
