"""Our training, and transformers' LLaVA with its Trainer doing the same."""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.training.case import (
    ENCODER,
    SEED,
    TWO,
    WARM_UP,
    Case,
    Clock,
    assemble,
    conversations,
    encode,
    in_our_order,
    padded,
    sequences,
)

if TYPE_CHECKING:
    from model.modeling import SpatialLLMForConditionalGeneration

LORA_RANK, LORA_ALPHA = 128, 256  # as params.yaml has them; no dropout, which would part the loss curves
OUR_BATCH = 8  # rows in one forward pass on a CPU, as params.yaml has it
PEER_BATCH = 16  # samples in one forward pass of the peer there


def ours(case: Case, folder: Path, encoders: Sequence[str] = (ENCODER,)) -> dict[str, Any]:
    """Cached features, turns of an image in one row, the head where a label is; at paper scale pixels and rows."""
    import torch
    from PIL import Image

    from model.backbones.features import extract
    from model.backbones.images import to_pixels
    from model.conversations.collate import Collator
    from model.training.meter import model_flops
    from model.training.recipe import Machine, Monitor, Recipe, TrainingData
    from model.training.trainer import train
    from tasks.training.features import BATCH

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

    on_gpu, extraction_s = case.device == "cuda", 0.0
    keys = [one.image for one in found]
    batches: Iterable[np.ndarray] = (pixels(keys[at : at + BATCH]) for at in range(0, len(keys), BATCH))
    encoder = model.encoders[ENCODER].to(case.device)
    if on_gpu and case.scale != "paper":  # as the peer: pixels are there, and the first time is not timed
        batches = list(batches)
        list(extract(encoder, batches[:1], bf16=True))
    clock.start()
    if case.scale != "paper":
        extracted = np.concatenate(list(extract(encoder, batches, bf16=True)))
        features = dict(zip(keys, torch.from_numpy(extracted), strict=True))
        extraction_s = clock.seconds()
    recipe = Recipe(lr=stage.lr, global_batch=stage.rows)
    machine = Machine(
        per_device_batch=stage.batch if on_gpu else OUR_BATCH,
        log_steps=1,
        device=case.device,
        workers=4 if on_gpu else 0,  # as runtime.data_workers is where nothing is said
    )
    lines: list[dict[str, float]] = []
    collate = Collator(tokenizer.pad_token_id, live if case.scale == "paper" else cached)
    monitor = Monitor(lambda step, values: lines.append(values), clock.step)
    train(model, TrainingData(samples, collate), recipe, folder, SEED, machine, monitor)
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

    from model.training.adaptation import LLM_LINEARS, Lora, add_lora
    from model.training.frozen import freeze_all_but

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

    from model.backbones.images import to_pixels

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
    micro = min(stage.peer_batch if on_gpu else PEER_BATCH, per_step)
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

    from model.layers import rotary

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

    from model.export import to_llava
    from model.training.adaptation import LLM_LINEARS

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
