"""What a stage run records while it works: loss curves and the data sets it reads.
Its file has all of it; trackers (MLflow) are sent the same, and a slow or dead one stops nothing."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from model.training.machine import SYSTEM


@dataclass(frozen=True)
class Dataset:
    """A data set that a stage run has read: its name, the digest of its contents and its number of rows."""

    name: str
    digest: str
    rows: int


class Recorder:
    """Records of one stage run, kept in memory and, with a path, in a file with one JSON object per line.

    Args:
        history: file that survives a kill; steps logged again after resuming replace the earlier ones.
        on_first: called once, when the first step is logged (MLflow is not even imported for runs without curves).
    """

    def __init__(self, history: Path | None = None, on_first: Callable[[], None] | None = None) -> None:
        self.history = history
        self.datasets: dict[str, Dataset] = {}
        self._on_first = on_first
        self._guard = threading.Lock()
        self._lines: list[dict[str, float]] = []
        if history is not None and history.exists():
            # A kill in the middle of a write leaves a broken last line, whose step is trained again anyway.
            self._lines = [json.loads(line) for line in history.read_text().splitlines() if line.endswith("}")]
            history.write_text("".join(json.dumps(line) + "\n" for line in self._lines))

    @property
    def lines(self) -> list[dict[str, float]]:
        """Every step logged so far: {"step", metric names...}, in rising order."""
        with self._guard:
            return list(self._lines)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Record metrics (finite numbers, e.g. {"loss": 1.2, "lr": 1e-3}) at an optimizer step, in rising order.

        Names that begin with "system/" are the machine's: trackers show them while the run lasts, the output has none.
        """
        line = {"step": int(step), **{name: float(value) for name, value in metrics.items()}}
        with self._guard:
            kept = [earlier for earlier in self._lines if earlier["step"] < step]
            rewrite = len(kept) < len(self._lines)
            self._lines = [*kept, line]
            if self.history is not None:
                text = "".join(json.dumps(entry) + "\n" for entry in (self._lines if rewrite else [line]))
                with self.history.open("w" if rewrite else "a") as file:
                    file.write(text)
        first, self._on_first = self._on_first, None
        if first is not None:
            first()

    def publish(self, path: Path) -> None:
        """Write the curves that are part of the result: all but the machine's."""
        kept = ({key: value for key, value in line.items() if not key.startswith(SYSTEM)} for line in self.lines)
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def speed(self) -> dict[str, float]:
        """The machine's figures over the whole run: the highest of peaks, the median of all else."""
        figures: dict[str, list[float]] = {}
        for line in self.lines:
            for key, value in line.items():
                if key.startswith(SYSTEM):
                    figures.setdefault(key.removeprefix(SYSTEM), []).append(value)
        return {key: round(max(some) if "peak" in key else median(some), 4) for key, some in figures.items()}

    def dataset(self, name: str, digest: str, rows: int) -> None:
        """Record a data set that was read, e.g. ("3di-ft1m", its digest, 10_000)."""
        self.datasets[name] = Dataset(name, digest, rows)
