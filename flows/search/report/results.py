"""The report of a sweep from its trials: results.json, pictures and report.html under reports/sweep-<study>.
Writing it again after nothing was computed changes nothing: it follows from the trials, the space and their costs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.costs.prices import DesignCosts
from flows.designs.plan import Plan, plan_of, training_runs_naive
from flows.designs.space import Space
from flows.search.config import Config
from flows.search.halving import WHOLE, at
from flows.search.report.effects import effects
from flows.search.report.plots import draw
from flows.search.trials import Trial, rows_of
from tasks.identity.files import write_text
from tasks.identity.settings import Settings


def results_of(
    params: Settings,
    name: str,
    sampler: str,
    config: Config,
    trials: Sequence[Trial],
    rungs: list[str],
    costs: DesignCosts,
) -> dict[str, Any]:
    """Everything that the report says.

    Args:
        name: of the study.
        trials: its designs, best first.
        rungs: fractions of a halving; [] without.
        costs: what stage runs cost.
    """
    price = params.runtime.get("dollars_per_hour")
    reached = [
        (t.design, rungs[: len(t.rungs)] if rungs else [WHOLE]) for t in trials if t.rungs or t.value is not None
    ]
    # A training that goes on from rung to rung is one; what it took from its first step stands with its last rung.
    plan = plan_of([at(design, fractions[-1]) for design, fractions in reached])
    below = plan_of([at(design, fraction) for design, fractions in reached for fraction in fractions[:-1]])
    alone = [design for design, _ in reached]
    shared = costs.hours(plan, [*plan.training_runs(), *_scores(plan)]) + costs.hours(below, _scores(below))
    return {
        "study": name,
        "scale": params.scale,
        "metric": config.metric,
        "sampler": sampler,
        "rungs": rungs,
        "space": config.space.choices(),
        "size": config.space.size(),
        "designs": len(trials),
        "complete": sum(t.value is not None for t in trials),
        "failed": sum(t.failed == "failed" for t in trials),
        "training_runs": {"naive": training_runs_naive(alone), "shared": len(plan.training_runs())},
        "unit": "core" if params.scale == "tiny" else "GPU",
        "hours": {"naive": round(sum(map(costs.alone, alone)), 3), "shared": round(shared, 3)},
        "dollars": None if price is None else round(shared * float(price), 2),
        "best": next(({"design": t.design.name, "value": t.value} for t in trials if t.value is not None), None),
        "effects": _effects(config.space, trials),
        "trials": rows_of(trials),
    }


def write(
    folder: Path, results: dict[str, Any], trials: Sequence[Trial], space: Space, importances: dict
) -> list[Path]:
    """Write the report; returns results.json, report.html and the pictures."""
    from tasks.report.sweep import page

    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw(folder, trials, space, importances)
    written = [folder / "results.json", folder / "report.html"]
    write_text(written[0], json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_text(written[1], page(results, pictures))
    return [*written, *pictures]


def _scores(plan: Plan) -> list[str]:
    return [run for run in plan.runs() if run.startswith("score/")]


def _effects(space: Space, trials: Sequence[Trial]) -> dict[str, Any]:
    """Of the first rung's values where there are rungs: those that are in full are the best ones only."""
    by_rungs = any(trial.rungs for trial in trials)
    valued = [(t.design, t.rungs[0] if t.rungs else None if by_rungs else t.value) for t in trials]
    known = [(design, value) for design, value in valued if value is not None]
    return effects([space.params_of(design) for design, _ in known], [value for _, value in known], space.choices())
