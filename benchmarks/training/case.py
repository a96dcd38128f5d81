"""What the two sides of the training benchmark have in common: sizes, the questions, the model, the clock."""

import functools
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_registry.errors import InputError
from flows.smoke_small import FOLDER

if TYPE_CHECKING:
    from model.conversations.samples import Conversation, EncodedSample
    from model.modeling import SpatialLLMForConditionalGeneration

ROOT = Path(__file__).resolve().parents[2]
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


@dataclass(frozen=True)
class Stage:
    """Sizes of one comparison: rows (images) per step, turns of each, peak learning rate, template of the answers.

    `batch`, `peer_batch`: rows and the peer's sequences in one forward pass on a GPU.
    """

    rows: int
    turns: int
    lr: float
    template: str
    batch: int = 0
    peer_batch: int = 0


STAGES = {"align": Stage(16, 6, 1e-3, "plain"), "instruct": Stage(8, 8, 5e-4, "own")}
ON_GPU = {  # optimizer steps as params.yaml has them at small scale; at paper scale as large as a minute allows
    # A small step is one forward pass, the peer's too: smaller ones leave a GPU idle between their kernels.
    "small": {"align": Stage(128, 6, 1e-3, "plain", 128, 768), "instruct": Stage(64, 8, 1e-4, "own", 64, 512)},
    "paper": {"align": Stage(64, 1, 1e-3, "plain", 32, 16), "instruct": Stage(64, 8, 2e-4, "own", 16, 8)},
}
STEPS = {("tiny", "cpu"): 8, ("small", "cpu"): 4, ("small", "cuda"): 12, ("paper", "cuda"): 4}
WARM_UP = {"cpu": 0, "cuda": 2}  # steps that are not timed


@dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    scale: str
    device: str

    @property
    def stage(self) -> Stage:
        """Its sizes."""
        return (ON_GPU[self.scale] if self.device == "cuda" else STAGES)[self.name]

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
    from model.conversations.samples import Conversation

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

    from model.backbones.encoders import load_encoder
    from model.backbones.llms import llm_spec, load_llm, load_tokenizer
    from model.modeling import SpatialLLMForConditionalGeneration
    from tasks.training.model_files import image_token_id

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

    from model.backbones.encoders import VisionEncoder, build_tower, encoder_spec
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
    from tasks.training.model_files import sample_encoder

    template = model.config.template if case.stage.template == "own" else case.stage.template
    return sample_encoder(model, tokenizer, template, 2048, isolate).encode_all(found)


def in_our_order(samples: "Sequence[EncodedSample]", rows: int) -> "list[EncodedSample]":
    """The samples in the order of our optimizer steps, `rows` in each."""
    from model.training.batching import GroupedBatches

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
