"""Training samples per core-second in stages 1 and 2, beside transformers' LLaVA fine-tuned by its Trainer.

The peer is `LlavaForConditionalGeneration` with the same weights (our own export), trained as transformers documents
it: one sample is an image with one question and answer, padded batches, SDPA, bf16 autocast, fused AdamW. Both sides
see the same questions in the same optimizer steps, in the same precision, with the same rates and schedule, so that
their loss curves must agree; processor time stands for wall time, so that a busy machine distorts little. Ours
includes the extraction of the features it caches. Each side runs in a process of its own, for its peak memory."""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import record

ROOT = Path(__file__).resolve().parents[1]
FOUNDATION = ROOT / "runs" / "tiny" / "foundation"
ENCODER, LLM, SCALE = "clip", "vicuna-7b", "tiny"
SCENE_SIZE, SEED = 96, 0
PEER_BATCH = 16  # samples in one forward pass of the peer; larger ones were no faster on a CPU


@dataclass(frozen=True)
class Stage:
    """Sizes of one comparison: rows (images) per step, turns of each, steps, peak learning rate, template."""

    rows: int
    turns: int
    steps: int
    lr: float
    template: str


STAGES = {"align": Stage(16, 6, 8, 1e-3, "plain"), "instruct": Stage(8, 8, 8, 5e-4, "vicuna_v1")}


def conversations(stage: Stage) -> tuple[list[Any], dict[str, np.ndarray]]:
    """One conversation of exactly `turns` turns per image, and the images (h, w, 3) by key."""
    from data_registry import render
    from data_registry.questions import dialogue
    from data_registry.questions.geometry import Margins
    from model.samples import Conversation

    wanted = stage.rows * stage.steps
    worlds = (render.sample(SEED, index) for index in range(2 * wanted))
    pictures, scenes = {}, []
    for index, world in enumerate(worlds):
        picture = render.render(world, SCENE_SIZE)
        scenes.append(render.scene(world, SCENE_SIZE, str(index), picture))
        pictures[str(index)] = picture.rgb
    recipe = dialogue.DialogueRecipe(turns=(stage.turns, stage.turns), choice_share=0.0)
    made = dialogue.conversations(scenes, "bench", SEED, recipe, Margins(), Counter())
    found = [Conversation.from_llava(one["id"], one["image"], one["conversations"]) for one in made]
    found = [one for one in found if len(one.turns) == stage.turns][:wanted]
    if len(found) < wanted:
        raise RuntimeError(f"only {len(found)} of {wanted} images have {stage.turns} questions; render more")
    return found, pictures


def assemble() -> tuple[Any, Any]:
    """The tiny model with a new connector, and its tokenizer."""
    import torch

    from model.encoders import load_encoder
    from model.llms import llm_spec, load_llm
    from model.modeling import SpatialLLMForConditionalGeneration
    from tasks.lmm import image_token_id

    torch.set_num_threads(1)
    llm, tokenizer = load_llm(FOUNDATION / LLM)
    encoder = load_encoder(ENCODER, SCALE, FOUNDATION / ENCODER)
    template = llm_spec(LLM, SCALE).template
    return SpatialLLMForConditionalGeneration.assemble([encoder], llm, image_token_id(tokenizer), template), tokenizer


def sample_encoder(model: Any, tokenizer: Any, stage: Stage) -> Any:
    """Tokens as training has them, with each turn on its own."""
    from model.samples import SampleEncoder
    from model.templates import build_template

    template = build_template(stage.template, tokenizer)
    return SampleEncoder(template, tokenizer, model.config.image_token_id, model.config.image_tokens, 512, True)


def ours(name: str, stage: Stage) -> dict[str, Any]:
    """Cached features, turns of an image in one row, the head where a label is."""
    import torch
    from PIL import Image

    from model.batching import GroupedBatches
    from model.collate import Collator
    from model.features import extract
    from model.images import to_pixels
    from model.training import Machine, Recipe, freeze_all_but, train

    found, pictures = conversations(stage)
    model, tokenizer = assemble()
    samples = sample_encoder(model, tokenizer, stage).encode_all(found)
    freeze_all_but(model, model.connector, *([model.language_model] if name == "instruct" else []))
    losses: list[float] = []
    started = time.process_time()
    keys = [one.image for one in found]
    encoder = model.encoders[ENCODER]
    pixels = (np.stack([to_pixels(Image.fromarray(pictures[k]), encoder.spec.image_size)]) for k in keys)
    features = {k: torch.from_numpy(f[0]) for k, f in zip(keys, extract(encoder, pixels, bf16=True), strict=True)}
    extracted = time.process_time() - started
    lookup = lambda wanted: {"image_features": [torch.stack([features[k] for k in wanted])]}  # noqa: E731
    recipe = Recipe(lr=stage.lr, global_batch=stage.rows)
    with tempfile.TemporaryDirectory() as work:
        train(
            model, samples, Collator(tokenizer.pad_token_id, lookup), recipe, Path(work), SEED,
            Machine(per_device_batch=8, log_steps=1, device="cpu"),
            GroupedBatches.of(samples, stage.rows, min(8, stage.rows), SEED),
            on_log=lambda step, values: losses.append(values["loss"]),
        )  # fmt: skip
    return _measured(started, losses, extraction_s=round(extracted, 2))


def peer(name: str, stage: Stage) -> dict[str, Any]:
    """transformers' LLaVA and Trainer; the order of samples is ours, so that the steps are the same."""
    import torch
    from PIL import Image
    from torch.utils.data import SequentialSampler
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    from model.batching import GroupedBatches
    from model.export import to_llava
    from model.images import to_pixels

    found, pictures = conversations(stage)
    ours, tokenizer = assemble()
    samples = sample_encoder(ours, tokenizer, stage).encode_all(found)
    encoder = ours.encoders[ENCODER]
    order = [index for batch in GroupedBatches.of(samples, stage.rows, stage.rows, SEED) for index in batch]
    single = [(samples[index], turn) for index in order for turn in samples[index].turns]
    llava = to_llava(ours)
    llava.requires_grad_(False)
    llava.model.multi_modal_projector.requires_grad_(True)
    if name == "instruct":
        llava.model.language_model.requires_grad_(True)
        llava.lm_head.requires_grad_(True)

    def collate(batch: Sequence[Any]) -> dict[str, Any]:
        rows = [(s.prefix + turn.ids, (False,) * len(s.prefix) + turn.targets) for s, turn in batch]
        length = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), length), tokenizer.pad_token_id)
        labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for r, (row, targets) in enumerate(rows):
            ids[r, : len(row)], mask[r, : len(row)] = torch.tensor(row), 1
            labels[r, : len(row)] = torch.tensor([t if target else -100 for t, target in zip(row, targets)])
        images = [to_pixels(Image.fromarray(pictures[s.image]), encoder.spec.image_size) for s, _ in batch]
        pixels = encoder.normalise(torch.from_numpy(np.stack(images)))
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}

    class InOrder(Trainer):
        def _get_train_sampler(self, *args: Any) -> SequentialSampler:
            return SequentialSampler(single)

    class Losses(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

    losses: list[float] = []
    with tempfile.TemporaryDirectory() as work:
        arguments = TrainingArguments(
            output_dir=work, per_device_train_batch_size=PEER_BATCH, max_steps=stage.steps,
            gradient_accumulation_steps=stage.rows * stage.turns // PEER_BATCH, learning_rate=stage.lr,
            lr_scheduler_type="cosine", warmup_steps=math.ceil(stage.steps * 0.03), bf16=True, use_cpu=True, seed=SEED,
            logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = InOrder(
            model=llava, args=arguments, train_dataset=single, data_collator=collate, callbacks=[Losses()]
        )
        trainer.remove_callback(PrinterCallback)
        started = time.process_time()
        trainer.train()
    tokens = sum(len(s.prefix) + len(turn.ids) for s, turn in single)
    return _measured(started, losses, samples=len(single), tokens=tokens)


def _measured(started: float, losses: list[float], **more: Any) -> dict[str, Any]:
    seconds = time.process_time() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    return {"seconds": round(seconds, 2), "peak_memory_gib": round(memory, 2), "loss": losses, **more}


def _apart(side: str, stage: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.train", "--side", side, "--stage", stage]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure both stages and record them as train-align.json and train-instruct.json."""
    for name, stage in STAGES.items():
        own, other = _apart("ours", name), _apart("peer", name)
        samples = other["samples"]
        apart = [abs(a - b) / b for a, b in zip(own["loss"], other["loss"], strict=True)]
        record(
            f"train-{name}",
            ours=round(samples / own["seconds"], 2),
            peer=round(samples / other["seconds"], 2),
            unit="question-answer samples per core-second",
            peer_name=f"LlavaForConditionalGeneration + Trainer, transformers {version('transformers')}",
            command="make bench-train",
            design=f"{ENCODER} + {LLM} at tiny scale, bf16 autocast, one thread",
            steps=stage.steps,
            samples_per_step=stage.rows * stage.turns,
            tokens_per_core_second={
                "ours": round(other["tokens"] / own["seconds"]), "peer": round(other["tokens"] / other["seconds"]),
                "counted": "as the peer sees them: every sample with its image",
            },
            peak_memory_gib={"ours": own["peak_memory_gib"], "peer": other["peak_memory_gib"]},
            extraction_s=own["extraction_s"],
            loss={"ours": own["loss"], "peer": other["loss"]},
            largest_relative_difference_of_losses=round(max(apart), 5),
        )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=("ours", "peer"))
    parser.add_argument("--stage", choices=tuple(STAGES))
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps({"ours": ours, "peer": peer}[chosen.side](chosen.stage, STAGES[chosen.stage])))
    else:
        main()
