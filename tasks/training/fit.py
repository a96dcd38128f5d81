"""One training, from conversations to a trained model, as stages 0, 1 and 2 share it."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.stage.early_stop import frac_of
from tasks.stage.harness import StageRun
from tasks.training import batches
from tasks.training.machine import machine_of
from tasks.training.mix_reader import regroup
from tasks.training.model_files import sample_encoder
from tasks.training.params import TrainParams

if TYPE_CHECKING:
    from model.conversations.samples import Conversation, SampleFault
    from model.modeling import SpatialLLMForConditionalGeneration
    from tasks.training.features import CachedImages, LiveImages


def fit(
    run: StageRun,
    params: TrainParams,
    model: "SpatialLLMForConditionalGeneration",
    tokenizer,
    images: "CachedImages | LiveImages | None",
    conversations: "Sequence[Conversation]",
    template: str,
) -> dict[str, Any]:
    """Train what has gradients on conversations; without `images` the same conversations go blind. Returns metrics."""
    from model.conversations.collate import Collator
    from model.training.recipe import Monitor, TrainingData
    from model.training.trainer import train
    from tasks.training.features import NamingImages, plain_errors

    encoder = sample_encoder(model, tokenizer, template, params.max_length, params.isolate_turns)
    counting = params.faults == "count"
    conversations, faults = encoder.sift(conversations) if counting else (conversations, [])
    if params.isolate_turns:
        # Before images go, so that a blind design sees the same rows.
        conversations = regroup(conversations, params.turns)
    if images is None:
        conversations = [dataclasses.replace(conversation, image=None) for conversation in conversations]
    samples = encoder.encode_all(conversations)
    if images is not None:
        showing: dict[str, list[str]] = defaultdict(list)
        for sample in samples:
            if sample.image is not None:
                showing[sample.image].append(sample.id)
    lookup = NamingImages(images, showing) if images is not None else None
    order = batches.batches(run, params, samples, lookup.ahead if lookup is not None else lambda keys: None)
    with plain_errors():
        result = train(
            model,
            TrainingData(samples, Collator(tokenizer.pad_token_id, lookup, params.turns_alike), order, counting),
            params.recipe(),
            run.work,
            run.seed,
            machine_of(run, params.zero_stage),
            Monitor(run.recorder.log, run.progress),
            frac=frac_of(run.parts),
        )
    counted = _note_faults(run, faults, result.not_finite) if counting else {}
    return {
        **counted,
        "loss": result.loss,
        "steps": result.steps,
        "samples": len(samples),
        "samples_without_image": sum(sample.image is None for sample in samples),
        "turns": sum(len(sample.turns) for sample in samples),
        "target_tokens": sum(sum(turn.targets) for sample in samples for turn in sample.turns),
    }


def _note_faults(run: StageRun, faults: "Sequence[SampleFault]", not_finite: Sequence[str]) -> dict[str, Any]:
    """faults.jsonl with a line for each thing that was left out, and how many there are by kind, as a metric."""
    lines = [{"sample": fault.sample, "kind": fault.kind, "message": str(fault)} for fault in faults]
    for id in dict.fromkeys(not_finite):  # once, however many epochs saw it
        message = f"sample {id}: the loss of a micro-batch with it is not finite"
        lines.append({"sample": id, "kind": "not_finite", "message": message})
    if run.rank == 0:
        (run.out / "faults.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kinds = ("no_answer", "too_long", "not_finite")
    return {"faults": {kind: sum(line["kind"] == kind for line in lines) for kind in kinds}}
