"""The trials of a study as this project reads them: design, accuracy, hours, and how each ended."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.designs.design import Design, parse

if TYPE_CHECKING:
    import optuna


# User attributes of a trial: its design, what it costs alone, why it does not fit, that its process died over it.
DESIGN, HOURS, UNFIT, LOST = "design", "hours", "unfit", "lost"


@dataclass
class Trial:
    """One design of a study.

    Attributes:
        value: its accuracy on all of its data; None where it failed or was stopped at an earlier rung.
        rungs: its accuracy at each rung of a halving.
        hours: accelerator hours that it costs alone.
        failed: why there is no value: "failed", "stopped" or what kept it out.
    """

    number: int
    design: Design
    value: float | None
    failed: str | None = None
    rungs: tuple[float, ...] = ()
    hours: float | None = None

    @property
    def scored(self) -> float:
        """The accuracy of a design that has one; ValueError for others."""
        if self.value is None:
            raise ValueError(f"{self.design.name}: has no accuracy")
        return self.value


def trials_of(study: "optuna.Study") -> list[Trial]:
    """Every design that was answered, best first; one that is answered again counts once."""
    from optuna.trial import TrialState

    best: dict[str, Trial] = {}
    for trial in study.get_trials(deepcopy=False):
        name = trial.user_attrs.get(DESIGN)
        if not name or (name in best and best[name].value is not None) or not trial.state.is_finished():
            continue
        why = {TrialState.FAIL: "failed", TrialState.PRUNED: trial.user_attrs.get(UNFIT, "stopped")}.get(trial.state)
        value = trial.values[0] if trial.state == TrialState.COMPLETE else None
        rungs = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
        best[name] = Trial(trial.number, parse(name), value, why, rungs, trial.user_attrs.get(HOURS))

    def place(trial: Trial) -> tuple:
        rungs = [-value for value in reversed(trial.rungs)]
        return trial.value is None, -(trial.value or 0.0), -len(rungs), rungs, trial.number

    return sorted(best.values(), key=place)  # of those that were stopped, who came further first


def importances_of(study: "optuna.Study") -> dict[str, float]:
    """How much each part decides whether a design is among the best (PED-ANOVA, 1 in all); {} with too few designs."""
    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.values[0] for trial in complete}) < 4:
        return {}
    # With a target of one's own PED-ANOVA looks at the lowest values and warns of it: the best designs are those of the
    # lowest error.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return get_param_importances(study, target=lambda trial: -trial.values[0])


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The Pareto front of accuracy and hours: designs than which none is both as good and cheaper, cheapest first."""
    pareto: list[Trial] = []
    known = [trial for trial in trials if trial.value is not None and trial.hours is not None]
    for trial in sorted(known, key=lambda t: (t.hours or 0.0, -t.scored, t.number)):
        if not pareto or trial.scored > pareto[-1].scored:
            pareto.append(trial)
    return pareto


def rows_of(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Designs of a study for machines."""
    on_front = {trial.number for trial in front(trials)}
    return [
        {
            "design": t.design.name,
            "trial": t.number,
            "value": t.value,
            "failed": t.failed == "failed",
            "hours": t.hours,
            "on_front": t.number in on_front,
            **({"rungs": list(t.rungs)} if t.rungs else {}),
            **({"why": t.failed} if t.failed else {}),
        }
        for t in trials
    ]
