"""Training of any stage: what trains, in which order, with checkpoints that resume bit for bit.
On the Hugging Face Trainer, which brings accumulation, mixed precision, several devices and DeepSpeed."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import set_seed

from data_registry.errors import InputError
from model.training.batching import GroupedBatches, cut_global_batch
from model.training.checkpoints import last_complete, mark_complete, step_of
from model.training.deepspeed import leave_deepspeed, prepare_deepspeed, unpartition
from model.training.frozen import rounded_once
from model.training.meter import Meter, model_flops, peak_flops
from model.training.optimizers import build_optimizer

NOT_FINITE_FILE = "not_finite.json"  # in a checkpoint: what was counted up to there
_STOPS = 10  # steps; a training that is stopped stops at a multiple, where a line of its log ends as well


@dataclass(frozen=True)
class Recipe:
    """What determines the result of a training run, besides the data and the starting weights.

    Attributes:
        lr: peak learning rate (of AdamW).
        muon_lr: peak learning rate of Muon, where the optimizer has one.
        optimizer: see `model/training/optimizers.py`.
        global_batch: samples per optimizer step, over all devices.
        epochs: passes over the data; a fraction stops within the last one.
        warmup: share of the steps in which the rate rises; then it follows a cosine to `min_lr`.
        weight_decay, beta2, max_grad_norm: as usual; 0 turns clipping off.
        lora_lr: peak learning rate of LoRA adapters; 0: `lr`.
        bf16: mixed precision with fp32 weights.
    """

    lr: float
    global_batch: int
    epochs: float = 1.0
    optimizer: str = "adamw"
    muon_lr: float = 0.0
    warmup: float = 0.03
    min_lr: float = 0.0
    weight_decay: float = 0.0
    beta2: float = 0.999
    max_grad_norm: float = 1.0
    lora_lr: float = 0.0
    bf16: bool = True


@dataclass(frozen=True)
class Machine:
    """How a training run is computed; nothing here changes its result.

    Attributes:
        per_device_batch: most samples in one forward pass; accumulation follows from the global batch.
        checkpoint_steps: optimizer steps between checkpoints; 0 for none.
        log_steps: optimizer steps between log lines.
        device: "auto", "cpu" or "cuda".
        deepspeed: a DeepSpeed configuration, or None.
        gradient_checkpointing: recompute activations instead of keeping them.
        workers: processes that load data.
    """

    per_device_batch: int = 64
    checkpoint_steps: int = 0
    log_steps: int = 10
    device: str = "auto"
    deepspeed: dict[str, Any] | None = None
    gradient_checkpointing: bool = False
    workers: int = 0


@dataclass(frozen=True)
class TrainResult:
    """What a training run reports: steps, the mean loss of its last tenth, and the time of this process's part.

    `not_finite`: ids of the samples of micro-batches whose loss was not finite, where such are counted.
    """

    steps: int
    loss: float
    seconds: float
    resumed_from: int
    not_finite: tuple[str, ...] = ()


def train(
    model: nn.Module,
    samples: Sequence[Any],
    collate: Callable[[Sequence[Any]], dict[str, Any]],
    recipe: Recipe,
    work: Path,
    seed: int,
    machine: Machine | None = None,
    batches: GroupedBatches | None = None,
    on_log: Callable[[int, dict[str, float]], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    count_faults: bool = False,
    frac: float = 1.0,
) -> TrainResult:
    """Train what has gradients, from the last whole checkpoint in `work` if there is one.

    Args:
        model: returns {"loss"} from a batch; its loss is a sum divided by `num_items_in_batch`.
        samples: a sequence that `collate` makes batches of; each has an `id`.
        work: folder for checkpoints; one training run only.
        batches: the order; default: grouped by modality and length.
        on_log: step and {"loss", "learning_rate", "grad_norm"}, with the figures of `model.training.meter` beside them.
        on_progress: optimizer steps done and in all.
        count_faults: a micro-batch whose loss is not finite gives no gradient and is counted, instead of ending it all;
            not with DeepSpeed or several processes, whose ranks must pass through the same layers.
        frac: stop after this share of the steps, rounded up to tens, with the weights that the whole training has
            there (its rate does not fall earlier) and a checkpoint that it can go on from.

    Raises:
        InputError: no samples, batches that several processes cannot share out, or a loss that is not finite; the
            message then has the step and the sample ids.
    """
    machine = machine or Machine()
    if not len(samples):
        raise InputError("no samples to train on; check the data sets of this stage and the fraction of them")
    cpu = machine.device == "cpu" or (machine.device == "auto" and not torch.cuda.is_available())
    if machine.deepspeed:
        prepare_deepspeed(cpu)
        model.every_parameter_takes_part = True
    world = int(os.environ.get("WORLD_SIZE", "1"))
    micro, accumulation = cut_global_batch(recipe.global_batch, machine.per_device_batch, world)
    if batches is None:
        batches = GroupedBatches.of(samples, recipe.global_batch, micro, seed)
    elif batches.micro_batch != micro:
        raise InputError(
            f"batches of {batches.micro_batch} samples must stay whole, so {world} processes cannot share them out; "
            "run this in one process"
        )
    steps_per_epoch = len(batches) * batches.micro_batch // recipe.global_batch
    steps = max(1, math.ceil(steps_per_epoch * recipe.epochs))
    # All of it goes in at once: DeepSpeed's configuration is filled in when the arguments are made.
    arguments = _arguments(recipe, machine, work, seed, cpu, micro, accumulation, steps)
    llm = getattr(model, "language_model", None)
    # Counted before ZeRO-3 shares the weights out.
    meter = Meter(world, model_flops(llm) if llm is not None else (0.0, 0.0), peak_flops(arguments.device))
    stop = min(steps, math.ceil(steps * frac / _STOPS) * _STOPS)
    reporter = _Reporter(meter, on_log, on_progress, stop, lambda step: batches.set_epoch(step // steps_per_epoch))
    with contextlib.ExitStack() as afterwards:
        if machine.deepspeed:
            afterwards.callback(leave_deepspeed)
        elif recipe.bf16:
            afterwards.enter_context(rounded_once(model))
        trainer = SpatialTrainer(
            model=model,
            args=arguments,
            data_collator=collate,
            train_dataset=samples,
            callbacks=[reporter],
            recipe=recipe,
            batches=batches,
            meter=meter,
            stop=stop,
            count_faults=count_faults and world == 1 and not machine.deepspeed,
        )
        trainer.remove_callback(PrinterCallback)
        if trainer.is_world_process_zero():
            last_complete(work)  # removes what a kill left, before anyone looks for what is whole
        trainer.accelerator.wait_for_everyone()
        checkpoint = last_complete(work, stop)
        if checkpoint and (checkpoint / NOT_FINITE_FILE).exists():  # not where several processes wrote it
            trainer.not_finite = json.loads((checkpoint / NOT_FINITE_FILE).read_text())
        set_seed(seed)
        output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if machine.deepspeed and machine.deepspeed["zero_optimization"]["stage"] == 3:
        unpartition(trainer.model_wrapped, model)
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    tail = losses[-math.ceil(len(losses) / 10) :]
    resumed = step_of(checkpoint) if checkpoint else 0
    seconds = output.metrics["train_runtime"]
    return TrainResult(output.global_step, sum(tail) / len(tail), seconds, resumed, tuple(trainer.not_finite))


def _arguments(
    recipe: Recipe, machine: Machine, work: Path, seed: int, cpu: bool, micro: int, accumulation: int, steps: int
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        max_steps=steps,
        warmup_steps=math.ceil(steps * recipe.warmup),
        learning_rate=recipe.lr,
        lr_scheduler_type="cosine_with_min_lr" if recipe.min_lr else "cosine",
        # As a share: with `min_lr` the peak is looked up in the optimizer, and neither DeepSpeed's nor ours has it.
        lr_scheduler_kwargs={"min_lr_rate": recipe.min_lr / recipe.lr} if recipe.min_lr else {},
        weight_decay=recipe.weight_decay,
        adam_beta2=recipe.beta2,
        max_grad_norm=recipe.max_grad_norm,
        bf16=recipe.bf16,
        use_cpu=cpu,
        seed=seed,
        save_strategy="steps" if machine.checkpoint_steps else "no",
        save_steps=machine.checkpoint_steps or 500,
        save_total_limit=2,
        logging_steps=machine.log_steps,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=machine.workers,
        dataloader_pin_memory=not cpu,
        activation_checkpointing=machine.gradient_checkpointing,
        # By default not where activations are recomputed; but text alone gives the connector no gradient.
        ddp_find_unused_parameters=True,
        deepspeed=machine.deepspeed,
        # A GPU works on while batches come from pinned memory.
        accelerator_config={"even_batches": False, "split_batches": False, "non_blocking": not cpu},
    )
    # One GPU per process: the Trainer would cut up a batch over all it sees, and flat label positions cannot be cut.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


class SpatialTrainer(Trainer):
    """The Trainer with our order, optimizer, loss count, small checkpoints, and a name for what went wrong."""

    def __init__(
        self,
        *args,
        recipe: Recipe,
        batches: GroupedBatches,
        meter: Meter,
        stop: int,
        count_faults: bool = False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.recipe, self.batches, self.meter = recipe, batches, meter
        self.stop, self.count_faults = stop, count_faults
        self.not_finite: list[str] = []
        self.model_accepts_loss_kwargs = True

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        loader = torch.utils.data.DataLoader(
            self.train_dataset,
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            recipe = self.recipe
            self.optimizer = build_optimizer(
                self.model if model is None else model,
                recipe.optimizer,
                recipe.lr,
                recipe.muon_lr,
                recipe.weight_decay,
                (0.9, recipe.beta2),
                lora_lr=recipe.lora_lr,
            )
        return self.optimizer

    def get_batch_samples(self, *args) -> tuple[list, torch.Tensor | None]:
        if self.state.global_step >= self.stop:
            # Its checkpoint was the last one: the Trainer looks for the end only after a step, and would add one.
            self.control.should_training_stop = True
            return [], None
        with self.meter.waiting():
            return super().get_batch_samples(*args)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> torch.Tensor | None:
        if not batch_samples:
            return None
        sizes = (b["label_weights"].sum().item() if "label_weights" in b else len(b["labels"]) for b in batch_samples)
        count = torch.tensor(sum(sizes))  # not on the device: a GPU would finish all that it has to do first
        return self.accelerator.gather(count.to(device)).sum() if self.args.world_size > 1 else count

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """None: the Trainer's count goes through all modules in every micro-batch, and the meter has its own."""
        return 0

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        self._ids = ids = inputs.pop("sample_ids", [])
        self.meter.count(len(ids), inputs.pop("tokens", 0), len(inputs["labels"]))
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}, samples {', '.join(ids)}; "
                "look at these samples, or lower the learning rate"
            )
        return loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not (found[0] if return_outputs else found).requires_grad:
            raise InputError(
                f"nothing that trains takes part in samples {', '.join(self._ids)}: where only the connector trains, "
                "every sample needs an image"
            )
        if self.count_faults and not torch.isfinite(found):
            self.not_finite += self._ids
            # A loss that is not finite times zero is not finite: zero comes from what trains instead.
            return sum(0 * p.float().sum() for p in self.model.parameters() if p.requires_grad)
        return found

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Only what trains: frozen weights come from their own folder when training resumes."""
        if not self.args.should_save:
            return  # under ZeRO-3 this rank has a share of the weights, and another one writes them
        from safetensors.torch import save_file

        trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
        state = self.model.state_dict() if state_dict is None else state_dict
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items() if name in trained}
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_file(kept, Path(output_dir) / "model.safetensors", metadata={"format": "pt"})
        if self.count_faults or self.not_finite:
            (Path(output_dir) / NOT_FINITE_FILE).write_text(json.dumps(self.not_finite))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        from safetensors.torch import load_file

        target = self.model if model is None else model
        state = load_file(Path(resume_from_checkpoint) / "model.safetensors")
        trained = {name for name, p in target.named_parameters() if p.requires_grad}
        if state.keys() != trained:
            odd = sorted(state.keys() ^ trained)[0]
            raise InputError(f"{resume_from_checkpoint}: does not fit what trains now ({odd}); remove it to start anew")
        target.load_state_dict(state, strict=False)


class _Reporter(TrainerCallback):
    """Passes on logs and progress, marks checkpoints once they are whole, and ends a training at step `stop`."""

    def __init__(
        self, meter: Meter, log: Callable | None, progress: Callable | None, stop: int, on_epoch: Callable[[int], None]
    ):
        self.meter, self.log, self.progress, self.stop, self.on_epoch = meter, log, progress, stop, on_epoch

    def on_train_begin(self, args, state, control, **kwargs):
        self.meter.read()  # what came before was no training

    def on_epoch_begin(self, args, state, control, **kwargs):
        # The Trainer does not reach our order through the two wrappers around it, where several processes resume.
        self.on_epoch(state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.log and "loss" in logs:
            values = {k: logs[k] for k in ("loss", "learning_rate", "grad_norm") if k in logs}
            self.log(state.global_step, values | self.meter.read())

    def on_step_end(self, args, state, control, **kwargs):
        last = state.global_step == self.stop
        # What goes on after a stop has the lines of an unbroken training: none is added, unless there is none yet.
        control.should_log |= last and (self.stop == state.max_steps or not state.log_history)
        if last and self.stop < state.max_steps:
            control.should_save = control.should_training_stop = True
        if self.progress:
            self.progress(state.global_step, self.stop)

    def on_save(self, args, state, control, **kwargs):
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()  # each rank writes its share of the optimizer's state
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
