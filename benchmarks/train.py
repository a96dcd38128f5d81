"""Training samples per second in stages 1 and 2, beside transformers' LLaVA fine-tuned by its Trainer.

The peer is `LlavaForConditionalGeneration` with the same weights, trained as transformers documents it: one sample is
an image with one question and answer, in padded batches, with SDPA, bf16 autocast and fused AdamW. Both sides see the
same questions in the same optimizer steps and precision, at the same rates, so that their loss curves must agree. Most
of what ours saves is the image, computed once for all its questions; the same peer with all questions of an image in
one row, each of which sees those before it, trains something else, but says what is left then.

On a CPU processor time stands for wall time, so that a busy machine distorts little; ours includes the features it
caches. On a GPU it is wall time after the first steps, the LLM's weights are random, and the peer finds its pixels
prepared. At paper scale (one GPU) rows are those of params.yaml, several turns that see each other, on both sides, and
stage 2 is LoRA. There ours is measured with the peer's encoder and with the two encoders of the paper's design.
On a CPU each side runs in a process of its own, for its peak memory."""

import argparse
import functools
import gc
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
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.bench import record
from data_registry.errors import InputError
from flows.smoke_small import FOLDER
from tasks.lmm import GROWING

if TYPE_CHECKING:
    from model.modeling import SpatialLLMForConditionalGeneration
    from model.samples import Conversation, EncodedSample

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "runs" / "tiny" / "foundation"
ENCODER = "clip"  # the tiny one at both small scales: LLaVA cannot hold the small scale's EfficientNet
LLMS = {
    "tiny": ("vicuna-7b", TINY / "vicuna-7b"),
    "small": ("smollm2-135m", ROOT / FOLDER / "runs" / "small" / "foundation" / "smollm2-135m"),
    "paper": ("llama3-8b", TINY / "llama3-8b"),  # of the folder only the tokenizer
}
TWO = (ENCODER, "dinov2")  # row 8's
SCENE_SIZE, SEED = 96, 0
ROUND = 64  # images rendered at a time, until enough have the questions
LORA_RANK, LORA_ALPHA = 128, 256  # as params.yaml has them; no dropout, which would part the loss curves
OUR_BATCH = 8  # rows in one forward pass on a CPU, as params.yaml has it
SAME_CURVE = 0.03  # most that the losses of a step may differ, as a share; bf16 rounds differently on either side
PEER_BATCH = 16  # samples in one forward pass of the peer there


@dataclass(frozen=True)
class Stage:
    """Sizes of one comparison: rows (images) per step, turns of each, peak learning rate, template of the answers.

    `batch`, `peer_batch`: rows in one forward pass on a GPU, as many as fit; 0: a whole step's.
    """

    rows: int
    turns: int
    lr: float
    template: str
    batch: int = 0
    peer_batch: int = 0


STAGES = {"align": Stage(16, 6, 1e-3, "plain"), "instruct": Stage(8, 8, 5e-4, "own")}
PAPER = {"align": Stage(64, 1, 1e-3, "plain", 32, 16), "instruct": Stage(64, 8, 2e-4, "own", 16, 8)}
STEPS = {("tiny", "cpu"): 8, ("small", "cpu"): 4, ("small", "cuda"): 24, ("paper", "cuda"): 4}
WARM_UP = {"cpu": 0, "cuda": 2}  # steps that are not timed
REPEATS = {"tiny": 3}  # of each side; a tiny one takes seconds, which a busy machine stretches unevenly


@dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    scale: str
    device: str

    @property
    def stage(self) -> Stage:
        """Its sizes."""
        return (PAPER if self.scale == "paper" else STAGES)[self.name]

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return STEPS[self.scale, self.device]

    @property
    def isolated(self) -> bool:
        """Whether ours keeps the questions of an image apart, and the peer has a row for each."""
        return self.scale != "paper"

    @property
    def lora(self) -> bool:
        """Whether adapters train in place of the LLM's weights."""
        return self.scale == "paper" and self.name == "instruct"


@functools.cache
def conversations(stage: Stage, steps: int) -> "tuple[list[Conversation], dict[str, np.ndarray]]":
    """One conversation of exactly `turns` turns per image, and the images (h, w, 3) by key."""
    from data_registry import render
    from data_registry.questions import dialogue
    from data_registry.questions.geometry import Margins
    from model.samples import Conversation

    wanted, recipe = stage.rows * steps, dialogue.DialogueRecipe(turns=(stage.turns, stage.turns), choice_share=0.0)
    found: list[Conversation] = []
    pictures = {}
    while len(found) < wanted:
        scenes = []
        for index in range(len(pictures), len(pictures) + ROUND):
            world = render.sample(SEED, index)
            picture = render.render(world, SCENE_SIZE)
            scenes.append(render.scene(world, SCENE_SIZE, str(index), picture))
            pictures[str(index)] = picture.rgb
        made = dialogue.conversations(scenes, "bench", SEED, recipe, Margins(), Counter())
        read = [Conversation.from_llava(one["id"], one["image"], one["conversations"]) for one in made]
        found += [one for one in read if len(one.turns) == stage.turns]
    return found[:wanted], pictures


def assemble(case: Case, encoders: Sequence[str] = (ENCODER,)) -> "tuple[SpatialLLMForConditionalGeneration, Any]":
    """The model of a scale with a new connector, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    from model.encoders import load_encoder
    from model.llms import llm_spec, load_llm, load_tokenizer
    from model.modeling import SpatialLLMForConditionalGeneration
    from tasks.lmm import image_token_id

    if case.device == "cpu":
        torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    name, folder = LLMS[case.scale]
    if not folder.exists():
        raise InputError(f"{folder}: not there; `make roadmap` makes the tiny models, `make smoke-small` SmolLM2's")
    if case.scale == "paper":
        tokenizer, (towers, llm) = load_tokenizer(folder), random_parts(encoders, name, case.device)
    else:
        tokenizer = load_tokenizer(folder)
        if case.device == "cuda":
            torch.manual_seed(SEED)
            llm = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
        else:
            llm, _ = load_llm(folder)
        towers = [load_encoder(each, "tiny", TINY / each) for each in encoders]
    template = llm_spec(name, case.scale).template
    return SpatialLLMForConditionalGeneration.assemble(towers, llm, image_token_id(tokenizer), template), tokenizer


def random_parts(encoders: Sequence[str], llm: str, device: str) -> tuple[list, Any]:
    """Encoders and an LLM of paper scale on the device, as precise as they are while others train around them."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from model.encoders import VisionEncoder, build_tower, encoder_spec
    from model.zoo import ARCHITECTURES

    torch.manual_seed(SEED)
    with torch.device(device):
        towers = [
            VisionEncoder(each, encoder_spec(each, "paper"), build_tower(dict(ARCHITECTURES[each]))).eval()
            for each in encoders
        ]
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(**ARCHITECTURES[llm]), dtype=torch.bfloat16)
    for module in made.modules():
        if not isinstance(module, torch.nn.Linear):
            for p in module.parameters(recurse=False):
                p.data = p.data.float()
    return towers, made


def encode(
    model: "SpatialLLMForConditionalGeneration",
    tokenizer: Any,
    case: Case,
    found: "Sequence[Conversation]",
    isolate: bool,
) -> "list[EncodedSample]":
    """Tokens as our training has them."""
    from tasks.lmm import sample_encoder

    template = model.config.template if case.stage.template == "own" else case.stage.template
    return sample_encoder(model, tokenizer, template, 2048, isolate).encode_all(found)


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


class Clock:
    """Seconds of the timed steps: processor time on a CPU, wall time on a GPU."""

    def __init__(self, case: Case) -> None:
        self.case, self._began, self._steps = case, 0.0, 0
        if case.device == "cpu":
            # What the Trainer imports as it begins, for seconds that are no training: before either side is timed.
            import deepspeed  # noqa: F401

    def start(self) -> None:
        """Training begins."""
        self._began = self._now()

    def step(self, *args: Any) -> None:
        """A step is done."""
        self._steps += 1
        if self._steps == WARM_UP[self.case.device]:
            self._began = self._now()

    def seconds(self) -> float:
        """Since the first timed step began."""
        return self._now() - self._began

    def _now(self) -> float:
        if self.case.device == "cpu":
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.monotonic()

    def measured(self, losses: list[float], samples: "Sequence[EncodedSample]", **more: Any) -> dict[str, Any]:
        """What a side reports; `samples` in the order of training. Tokens are those of the LLM, without padding."""
        seconds = self.seconds()
        if self.case.device == "cpu":
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
        else:
            import torch

            memory = torch.cuda.max_memory_allocated() / 2**30
        timed = sequences(samples[WARM_UP[self.case.device] * self.case.stage.rows :])
        return {
            "seconds": round(seconds, 3),
            "peak_memory_gib": round(memory, 2),
            "loss": losses,
            "tokens": sum(len(ids) for _, ids, _ in timed),
            "targets": sum(sum(label != -100 for label in labels) for _, _, labels in timed),
            **more,
        }


def ours(case: Case, folder: Path, encoders: Sequence[str] = (ENCODER,)) -> dict[str, Any]:
    """Cached features, turns of an image in one row, the head where a label is; at paper scale pixels and rows."""
    import torch
    from PIL import Image

    from model.collate import Collator
    from model.features import extract
    from model.images import to_pixels
    from model.meter import model_flops
    from model.training import Machine, Recipe, train
    from tasks.features import BATCH

    stage, clock = case.stage, Clock(case)
    found, pictures = conversations(stage, case.steps)
    model, tokenizer = assemble(case, encoders)
    samples = encode(model, tokenizer, case, found, case.isolated)
    set_trained(model, case)
    size = max(encoder.spec.image_size for encoder in model.encoders.values())

    def pixels(keys: Sequence[str]) -> np.ndarray:
        return np.stack([to_pixels(Image.fromarray(pictures[key]), size) for key in keys])

    def live(wanted: Sequence[str]) -> dict[str, Any]:
        return {"pixel_values": torch.from_numpy(pixels(wanted))}

    def cached(wanted: Sequence[str]) -> dict[str, Any]:
        return {"image_features": [torch.stack([features[key] for key in wanted])]}

    clock.start()
    extraction_s = 0.0
    if case.scale != "paper":
        keys = [one.image for one in found]
        batches = (pixels(keys[at : at + BATCH]) for at in range(0, len(keys), BATCH))
        extracted = np.concatenate(list(extract(model.encoders[ENCODER].to(case.device), batches, bf16=True)))
        features = dict(zip(keys, torch.from_numpy(extracted), strict=True))
        extraction_s = clock.seconds()
    recipe = Recipe(lr=stage.lr, global_batch=stage.rows)
    on_gpu = case.device == "cuda"
    machine = Machine(
        per_device_batch=(stage.batch or stage.rows) if on_gpu else OUR_BATCH,
        log_steps=1,
        device=case.device,
        workers=4 if case.scale == "paper" else 0,
    )
    lines: list[dict[str, float]] = []
    train(
        model, samples, Collator(tokenizer.pad_token_id, live if case.scale == "paper" else cached), recipe, folder,
        SEED, machine, on_log=lambda step, values: lines.append(values), on_progress=clock.step,
    )  # fmt: skip
    measured = clock.measured(
        [line["loss"] for line in lines],
        in_our_order(samples, stage.rows),
        extraction_s=round(extraction_s, 2),
        flops=model_flops(model.language_model),
    )
    if on_gpu:  # the timed steps' share of it
        measured["seconds"] += round(extraction_s * (1 - WARM_UP["cuda"] / case.steps), 3)
    return measured


def set_trained(model: "SpatialLLMForConditionalGeneration", case: Case) -> None:
    """What the stage trains; adapters with the start that the peer's have."""
    import torch

    from model.adaptation import LLM_LINEARS, Lora, add_lora
    from model.frozen import freeze_all_but

    if not case.lora:
        freeze_all_but(model, model.connector, *([model.language_model] if case.name == "instruct" else []))
        return
    torch.manual_seed(SEED)
    adapters = add_lora(model.language_model, Lora(LORA_RANK, LORA_ALPHA, 0.0), LLM_LINEARS)
    freeze_all_but(model, model.connector)
    for p in adapters:
        p.data = p.data.float()
        p.requires_grad_(True)


def ours_two(case: Case, folder: Path) -> dict[str, Any]:
    """The paper's design of two encoders, which no LLaVA has."""
    return ours(case, folder, TWO)


def export(case: Case, folder: Path) -> dict[str, Any]:
    """The peer's starting weights, written by a process whose memory is not counted."""
    from model.export import to_llava

    model, _ = assemble(case)
    to_llava(model).save_pretrained(folder)
    return {}


def peer(case: Case, folder: Path, isolate: bool = True) -> dict[str, Any]:
    """transformers' LLaVA and Trainer; the order of samples is ours, so that the steps are the same."""
    import torch
    from PIL import Image
    from torch.utils.data import SequentialSampler
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    from model.images import to_pixels

    stage, steps, clock, on_gpu = case.stage, case.steps, Clock(case), case.device == "cuda"
    found, pictures = conversations(stage, steps)
    own, tokenizer = assemble(case)
    ordered = in_our_order(encode(own, tokenizer, case, found, isolate and case.isolated), stage.rows)
    data = sequences(ordered)
    encoder = own.encoders[ENCODER]
    llava = as_llava(own, case, folder)
    del own
    ready: dict[str, torch.Tensor] = {}

    def pixels(key: str) -> torch.Tensor:
        if key in ready:
            return ready[key]
        image = to_pixels(Image.fromarray(pictures[key]), encoder.spec.image_size)
        return encoder.normalise(torch.from_numpy(image[None]))

    if on_gpu:
        ready |= {key: pixels(key) for key in dict.fromkeys(image for image, _, _ in data)}
        torch.cuda.reset_peak_memory_stats()

    class InOrder(Trainer):
        def _get_train_sampler(self, *args: Any) -> SequentialSampler:
            return SequentialSampler(data)

    class Watch(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.step()

    losses: list[float] = []
    per_step = len(data) // steps
    most = (stage.peer_batch or per_step) if on_gpu else PEER_BATCH
    micro = min(most, per_step)
    with tempfile.TemporaryDirectory() as work:
        arguments = TrainingArguments(
            output_dir=work, per_device_train_batch_size=micro, gradient_accumulation_steps=per_step // micro,
            max_steps=steps, learning_rate=stage.lr, lr_scheduler_type="cosine", warmup_steps=math.ceil(steps * 0.03),
            bf16=True, use_cpu=not on_gpu, seed=SEED, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=on_gpu,
        )  # fmt: skip
        clock.start()
        trainer = InOrder(
            model=llava,
            args=arguments,
            train_dataset=data,
            data_collator=lambda batch: padded(batch, tokenizer.pad_token_id, pixels),
            callbacks=[Watch()],
        )
        trainer.remove_callback(PrinterCallback)
        with as_it_comes():
            trainer.train()
    return clock.measured(losses, ordered)


@contextmanager
def as_it_comes() -> Iterator[None]:
    """torch and transformers without what ours changes in them for GPUs."""
    import torch
    from transformers.models.llama import modeling_llama

    from model import rotary

    torch.backends.cuda.enable_cudnn_sdp(True)
    modeling_llama.apply_rotary_pos_emb = rotary._theirs
    try:
        yield
    finally:
        modeling_llama.apply_rotary_pos_emb = rotary.apply_rotary_pos_emb
        torch.backends.cuda.enable_cudnn_sdp(False)


def as_llava(own: "SpatialLLMForConditionalGeneration", case: Case, folder: Path) -> Any:
    """The peer with our weights, set to train what the stage trains."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlavaForConditionalGeneration

    from model.adaptation import LLM_LINEARS
    from model.export import to_llava

    if case.scale != "paper":
        llava = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    else:
        with torch.device(case.device):
            llava = to_llava(own.to(case.device))
        llava.model.language_model.bfloat16()  # as it is published, and loaded
        llava.lm_head.bfloat16()
    projector, llm = llava.model.multi_modal_projector, llava.model.language_model
    llava.requires_grad_(False)
    if case.lora:
        torch.manual_seed(SEED)
        targets = rf".*language_model.*\.({'|'.join(LLM_LINEARS)})"
        llava = get_peft_model(llava, LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=targets))
    elif case.name == "instruct":
        llm.requires_grad_(True)
        llava.lm_head.requires_grad_(True)
    projector.requires_grad_(True)
    return llava


def peer_rows(case: Case, folder: Path) -> dict[str, Any]:
    """The peer with all questions of an image in one row."""
    return peer(case, folder, isolate=False)


SIDES: dict[str, Callable[[Case, Path], dict[str, Any]]] = {
    "ours": ours, "ours_two": ours_two, "export": export, "peer": peer, "peer_rows": peer_rows,
}  # fmt: skip


def _measure(side: str, case: Case, folder: Path) -> dict[str, Any]:
    """On a CPU in a process of its own; what a GPU holds can be counted from zero again."""
    if case.device == "cuda":
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return SIDES[side](case, folder)
    command = [sys.executable, "-m", "benchmarks.train", "--scale", case.scale, "--device", case.device]
    command += ["--stage", case.name, "--side", side, "--folder", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(case: Case) -> None:
    """Measure all sides of a stage and record them: train-STAGE-SCALE.json, with -gpu where it was one."""
    sides = ["ours", "peer", "peer_rows"] if case.isolated else ["ours", "peer", "ours_two"]
    measured: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as work:
        llava = Path(work) / "llava"
        if case.scale != "paper":
            _measure("export", case, llava)
        for number in range(REPEATS.get(case.scale, 1)):  # by turns: what else the machine does is shared out
            for side, found in measured.items():
                found.append(_measure(side, case, Path(work) / f"{side}-{number}" if "ours" in side else llava))
                print(f"{case.name} {side}: {found[-1]}", file=sys.stderr)
    summary = {
        side: found[0] | {"seconds": statistics.median(one["seconds"] for one in found)}
        for side, found in measured.items()
    }
    own, other = summary["ours"], summary["peer"]
    steps = case.steps - WARM_UP[case.device]
    samples = case.stage.rows * (case.stage.turns if case.isolated else 1) * steps
    apart = max(abs(a - b) / b for a, b in zip(own["loss"], other["loss"], strict=True))
    if apart > SAME_CURVE:
        raise SystemExit(
            f"error: {case.name}: the loss curves differ by {apart:.1%}; what trains differently is not compared"
        )
    rate = "core-second" if case.device == "cpu" else "second"
    record(
        f"train-{case.name}-{case.scale}" + ("" if case.device == "cpu" else "-gpu"),
        ours=round(samples / own["seconds"], 2),
        peer=round(samples / other["seconds"], 2),
        unit=f"{'question-answer samples' if case.isolated else 'samples'} per {rate}",
        peer_name=f"LlavaForConditionalGeneration + Trainer, transformers {version('transformers')}",
        command="make bench-train"
        if case.scale == "tiny"
        else f"python -m benchmarks.train --scale {case.scale} --device {case.device}",
        design=f"{'paper-scale' if case.scale == 'paper' else 'tiny'} {ENCODER} + {LLMS[case.scale][0]}, bf16 autocast"
        + (", one thread" if case.device == "cpu" else "")
        + (f", LoRA of rank {LORA_RANK}" if case.lora else ""),
        steps=steps,
        seconds={side: [one["seconds"] for one in found] for side, found in measured.items()},
        samples_per_step=samples // steps,
        **_tokens(own, other, rate),
        peak_memory_gib={side: one["peak_memory_gib"] for side, one in summary.items() if side != "peer_rows"},
        extraction_s=own["extraction_s"],
        loss={side: one["loss"] for side, one in summary.items() if side != "peer_rows"},
        largest_relative_difference_of_losses=round(apart, 5),
        **(_rows(samples, summary) if case.isolated else _utilisation(samples, summary)),
    )


def _tokens(own: dict[str, Any], other: dict[str, Any], rate: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        side: round(other["tokens"] / one["seconds"]) for side, one in (("ours", own), ("peer", other))
    }
    found["counted"] = "as the peer sees them: every sample with its image"
    return {f"tokens_per_{rate.replace('-', '_')}": found}


def _rows(samples: int, summary: dict[str, dict[str, Any]]) -> dict[str, Any]:
    own, in_rows = summary["ours"], summary["peer_rows"]
    return {
        "peer_with_an_image_per_row": {
            "samples_per_second": round(samples / in_rows["seconds"], 2),
            "ratio": round(in_rows["seconds"] / own["seconds"], 3),
            "note": "all questions of an image in one row, each of which sees those before it: another loss",
        }
    }


def _utilisation(samples: int, summary: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of each side: the LLM's model FLOPs (model/meter.py) by the peak of the card; the encoders' are not counted."""
    import torch

    from model.meter import peak_flops

    found = {}
    for side, one in summary.items():
        per_token, per_target = summary["ours"]["flops"]
        flops = one["tokens"] * per_token + one["targets"] * per_target
        found[side] = {
            "samples_per_second": round(samples / one["seconds"], 2),
            "model_flops_utilisation": round(flops / one["seconds"] / peak_flops(torch.device("cuda")), 4),
        }
    return {"sides": found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scale", choices=tuple(LLMS), default="tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--stage", choices=tuple(STAGES), help="of these alone; default: all")
    parser.add_argument("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if (chosen.scale, chosen.device) not in STEPS:
        offered = ", ".join(f"{scale} on {device}" for scale, device in STEPS)
        sys.exit(f"error: {chosen.scale} on {chosen.device} is not measured; choose one of {offered}")
    if chosen.device == "cuda":
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", GROWING)
    for each in [chosen.stage] if chosen.stage else STAGES:
        case = Case(each, chosen.scale, chosen.device)
        if chosen.side:
            print(json.dumps(SIDES[chosen.side](case, chosen.folder)))
        else:
            compare(case)
