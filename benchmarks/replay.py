"""What each sampler pays, in A100-hours, until it has a design within 0.5 points of the best of a sweep that was run:
accuracies are those of reports/sweep-tiny, every design of its space trained and scored at tiny scale; the hours are
those of the published recipe for the same designs."""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median

import optuna

from benchmarks.bench import record
from benchmarks.search import NEAR, SAMPLERS, at_paper_scale, paid_until_near, search
from flows.designs.design import Design, parse
from flows.designs.space import Space

RESULTS = Path(__file__).parents[1] / "reports" / "sweep-tiny" / "results.json"
SEEDS = 20


class Table:
    """Accuracy in points of every design of a sweep."""

    def __init__(self, results: Path) -> None:
        found = json.loads(results.read_text())
        self.space = Space(**found["space"])
        self.values = {parse(one["design"]): 100 * one["value"] for one in found["trials"]}
        if len(self.values) != self.space.size():
            raise ValueError(f"{results}: {len(self.values)} of {self.space.size()} designs")
        self.best = max(self.values.values())

    def at(self, design: Design) -> float:
        """Of one of them."""
        return self.values[design]


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table(RESULTS)
    with tempfile.TemporaryDirectory() as folder:
        root = at_paper_scale(Path(folder))
        paid = {
            name: [paid_until_near(search(root, table.space, name, seed, surface=table)) for seed in range(SEEDS)]
            for name in SAMPLERS
        }
    ours, peer = median(paid["prefix"]), median(paid["tpe"])
    record(
        "replay",
        ours=round(ours, 1),
        peer=round(peer, 1),
        unit=f"A100-hours to within {NEAR} points of the best (median of {SEEDS} seeds)",
        peer_name=f"Optuna {version('optuna')} TPE, in the same engine",
        command="make bench-replay",
        higher_is_better=False,
        designs=len(table.values),
        near_the_best=sum(table.best - value <= NEAR for value in table.values.values()),
        median_hours={name: round(median(hours), 1) for name, hours in paid.items()},
        mean_hours={name: round(mean(hours), 1) for name, hours in paid.items()},
        ours_over_tpe=round(ours / peer, 3),
        ours_over_random=round(ours / median(paid["random"]), 3),
        seeds=SEEDS,
    )
