"""What a training is: the recipe that determines its result, the data it sees, and how a machine computes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from model.training.batching import GroupedBatches


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
class TrainingData:
    """The samples of a training and the order in which it sees them.

    Attributes:
        samples: a sequence that `collate` makes batches of; each has an `id`.
        batches: the order; None: grouped by modality and length.
        skip_not_finite: a micro-batch whose loss is not finite gives no gradient and is counted, instead of ending it
            all; not with DeepSpeed or several processes, whose ranks must pass through the same layers.
    """

    samples: Sequence[Any]
    collate: Callable[[Sequence[Any]], dict[str, Any]]
    batches: GroupedBatches | None = None
    skip_not_finite: bool = False


@dataclass(frozen=True)
class Monitor:
    """Callbacks that follow a training.

    Attributes:
        on_log: step and {"loss", "learning_rate", "grad_norm"}, with the figures of `model.training.meter` beside them.
        on_progress: optimizer steps done and in all.
    """

    on_log: Callable[[int, dict[str, float]], None] | None = None
    on_progress: Callable[[int, int], None] | None = None


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
