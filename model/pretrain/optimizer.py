"""The optimiser of all pretraining: Muon for the matrices inside the network, AdamW for the rest, one cosine for both.
Muon needs about half of AdamW's steps here (`KellerJordan/Muon:README.md` has the why)."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from model.layers.precision import bf16_products


class Optimizer:
    """Muon and AdamW as one, with linear warm-up and a cosine down to zero.

    Args:
        modules: what to train; parameters without gradients are left out.
        steps: length of the schedule.
        matrix_lr: Muon's rate, for 2D weights of Linear layers except embeddings and heads.
        other_lr: AdamW's rate for everything else.
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        steps: int,
        matrix_lr: float = 0.012,
        other_lr: float = 1.5e-3,
        warmup: int = 50,
        weight_decay: float = 0.01,
    ) -> None:
        matrices, others = [], []
        for module in modules:
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    inner = parameter.ndim == 2 and ".layer" in f".{name}" and "head" not in name
                    (matrices if inner else others).append(parameter)
        self.parameters = matrices + others
        self.steps, self.warmup = steps, min(warmup, max(1, steps // 10))
        self.parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(others, lr=other_lr, betas=(0.9, 0.98), weight_decay=weight_decay), other_lr)
        ]
        if matrices:
            muon = torch.optim.Muon(matrices, lr=matrix_lr, weight_decay=weight_decay, ns_steps=4)
            self.parts.append((muon, matrix_lr))

    def step(self, done: int) -> None:
        """Apply the gradients as step number `done` (from 0) and clear them."""
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for part, lr in self.parts:
            for group in part.param_groups:
                group["lr"] = lr * self.schedule(done)
            with bf16_products(self.parameters[0].device):
                part.step()
            part.zero_grad(set_to_none=True)

    def schedule(self, done: int) -> float:
        """Share of the full rate at a step."""
        rise = min(1.0, (done + 1) / self.warmup)
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, done / self.steps)))

    def state_dict(self) -> dict[str, Any]:
        """All state, for a checkpoint."""
        return {str(i): part.state_dict() for i, (part, _) in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        for i, (part, _) in enumerate(self.parts):
            part.load_state_dict(state[str(i)])
