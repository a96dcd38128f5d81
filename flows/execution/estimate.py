"""What a set of designs would run and cost, before anything runs.
Reads what is there and writes nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.costs.cost import Costs
from flows.costs.memory import training_gib
from flows.designs.check import check
from flows.designs.design import Design
from flows.designs.plan import Plan, plan_of, training_runs_naive
from flows.execution.devices import CPU, GPU, Devices
from flows.store.dvc_store import is_current
from flows.text import clock
from model.paper_scale import CARDS_GIB
from tasks.identity import settings as config
from tasks.identity.settings import Settings
from tasks.stages import STAGES

_MOST_ROWS = 60


@dataclass(frozen=True)
class Estimate:
    """A plan and what is known about it.

    Attributes:
        there: stage runs whose output is there, of the identity that params.yaml asks for.
        slots: stage runs at the same time; where this machine has GPUs, those that need some.
        gpu_hours: of what is left (core hours at tiny scale); finish_hours: until it is done on these slots.
        gib: of each A100, of the trainings at paper scale (`flows.costs.memory.training_gib`).
        dollars: of what is left, None without a price; critical_path: the longest chain of what is left.
    """

    scale: str
    designs: list[Design]
    plan: Plan
    there: list[str]
    left: list[str]
    seconds: dict[str, float]
    gib: dict[str, float]
    slots: int
    gpu_hours: float
    finish_hours: float
    dollars: float | None
    critical_path: list[str]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "scale": self.scale,
            "designs": len(self.designs),
            "training_runs_naive": training_runs_naive(self.designs),
            "training_runs": len(self.plan.training_runs()),
            "stage_runs": len(self.plan.runs()),
            "restored": len(self.there),
            "gpu_hours": round(self.gpu_hours, 3),
            "gib_per_gpu": {run: round(gib, 1) for run, gib in self.gib.items()},
            "finish_hours": round(self.finish_hours, 3),
            "slots": self.slots,
            "dollars": None if self.dollars is None else round(self.dollars, 2),
            "critical_path": self.critical_path,
            "critical_path_hours": round(sum(self.seconds[run] for run in self.critical_path) / 3600, 3),
            "left": self.left,
        }


def estimate(root: Path, designs: list[Design], slots: int | None = None, price: float | None = None) -> Estimate:
    """What these designs would run, given what is there.

    Args:
        slots: of one kind for all stage runs; default: this machine's, by what each needs.
        price: dollars per accelerator hour (core hour at tiny scale); default: runtime.dollars_per_hour.
    """
    plan = plan_of(designs)
    settings = Settings(root, config.load(root).params, plan.entries)
    check(settings)
    devices = Devices(root, settings.runtime, settings.scale)
    known: dict[str, bool] = {}
    there = [run for run in plan.runs() if is_current(settings, run, False, known)]
    left = [run for run in plan.runs() if not known[run]]
    price = settings.runtime.get("dollars_per_hour") if price is None else price
    costs = Costs(root, plan)
    return Estimate(
        settings.scale,
        designs,
        plan,
        there,
        left,
        costs.all(left),
        {run: gib for run in plan.training_runs() if (gib := training_gib(settings, run)) is not None},
        slots or devices.slots.get(GPU, devices.slots[CPU]),
        costs.gpu_hours(left),
        costs.finish_hours(left, slots) if slots else costs.finish_hours(left, devices.slots, devices.kind),
        costs.dollars(left, price),
        costs.critical_path(left),
    )


def show(console: Console, made: Estimate) -> None:
    """Print an estimate for people."""
    there = set(made.there)
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    table.add_column("stage run", overflow="fold")
    table.add_column("", justify="right")
    if made.gib:
        table.add_column("GiB of a GPU", justify="right")
    runs = made.plan.runs()
    for run in runs if len(runs) <= _MOST_ROWS else []:
        stage, _, name = run.partition("/")
        time = "[green]there[/green]" if run in there else f"about {clock(made.seconds[run])}"
        table.add_row(stage, name, time, *([f"{made.gib[run]:.1f}"] if run in made.gib else []))
    if len(runs) > _MOST_ROWS:
        table.columns[1].header = "stage runs"
        for stage in STAGES:
            own = [run for run in runs if run.startswith(f"{stage}/")]
            if own:
                table.add_row(stage, str(len(own)), f"{sum(run in there for run in own)} there")
    console.print(table)
    content = made.as_json()
    unit = "core hours" if made.scale == "tiny" else "GPU hours"
    designs = "1 design" if content["designs"] == 1 else f"{content['designs']} designs"
    console.print(
        f"{designs}: {content['training_runs']} training runs where one by one they need "
        f"{content['training_runs_naive']}; {content['stage_runs']} stage runs, {content['restored']} of them there.\n"
        f"Left: {len(made.left)} stage runs, about {made.gpu_hours:.2f} {unit}"
        f"{'' if made.dollars is None else f' ({made.dollars:,.2f} dollars)'}, "
        f"{clock(made.finish_hours * 3600)} on {made.slots} slots.",
        highlight=False,
    )
    if made.gib:
        most = max(made.gib.values())
        cards = [card for card, gib in CARDS_GIB.items() if most < gib]
        console.print(
            f"At most {most:.1f} GiB of a GPU: weights, gradients, optimizer, and a pass with gradient checkpointing; "
            f"fits {cards[-1] if cards else 'no A100'}.",
            highlight=False,
        )
    if made.critical_path:
        hours = content["critical_path_hours"]
        console.print(
            f"Longest chain, {clock(hours * 3600)} on any number of slots: {' > '.join(made.critical_path)}",
            highlight=False,
            soft_wrap=True,
        )
