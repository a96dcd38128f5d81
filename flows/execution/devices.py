"""Slots by kind: what runs networks asks for GPUs where this machine has some, all else for the CPU.
A stage run gets GPUs of its own: each is an operating-system lock, which a killed flow frees and two flows respect."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from data_registry.errors import InputError
from flows.execution.stopping import pause
from tasks.identity.settings import gpus_per_run
from tasks.stage import locks
from tasks.stages import spec_of

CPU, GPU = "cpu", "gpu"
_POLL_S = 0.5


class Devices:
    """The GPUs of this machine, as `runtime` of params.yaml has them.

    Args:
        runtime: `gpus` (none or 0: everything takes CPU slots), `gpus_per_run`, and `slots` for the CPU.
        warn: takes a line about whom a stage run waits for.

    Raises:
        InputError: a stage run asks for more GPUs than there are.
    """

    def __init__(
        self,
        root: Path,
        runtime: Mapping[str, Any],
        scale: str = "tiny",
        warn: Callable[[str], object] = locks.say,
    ) -> None:
        self._locks, self._warn = root / ".locks", warn
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        count = int(runtime.get("gpus") or 0)
        here = [str(gpu) for gpu in range(count)] if visible is None else [gpu for gpu in visible.split(",") if gpu]
        self._ids = here[:count]
        self._per_run = gpus_per_run(runtime, scale)
        if count and len(self._ids) < self._per_run:
            raise InputError(
                f"params.yaml: runtime.gpus_per_run: {self._per_run} GPUs for a stage run, of {len(self._ids)} here"
            )
        self.slots = {CPU: int(runtime.get("slots") or 1)}
        if self._ids:
            self.slots[GPU] = len(self._ids) // self._per_run

    def kind(self, run: str) -> str:
        """What a stage run "stage/name" takes a slot of."""
        return GPU if self._ids and spec_of(run).gpu else CPU

    @contextlib.contextmanager
    def hold(self, run: str) -> Iterator[dict[str, str]]:
        """GPUs for a stage run as its environment; waits while another flow of this folder has them."""
        if self.kind(run) == CPU:
            yield {"CUDA_VISIBLE_DEVICES": ""} if self._ids else {}
            return
        held = self._take(run)
        try:
            yield {"CUDA_VISIBLE_DEVICES": ",".join(held)}
        finally:
            for release in held.values():
                release()

    def _take(self, run: str) -> dict[str, Callable[[], None]]:
        """GPUs by what gives each back."""
        waiting = locks.Waiting(f"compute {run} on a GPU", self._warn)
        while True:
            held: dict[str, Callable[[], None]] = {}
            for gpu in self._ids:
                release = locks.take(self._lock(gpu))
                if release is not None:
                    held[gpu] = release
                if len(held) == self._per_run:
                    return held
            for release in held.values():  # all or nothing: two that wait for each other's half would wait for ever
                release()
            busy = self._lock(next(gpu for gpu in self._ids if gpu not in held))
            waiting.goes_on(busy, partial(locks.holder, busy))
            pause(_POLL_S, run)

    def _lock(self, gpu: str) -> Path:
        return self._locks / f"gpu.{gpu}.lock"
