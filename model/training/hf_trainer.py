"""The Hugging Face Trainer with this project's order of samples, optimizer, loss count and checkpoints."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

import model.layers.precision  # noqa: F401  accelerate's autocast takes its products where the CPU has no bf16 units
from data_registry.errors import InputError
from model.training.batching import GroupedBatches
from model.training.meter import Meter
from model.training.optimizers import build_optimizer
from model.training.recipe import Machine, Recipe

NOT_FINITE_FILE = "not_finite.json"  # in a checkpoint: the samples counted up to there


def training_arguments(
    recipe: Recipe, machine: Machine, work: Path, seed: int, cpu: bool, micro: int, accumulation: int, steps: int
) -> TrainingArguments:
    """A recipe on a machine as the Trainer's arguments.

    Args:
        micro, accumulation: samples of one forward pass on one device, and passes per optimizer step.
        steps: optimizer steps of the whole training.
    """
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
        skip_not_finite: bool = False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.recipe, self.batches, self.meter = recipe, batches, meter
        self.stop, self.skip_not_finite = stop, skip_not_finite
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
        outcome = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not (outcome[0] if return_outputs else outcome).requires_grad:
            raise InputError(
                f"nothing that trains takes part in samples {', '.join(self._ids)}: where only the connector trains, "
                "every sample needs an image"
            )
        if self.skip_not_finite and not torch.isfinite(outcome):
            self.not_finite += self._ids
            # A loss that is not finite times zero is not finite: zero comes from what trains instead.
            return sum(0 * p.float().sum() for p in self.model.parameters() if p.requires_grad)
        return outcome

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
        if self.skip_not_finite or self.not_finite:
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
