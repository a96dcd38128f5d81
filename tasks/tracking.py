"""What a stage run records while it works: loss curves and data sets.
history.jsonl beside the checkpoints has all of it; MLflow gets the same, later or never if it is down."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dataset:
    """A data set that a stage run has read: its name, the digest of its contents and its number of rows."""

    name: str
    digest: str
    rows: int


class Tracker:
    """Records of one stage run, kept in memory and, with a path, in a file with one JSON object per line.

    Args:
        history: file that survives a kill; steps logged again after resuming replace the earlier ones.
    """

    def __init__(self, history: Path | None = None) -> None:
        self.history = history
        self.lines: list[dict[str, float]] = []
        self.datasets: dict[str, Dataset] = {}
        if history is not None and history.exists():
            self.lines = [json.loads(line) for line in history.read_text().splitlines() if line.endswith("}")]

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Record metrics (finite numbers, e.g. {"loss": 1.2, "lr": 1e-3}) at an optimizer step, in rising order."""
        line = {"step": int(step), **{name: float(value) for name, value in metrics.items()}}
        kept = [earlier for earlier in self.lines if earlier["step"] < step]
        rewrite = len(kept) < len(self.lines)
        self.lines = [*kept, line]
        if self.history is not None:
            text = "".join(json.dumps(entry) + "\n" for entry in (self.lines if rewrite else [line]))
            with self.history.open("w" if rewrite else "a") as file:
                file.write(text)

    def dataset(self, name: str, digest: str, rows: int) -> None:
        """Record a data set that was read, e.g. ("3di-ft1m", its digest, 10_000)."""
        self.datasets[name] = Dataset(name, digest, rows)
