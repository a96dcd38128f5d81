"""What training gets through on this machine: throughput, time without data, memory, and the share of a GPU's peak.
None of it is part of a result; its names say so (`model.training.machine.SYSTEM`)."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from model.training.machine import PEAK_FLOPS, SYSTEM


class Meter:
    """Counts between two readings, over all processes of a training (each has an equal share).

    Args:
        processes: of this training.
        flops: model FLOPs of one training token, and of one target besides.
        peak_flops: of one process's device; None: unknown, and no utilisation is reported.
    """

    def __init__(
        self, processes: int = 1, flops: tuple[float, float] = (0.0, 0.0), peak_flops: float | None = None
    ) -> None:
        self._processes, self._flops, self._peak = processes, flops, peak_flops
        self._reset()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what makes the next batches: the model does nothing meanwhile."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def count(self, samples: int, tokens: int, targets: int) -> None:
        """A micro-batch: its rows, its tokens without padding (image tokens included), and those with a label."""
        self._samples += samples
        self._tokens += tokens
        self._targets += targets

    def read(self) -> dict[str, float]:
        """Figures since the last reading: samples and tokens per second, the share of the time without data, this
        process's peak memory so far (GiB, of the GPU where there is one), and the model FLOPs utilisation."""
        seconds = time.monotonic() - self._began
        figures = {
            "samples_per_second": self._processes * self._samples / seconds,
            "data_wait_share": self._waited / seconds,
            "peak_memory_gib": peak_memory() / 2**30,
        }
        if self._tokens:
            figures["tokens_per_second"] = self._processes * self._tokens / seconds
            if self._peak:
                per_token, per_target = self._flops
                figures["mfu"] = (self._tokens * per_token + self._targets * per_target) / seconds / self._peak
        self._reset()
        return {SYSTEM + name: value for name, value in figures.items()}

    def _reset(self) -> None:
        self._began, self._waited = time.monotonic(), 0.0
        self._samples = self._tokens = self._targets = 0


def model_flops(llm: nn.Module) -> tuple[float, float]:
    """Model FLOPs of one training token in an LLM, as model FLOPs utilisation counts them (arXiv 2204.02311, App. B),
    and those of its head for each target: it runs on no other token.

    Two per weight forward, two for the gradient of what comes before, two for the weight's own where it trains.
    Attention, the frozen encoders and whatever is recomputed do not count, so the utilisation is a lower bound.
    """
    head = llm.get_output_embeddings().weight
    tables = {id(p) for m in llm.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    body = [p for p in llm.parameters() if p.ndim == 2 and id(p) not in tables and p is not head]
    return float(sum(map(_flops_of, body))), float(_flops_of(head))


def _flops_of(weight: nn.Parameter) -> int:
    return (6 if weight.requires_grad else 4) * weight.numel()


def peak_flops(device: torch.device) -> float | None:
    """Of a known GPU, else None."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


def peak_memory() -> int:
    """Bytes: the most that torch held on this process's GPU, or that the process had resident where there is none."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
