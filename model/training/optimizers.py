"""Optimizers by name: AdamW at paper scale, Muon for matrices plus AdamW for the rest at tiny scale.
Muon (`KellerJordan/Muon`) learns a tiny model's matrices in a fraction of AdamW's steps; torch has it for 2D only."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from data_registry.errors import InputError, nearest
from model.layers.precision import bf16_products

OPTIMIZERS = ("adamw", "muon+adamw")


class MuonAdamW(torch.optim.Optimizer):
    """Muon and AdamW as one optimizer, with one state to save and load.

    Its parameter groups are those of both, so learning rate schedules and gradient clipping see a single optimizer.

    Args:
        matrices: 2D weights of hidden layers.
        others: groups of embeddings, norms, biases, as for AdamW.
        muon_lr: Muon's learning rate.
        lr, betas, eps: AdamW's.
        weight_decay: of the matrices.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[dict[str, Any]],
        muon_lr: float,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ):
        self._muon = torch.optim.Muon(matrices, lr=muon_lr, weight_decay=weight_decay)
        self._adamw = torch.optim.AdamW(others, lr=lr, betas=betas, eps=eps, fused=True)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        # The same dictionaries, so that a scheduler that writes `lr` here writes it there.
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]

    def step(self, closure=None):
        """One step of both."""
        with bf16_products(self._muon.param_groups[0]["params"][0].device):
            self._muon.step(closure)
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both, by name."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave."""
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        self._share_groups()


def build_optimizer(
    model: nn.Module,
    name: str,
    lr: float,
    muon_lr: float = 0.0,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    lora_lr: float = 0.0,
) -> torch.optim.Optimizer:
    """An optimizer over the parameters that have gradients; weight decay on matrices only.

    Args:
        lora_lr: learning rate of LoRA adapters, by AdamW; 0: as the rest.

    Raises:
        InputError: an unknown name, with the nearest known one; adapters for Muon, whose update has a fixed size.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"unknown optimizer {name!r}; {nearest(name, OPTIMIZERS)}")
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim == 2 and id(p) not in embeddings]
    others = [p for p in trained if not any(p is m for m in matrices)] if matrices else trained
    adapters = [p for n, p in model.named_parameters() if p.requires_grad and "lora_" in n]
    if name == "muon+adamw" and adapters:
        raise InputError("optimizer muon+adamw does not train LoRA adapters; use adamw with them")
    if name == "muon+adamw" and matrices:
        return MuonAdamW(matrices, _group(others, 0.0), muon_lr, lr, betas, eps, weight_decay)
    apart = {id(p) for p in adapters} if lora_lr else set()
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in apart]
    rest = [p for p in trained if p.ndim < 2 and id(p) not in apart]
    groups = _group(decayed, weight_decay) + _group(rest, 0.0)
    groups += [{**group, "lr": lora_lr} for group in _group((p for p in adapters if apart), weight_decay)]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)


def _group(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    members = list(parameters)
    return [{"params": members, "weight_decay": weight_decay}] if members else []
