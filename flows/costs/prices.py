"""What designs cost in accelerator hours: alone, and now, where stage runs that are there or in work cost nothing."""

from collections.abc import Callable, Iterable
from pathlib import Path

from flows.costs.cost import Costs
from flows.designs.design import Design
from flows.designs.plan import Plan, design_runs, plan_of
from flows.store.dvc_store import is_current
from tasks.identity import settings
from tasks.identity.settings import Settings


class DesignCosts:
    """What designs cost in accelerator hours.

    Args:
        root: whose records and outputs count.
        designs: those that will be asked about first; others are added when they are asked about.
        taken: whether a stage run is there by now or in work, as the flow knows; what lay there at the start is looked
            up once.
    """

    def __init__(self, root: Path, designs: Iterable[Design] = (), taken: Callable[[str], bool] = lambda run: False):
        self._taken = taken
        self._plan = Plan()
        self._costs = Costs(root, self._plan)
        self._found = Settings(root, settings.load(root).params, self._plan.entries)
        self._runs: dict[Design, list[str]] = {}
        self._there: dict[str, bool] = {}
        self._prices: dict[str, tuple[float, float]] = {}  # from the start, and what is left of it
        for design in designs:
            self._runs_of(design)

    def look(self) -> None:
        """Take in what was recorded meanwhile, so that what has been computed costs what it took."""
        if self._costs.look():
            self._prices.clear()

    def left(self, design: Design) -> float:
        """Accelerator hours of what this design would still have to compute."""
        return sum(self._price(run)[1] for run in self._runs_of(design) if not self._free(run))

    def alone(self, design: Design) -> float:
        """Accelerator hours of its training and score runs with nothing there."""
        self._runs_of(design)
        return sum(self._price(run)[0] for run in design_runs(design).values())

    def hours(self, plan: Plan, runs: Iterable[str]) -> float:
        """Accelerator hours of some stage runs of a plan."""
        return sum(self._price(self._plan.add(run, plan.entry(run)))[0] for run in runs)

    def _runs_of(self, design: Design) -> list[str]:
        if design not in self._runs:
            plan = plan_of([design])
            self._runs[design] = [self._plan.add(run, plan.entry(run)) for run in plan.runs()]
        return self._runs[design]

    def _price(self, run: str) -> tuple[float, float]:
        if run not in self._prices:
            self._prices[run] = self._costs.gpu_hours([run], from_start=True), self._costs.gpu_hours([run])
        return self._prices[run]

    def _free(self, run: str) -> bool:
        if self._taken(run):
            return True
        if run not in self._there:
            self._there[run] = is_current(self._found, run, False, self._there)
        return self._there[run]
