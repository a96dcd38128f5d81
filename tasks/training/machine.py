"""How a training uses this machine: device, processes, rows per pass, workers. None of it changes a result."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data_registry.errors import InputError
from tasks.stage.harness import StageRun

if TYPE_CHECKING:
    from model.training.recipe import Machine


GROWING = "expandable_segments:True"  # torch's GPU memory: batches of many shapes would cut fixed blocks to pieces


ROWS = 8  # most of a forward pass, where params.yaml says nothing else


SMALL_ROWS, SMALL_ROWS_GIB = 32, 24  # at small scale, and the GPU for them: 64 of stage 2 took 34 GiB


def machine_of(run: StageRun, zero_stage: int = 0) -> "Machine":
    """How to compute, from the runtime section; DeepSpeed where the parameters name a ZeRO stage."""
    from model.training.deepspeed import deepspeed_config
    from model.training.recipe import Machine

    runtime = run.runtime
    recompute = runtime.get("gradient_checkpointing")
    return Machine(
        per_device_batch=_batch_per_device(run),
        checkpoint_steps=int(runtime.get("checkpoint_steps", 50)),
        log_steps=int(runtime.get("log_steps", 10)),
        device=str(runtime.get("device", "auto")),
        deepspeed=deepspeed_config(zero_stage) if zero_stage else None,
        gradient_checkpointing=run.scale == "paper" if recompute is None else bool(recompute),
        workers=data_workers(runtime),
    )


def _batch_per_device(run: StageRun) -> int:
    """Most rows of a forward pass; at small scale on a GPU what its memory holds, since few leave it nothing to do."""
    rows = run.runtime.get("batch_per_device")
    if rows is not None:
        return int(rows)
    device = device_of(run.runtime)
    if run.scale != "small" or not device.startswith("cuda"):
        return ROWS
    import torch

    gib = torch.cuda.get_device_properties(device).total_memory / 2**30
    return SMALL_ROWS * max(1, int(gib // SMALL_ROWS_GIB))


def data_workers(runtime: Mapping[str, Any]) -> int:
    """Processes that load and decode: a GPU waits for pictures that one process decodes between two steps."""
    workers = runtime.get("data_workers")
    if workers is None:
        return 4 if device_of(runtime).startswith("cuda") else 0
    return int(workers)


def prepare(run: StageRun) -> None:
    """Threads of torch by the runtime section, and no talk from transformers: what matters is in our own lines."""
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", GROWING)
    import torch
    from transformers.utils import logging

    torch.set_num_threads(int(run.runtime.get("threads", 1)))
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def device_of(runtime: Mapping[str, Any]) -> str:
    """ "cuda:0" or "cpu" by the runtime section; `auto` is CUDA where there is one, for each process its own.

    Raises:
        InputError: CUDA where torch finds none.
    """
    import torch

    device = str(runtime.get("device", "auto"))
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: runtime.device is cuda, but torch finds no GPU here; use auto or cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
