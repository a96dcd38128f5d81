"""Training of any stage: what trains, in which order, with checkpoints that resume bit for bit.
On the Hugging Face Trainer, which brings accumulation, mixed precision, several devices and DeepSpeed."""

import contextlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import PrinterCallback
from transformers.trainer_utils import TrainOutput, set_seed

from data_registry.errors import InputError
from model.training.batching import GroupedBatches, cut_global_batch
from model.training.callbacks import Reporter
from model.training.checkpoints import last_complete, step_of
from model.training.deepspeed import leave_deepspeed, prepare_deepspeed, unpartition
from model.training.frozen import rounded_once
from model.training.hf_trainer import NOT_FINITE_FILE, SpatialTrainer, training_arguments
from model.training.meter import Meter, model_flops, peak_flops
from model.training.recipe import Machine, Monitor, Recipe, TrainingData, TrainResult

_STOPS = 10  # steps; a training that is stopped early stops at a multiple, where a line of its log ends as well


@dataclass(frozen=True)
class _Schedule:
    """How the steps of a training are cut: samples per pass, passes per step, steps per epoch, in all, and to take."""

    batches: GroupedBatches
    micro: int
    accumulation: int
    steps_per_epoch: int
    steps: int
    stop: int


def train(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    work: Path,
    seed: int,
    machine: Machine | None = None,
    monitor: Monitor | None = None,
    frac: float = 1.0,
) -> TrainResult:
    """Train what has gradients, from the last whole checkpoint in `work` if there is one.

    Args:
        model: returns {"loss"} from a batch; its loss is a sum divided by `num_items_in_batch`.
        work: folder for checkpoints; one training run only.
        frac: stop after this share of the steps, rounded up to tens, with the weights that the whole training has
            there (its rate does not fall earlier) and a checkpoint that it can go on from.

    Raises:
        InputError: no samples, batches that several processes cannot share out, or a loss that is not finite; the
            message then has the step and the sample ids.
    """
    machine, monitor = machine or Machine(), monitor or Monitor()
    if not len(data.samples):
        raise InputError("no samples to train on; check the data sets of this stage and the fraction of them")
    cpu = machine.device == "cpu" or (machine.device == "auto" and not torch.cuda.is_available())
    if machine.deepspeed:
        prepare_deepspeed(cpu)
        model.every_parameter_takes_part = True
    world = int(os.environ.get("WORLD_SIZE", "1"))
    cut = _schedule(data, recipe, machine, seed, world, frac)
    # All of it goes in at once: DeepSpeed's configuration is filled in when the arguments are made.
    arguments = training_arguments(recipe, machine, work, seed, cpu, cut.micro, cut.accumulation, cut.steps)
    llm = getattr(model, "language_model", None)
    # Counted before ZeRO-3 shares the weights out.
    meter = Meter(world, model_flops(llm) if llm is not None else (0.0, 0.0), peak_flops(arguments.device))
    reporter = Reporter(meter, monitor, cut.stop, lambda step: cut.batches.set_epoch(step // cut.steps_per_epoch))
    with contextlib.ExitStack() as afterwards:
        if machine.deepspeed:
            afterwards.callback(leave_deepspeed)
        elif recipe.bf16:
            afterwards.enter_context(rounded_once(model))
        trainer = SpatialTrainer(
            model=model,
            args=arguments,
            data_collator=data.collate,
            train_dataset=data.samples,
            callbacks=[reporter],
            recipe=recipe,
            batches=cut.batches,
            meter=meter,
            stop=cut.stop,
            skip_not_finite=data.skip_not_finite and world == 1 and not machine.deepspeed,
        )
        trainer.remove_callback(PrinterCallback)
        output, resumed = _run(trainer, work, cut.stop, seed)
    if machine.deepspeed and machine.deepspeed["zero_optimization"]["stage"] == 3:
        unpartition(trainer.model_wrapped, model)
    return _result(trainer, output, resumed)


def _schedule(data: TrainingData, recipe: Recipe, machine: Machine, seed: int, world: int, frac: float) -> _Schedule:
    micro, accumulation = cut_global_batch(recipe.global_batch, machine.per_device_batch, world)
    batches = data.batches
    if batches is None:
        batches = GroupedBatches.of(data.samples, recipe.global_batch, micro, seed)
    elif batches.micro_batch != micro:
        raise InputError(
            f"batches of {batches.micro_batch} samples must stay whole, so {world} processes cannot share them out; "
            "run this in one process"
        )
    steps_per_epoch = len(batches) * batches.micro_batch // recipe.global_batch
    steps = max(1, math.ceil(steps_per_epoch * recipe.epochs))
    stop = min(steps, math.ceil(steps * frac / _STOPS) * _STOPS)
    return _Schedule(batches, micro, accumulation, steps_per_epoch, steps, stop)


def _run(trainer: SpatialTrainer, work: Path, stop: int, seed: int) -> tuple[TrainOutput, int]:
    """Train from the last whole checkpoint up to step `stop`; returns the Trainer's output and the step begun from."""
    if trainer.is_world_process_zero():
        last_complete(work)  # removes what a kill left, before anyone looks for what is whole
    trainer.accelerator.wait_for_everyone()
    checkpoint = last_complete(work, stop)
    if checkpoint and (checkpoint / NOT_FINITE_FILE).exists():  # not where several processes wrote it
        trainer.not_finite = json.loads((checkpoint / NOT_FINITE_FILE).read_text())
    set_seed(seed)
    output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return output, step_of(checkpoint) if checkpoint else 0


def _result(trainer: SpatialTrainer, output: TrainOutput, resumed: int) -> TrainResult:
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    tail = losses[-math.ceil(len(losses) / 10) :]
    seconds = output.metrics["train_runtime"]
    return TrainResult(output.global_step, sum(tail) / len(tail), seconds, resumed, tuple(trainer.not_finite))
