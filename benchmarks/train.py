"""Training samples per core-second in stages 1 and 2, beside transformers' LLaVA fine-tuned by its Trainer.

The peer is `LlavaForConditionalGeneration` with the same weights (our own export), trained as transformers documents
it: one sample is an image with one question and answer, in padded batches, with SDPA, bf16 autocast and fused AdamW.
Both sides see the same questions in the same optimizer steps and precision, at the same rates, so that their loss
curves must agree. Most of what ours saves is the image, computed once for all its questions; the same peer with all
questions of an image in one row, each of which sees those before it, trains something else, but says what is left then.
Processor time stands for wall time, so that a busy machine distorts little; ours includes the features it caches.
Each side runs in a process of its own, for its peak memory."""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.bench import record
from data_registry.errors import InputError
from flows.smoke_small import FOLDER

if TYPE_CHECKING:
    from model.modeling import SpatialLLMForConditionalGeneration
    from model.samples import Conversation, EncodedSample

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "runs" / "tiny" / "foundation"
ENCODER = "clip"  # the tiny one at both scales: LLaVA cannot hold the small scale's EfficientNet
LLMS = {
    "tiny": ("vicuna-7b", TINY / "vicuna-7b"),
    "small": ("smollm2-135m", ROOT / FOLDER / "runs" / "small" / "foundation" / "smollm2-135m"),
}
SCENE_SIZE, SEED, MAX_LENGTH = 96, 0, 1024
OUR_BATCH = 8  # rows in one forward pass, as params.yaml has it
PEER_BATCH = 16  # samples in one forward pass of the peer


@dataclass(frozen=True)
class Stage:
    """Sizes of one comparison: rows (images) per step, turns of each, peak learning rate, template of the answers."""

    rows: int
    turns: int
    lr: float
    template: str


STAGES = {"align": Stage(16, 6, 1e-3, "plain"), "instruct": Stage(8, 8, 5e-4, "own")}
STEPS = {"tiny": 8, "small": 4}
REPEATS = {"tiny": 3, "small": 1}  # of each side; a tiny one takes seconds, which a busy machine stretches unevenly


def conversations(stage: Stage, steps: int) -> "tuple[list[Conversation], dict[str, np.ndarray]]":
    """One conversation of exactly `turns` turns per image, and the images (h, w, 3) by key."""
    from data_registry import render
    from data_registry.questions import dialogue
    from data_registry.questions.geometry import Margins
    from model.samples import Conversation

    wanted = stage.rows * steps
    pictures, scenes = {}, []
    for index in range(2 * wanted):
        world = render.sample(SEED, index)
        picture = render.render(world, SCENE_SIZE)
        scenes.append(render.scene(world, SCENE_SIZE, str(index), picture))
        pictures[str(index)] = picture.rgb
    recipe = dialogue.DialogueRecipe(turns=(stage.turns, stage.turns), choice_share=0.0)
    made = dialogue.conversations(scenes, "bench", SEED, recipe, Margins(), Counter())
    found = [Conversation.from_llava(one["id"], one["image"], one["conversations"]) for one in made]
    found = [one for one in found if len(one.turns) == stage.turns][:wanted]
    if len(found) < wanted:
        raise InputError(f"only {len(found)} of {wanted} images have {stage.turns} questions; render more")
    return found, pictures


def assemble(scale: str) -> "tuple[SpatialLLMForConditionalGeneration, Any]":
    """The model of a scale with a new connector, and its tokenizer."""
    import torch
    from transformers.utils import logging

    from model.encoders import load_encoder
    from model.llms import llm_spec, load_llm
    from model.modeling import SpatialLLMForConditionalGeneration
    from tasks.lmm import image_token_id

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    name, folder = LLMS[scale]
    if not folder.exists():
        raise InputError(f"{folder}: not there; `make smoke-small` puts SmolLM2's weights there")
    llm, tokenizer = load_llm(folder)
    encoder = load_encoder(ENCODER, "tiny", TINY / ENCODER)
    template = llm_spec(name, scale).template
    return SpatialLLMForConditionalGeneration.assemble([encoder], llm, image_token_id(tokenizer), template), tokenizer


def encode(
    model: "SpatialLLMForConditionalGeneration",
    tokenizer: Any,
    template: str,
    found: "Sequence[Conversation]",
    isolate: bool,
) -> "list[EncodedSample]":
    """Tokens as our training has them; `isolate`: each turn on its own."""
    from tasks.lmm import sample_encoder

    template = model.config.template if template == "own" else template
    return sample_encoder(model, tokenizer, template, MAX_LENGTH, isolate).encode_all(found)


def in_our_order(samples: "Sequence[EncodedSample]", rows: int) -> "list[EncodedSample]":
    """The samples in the order of our optimizer steps, `rows` in each."""
    from model.batching import GroupedBatches

    return [samples[index] for batch in GroupedBatches.of(samples, rows, rows, SEED) for index in batch]


def sequences(samples: "Sequence[EncodedSample]") -> list[tuple[str, list[int], list[int]]]:
    """What the peer trains on: image, ids and labels; a sequence per turn where turns are isolated, else per sample."""
    made = []
    for sample in samples:
        for turns in [[turn] for turn in sample.turns] if sample.isolated else [sample.turns]:
            ids, labels = list(sample.prefix), [-100] * len(sample.prefix)
            for turn in turns:
                ids += turn.ids
                labels += (token if target else -100 for token, target in zip(turn.ids, turn.targets, strict=True))
            made.append((sample.image, ids, labels))
    return made


def padded(
    batch: Sequence[tuple[str, list[int], list[int]]], pad: int, pixels: "Callable[[str], Any]"
) -> dict[str, Any]:
    """The peer's batch: input_ids, attention_mask and labels (n, L), padded on the right; pixel_values (n, 3, s, s)."""
    import torch

    length = max(len(ids) for _, ids, _ in batch)
    input_ids = torch.full((len(batch), length), pad)
    labels, mask = torch.full_like(input_ids, -100), torch.zeros_like(input_ids)
    for row, (_, ids, targets) in enumerate(batch):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        labels[row, : len(ids)] = torch.tensor(targets)
        mask[row, : len(ids)] = 1
    images = torch.cat([pixels(image) for image, _, _ in batch])
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels, "pixel_values": images}


def ours(name: str, scale: str, folder: Path) -> dict[str, Any]:
    """Cached features, turns of an image in one row, the head where a label is."""
    import torch
    from PIL import Image

    from model.collate import Collator
    from model.features import extract
    from model.images import to_pixels
    from model.frozen import freeze_all_but
    from model.training import Machine, Recipe, train
    from tasks.features import BATCH

    _start_up()
    stage = STAGES[name]
    found, pictures = conversations(stage, STEPS[scale])
    model, tokenizer = assemble(scale)
    samples = encode(model, tokenizer, stage.template, found, isolate=True)
    freeze_all_but(model, model.connector, *([model.language_model] if name == "instruct" else []))
    losses: list[float] = []
    started = time.process_time()
    encoder = model.encoders[ENCODER]
    keys = [one.image for one in found]

    def pixels() -> Iterator[np.ndarray]:
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            yield np.stack([to_pixels(Image.fromarray(pictures[key]), encoder.spec.image_size) for key in some])

    extracted = np.concatenate(list(extract(encoder, pixels(), bf16=True)))
    features = dict(zip(keys, torch.from_numpy(extracted), strict=True))
    extraction_s = time.process_time() - started

    def images(wanted: Sequence[str]) -> dict[str, Any]:
        return {"image_features": [torch.stack([features[key] for key in wanted])]}

    recipe = Recipe(lr=stage.lr, global_batch=stage.rows)
    machine = Machine(per_device_batch=OUR_BATCH, log_steps=1, device="cpu")
    train(
        model, samples, Collator(tokenizer.pad_token_id, images), recipe, folder, SEED, machine,
        on_log=lambda step, values: losses.append(values["loss"]),
    )  # fmt: skip
    return _measured(started, losses, extraction_s=round(extraction_s, 2))


def export(name: str, scale: str, folder: Path) -> dict[str, Any]:
    """The peer's starting weights, written by a process whose memory is not counted."""
    from model.export import to_llava

    model, _ = assemble(scale)
    to_llava(model).save_pretrained(folder)
    return {}


def peer(name: str, scale: str, folder: Path, isolate: bool = True) -> dict[str, Any]:
    """transformers' LLaVA and Trainer; the order of samples is ours, so that the steps are the same."""
    import torch
    from PIL import Image
    from torch.utils.data import SequentialSampler
    from transformers import LlavaForConditionalGeneration, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    from model.images import to_pixels

    _start_up()
    stage, steps = STAGES[name], STEPS[scale]
    found, pictures = conversations(stage, steps)
    own, tokenizer = assemble(scale)
    data = sequences(in_our_order(encode(own, tokenizer, stage.template, found, isolate), stage.rows))
    encoder = own.encoders[ENCODER]
    del own
    llava = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    llava.requires_grad_(False)
    llava.model.multi_modal_projector.requires_grad_(True)
    if name == "instruct":
        llava.model.language_model.requires_grad_(True)
        llava.lm_head.requires_grad_(True)

    def pixels(key: str) -> torch.Tensor:
        image = to_pixels(Image.fromarray(pictures[key]), encoder.spec.image_size)
        return encoder.normalise(torch.from_numpy(image[None]))

    class InOrder(Trainer):
        def _get_train_sampler(self, *args: Any) -> SequentialSampler:
            return SequentialSampler(data)

    class Losses(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

    losses: list[float] = []
    per_step = len(data) // steps
    micro = min(PEER_BATCH, per_step)
    with tempfile.TemporaryDirectory() as work:
        arguments = TrainingArguments(
            output_dir=work, per_device_train_batch_size=micro, gradient_accumulation_steps=per_step // micro,
            max_steps=steps, learning_rate=stage.lr, lr_scheduler_type="cosine", warmup_steps=math.ceil(steps * 0.03),
            bf16=True, use_cpu=True, seed=SEED, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=False,
        )  # fmt: skip
        started = time.process_time()
        trainer = InOrder(
            model=llava,
            args=arguments,
            train_dataset=data,
            data_collator=lambda batch: padded(batch, tokenizer.pad_token_id, pixels),
            callbacks=[Losses()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return _measured(started, losses, tokens=sum(len(ids) for _, ids, _ in data))


def peer_rows(name: str, scale: str, folder: Path) -> dict[str, Any]:
    """The peer with all questions of an image in one row."""
    return peer(name, scale, folder, isolate=False)


def _start_up() -> None:
    """What the Trainer imports as it begins, for seconds that are no training: before either side is timed."""
    import deepspeed  # noqa: F401


def _measured(started: float, losses: list[float], **more: Any) -> dict[str, Any]:
    seconds = time.process_time() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    return {"seconds": round(seconds, 2), "peak_memory_gib": round(memory, 2), "loss": losses, **more}


SIDES = {"ours": ours, "export": export, "peer": peer, "peer_rows": peer_rows}


def _apart(side: str, stage: str, scale: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.train", "--scale", scale, "--stage", stage, "--side", side]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--folder", str(folder)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(stage: str, scale: str) -> None:
    """Measure all sides of a stage and record them as train-STAGE-SCALE.json."""
    sizes, steps = STAGES[stage], STEPS[scale]
    with tempfile.TemporaryDirectory() as work:
        llava = Path(work) / "llava"
        _apart("export", stage, scale, llava)
        measured: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": [], "peer_rows": []}
        for number in range(REPEATS[scale]):  # by turns: what else the machine does meanwhile is shared out
            for side, found in measured.items():
                found.append(_apart(side, stage, scale, llava if side != "ours" else Path(work) / f"ours-{number}"))
    own, other, in_rows = (
        found[0] | {"seconds": statistics.median(one["seconds"] for one in found)} for found in measured.values()
    )
    samples = sizes.rows * sizes.turns * steps
    apart = [abs(a - b) / b for a, b in zip(own["loss"], other["loss"], strict=True)]
    record(
        f"train-{stage}-{scale}",
        ours=round(samples / own["seconds"], 2),
        peer=round(samples / other["seconds"], 2),
        unit="question-answer samples per core-second",
        peer_name=f"LlavaForConditionalGeneration + Trainer, transformers {version('transformers')}",
        command="make bench-train" if scale == "tiny" else f"python -m benchmarks.train --scale {scale}",
        design=f"tiny {ENCODER} + {LLMS[scale][0]}, bf16 autocast, one thread",
        steps=steps,
        seconds={side: [one["seconds"] for one in found] for side, found in measured.items()},
        samples_per_step=sizes.rows * sizes.turns,
        tokens_per_core_second={
            "ours": round(other["tokens"] / own["seconds"]),
            "peer": round(other["tokens"] / other["seconds"]),
            "counted": "as the peer sees them: every sample with its image",
        },
        peak_memory_gib={"ours": own["peak_memory_gib"], "peer": other["peak_memory_gib"]},
        extraction_s=own["extraction_s"],
        loss={"ours": own["loss"], "peer": other["loss"]},
        largest_relative_difference_of_losses=round(max(apart), 5),
        peer_with_an_image_per_row={
            "samples_per_core_second": round(samples / in_rows["seconds"], 2),
            "ratio": round(in_rows["seconds"] / own["seconds"], 3),
            "note": "all questions of an image in one row, each of which sees those before it: another loss",
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scale", choices=tuple(LLMS), default="tiny")
    parser.add_argument("--stage", choices=tuple(STAGES), help="of these alone; default: all")
    parser.add_argument("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(SIDES[chosen.side](chosen.stage, chosen.scale, chosen.folder)))
    else:
        for each in [chosen.stage] if chosen.stage else STAGES:
            compare(each, chosen.scale)
