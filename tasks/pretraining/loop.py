"""The loop that trains a tiny foundation model: schedule, checkpoints, random numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_registry import ranges
from tasks.stage.harness import StageRun

if TYPE_CHECKING:
    from torch import Tensor, nn

    from model.pretrain.optimizer import Optimizer


@dataclass(frozen=True)
class Schedule:
    """Steps of training, and the rates of Muon (matrices) and AdamW (the rest)."""

    steps: ranges.Natural
    matrix_lr: ranges.NotNegative = 0.012
    other_lr: ranges.NotNegative = 1.5e-3


def train(
    run: StageRun,
    modules: "dict[str, nn.Module]",
    optimizer: "Optimizer",
    loss_of: "Callable[[int], tuple[Tensor, dict[str, float]]]",
    phase: str = "train",
    after: Callable[[int], None] = lambda step: None,
    every: int = 100,
) -> None:
    """Run a phase of training from its last checkpoint to its end.

    Each step's randomness comes from (seed, phase, step) alone, so a resumed run ends in the same weights as an
    unbroken one.

    Args:
        modules: by name, what a checkpoint holds.
        loss_of: the loss of a step, and what else to log.
        after: called when a step is done.
        every: steps between checkpoints.
    """
    import torch

    checkpoint = run.work / f"{phase}.pt"
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        start = state["step"]
        for name, module in modules.items():
            module.load_state_dict(state[name])
        optimizer.load_state_dict(state["optimizer"])
    for module in modules.values():
        module.train()
    for step in range(start, optimizer.steps):
        torch.manual_seed(run.seed * 1_000_003 + sum(phase.encode()) * 100_003 + step)
        loss, more = loss_of(step)
        loss.backward()
        optimizer.step(step)
        after(step)
        if step % 20 == 19 or step + 1 == optimizer.steps:
            run.recorder.log(step + 1, {f"{phase}/loss": loss.item(), **{f"{phase}/{k}": v for k, v in more.items()}})
        if (step + 1) % every == 0 or step + 1 == optimizer.steps:
            state = {name: module.state_dict() for name, module in modules.items()}
            _save(checkpoint, {**state, "optimizer": optimizer.state_dict(), "step": step + 1})
        run.progress(step + 1, optimizer.steps)
    for module in modules.values():
        module.eval()


def _save(path: Path, state: dict[str, Any]) -> None:
    import torch

    beside = path.with_suffix(".writing")
    torch.save(state, beside)
    beside.replace(path)


def rng(*key: int | str) -> Any:
    """A numpy generator of its own for each key."""
    import numpy as np

    return np.random.default_rng([part if isinstance(part, int) else sum(part.encode()) for part in key])
