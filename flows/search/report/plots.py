"""Pictures of a study: history, importances, slices and the Pareto front by Optuna, and how its two strongest parts
interact, which Optuna has no picture of. Drawn from the trials alone: a report can be drawn again without the study."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from flows.search.trials import Trial

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

    from flows.designs.space import Space

_ACCURACY = "accuracy, %"


def draw(folder: Path, trials: Sequence[Trial], space: "Space", importances: dict[str, float]) -> list[Path]:
    """Write the pictures that these trials have something for; returns their files.

    Args:
        importances: {dimension: share} as Optuna gives them; without any their picture is left out.
    """
    import matplotlib

    matplotlib.use("Agg")
    scored = sorted((trial for trial in trials if trial.value is not None), key=lambda trial: trial.number)
    drawings: dict[str, Callable[[], Figure]] = {}
    if scored:
        drawings |= {"history": lambda: _history(scored, space), "slices": lambda: _slices(scored, space)}
    if any(trial.hours is not None for trial in scored):
        drawings["pareto"] = lambda: _pareto(scored, space)
    if scored and importances:
        drawings["importances"] = lambda: _importances(scored, space)
        pair = sorted(importances, key=importances.__getitem__, reverse=True)[:2]
        if len(pair) == 2:
            drawings["interaction"] = lambda: _interaction(scored, space, *pair)
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(folder / f"{name}.png", paint) for name, paint in drawings.items()]


def _save(path: Path, paint: "Callable[[], Figure]") -> Path:
    import matplotlib.pyplot as plt

    with _as_it_was():
        figure = paint()
        figure.set_layout_engine("constrained")
        figure.savefig(path, dpi=110)
        plt.close(figure)
    return path


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Optuna's pictures set matplotlib's style for the whole process, and warn that their functions may change."""
    import matplotlib.pyplot as plt
    from optuna.exceptions import ExperimentalWarning

    with plt.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Attempting to set identical low and high")  # of a study of one trial
        yield


def _study(trials: Sequence[Trial], space: "Space", priced: bool = False) -> "optuna.Study":
    """The trials as a study in memory: accuracy in percent, before it the hours where `priced`."""
    import optuna
    from optuna.distributions import CategoricalDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize", "maximize"] if priced else ["maximize"])
    choices = space.choices()
    for trial in trials:
        params = space.params_of(trial.design)
        study.add_trial(
            optuna.trial.create_trial(
                values=[*([trial.hours or 0.0] if priced else []), 100 * trial.scored],
                params=params,
                distributions={name: CategoricalDistribution(choices[name]) for name in params},
            )
        )
    return study


def _history(scored: Sequence[Trial], space: "Space") -> "Figure":
    from optuna.visualization.matplotlib import plot_optimization_history

    axes = plot_optimization_history(_study(scored, space), target_name=_ACCURACY)
    axes.set_title("History")
    return axes.figure


def _slices(scored: Sequence[Trial], space: "Space") -> "Figure":
    from optuna.visualization.matplotlib import plot_slice

    drawn = plot_slice(_study(scored, space), target_name=_ACCURACY)
    panels: list[Any] = [drawn] if hasattr(drawn, "figure") else list(drawn)
    for axes in panels:
        spelled = [label.get_text().strip("'") for label in axes.get_xticklabels()]  # Optuna prints them as in Python
        axes.set_xticks(axes.get_xticks(), spelled, rotation=35, ha="right", rotation_mode="anchor")
    figure = panels[0].figure
    figure.suptitle("Slices")
    figure.set_size_inches(3.2 * len(panels) + 1, 4.8)
    return figure


def _importances(scored: Sequence[Trial], space: "Space") -> "Figure":
    from optuna.visualization.matplotlib import plot_param_importances

    # As in `flows.search.trials.importances_of`: with a target PED-ANOVA looks at the lowest values, and warns of it.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        axes = plot_param_importances(_study(scored, space), target=lambda trial: -trial.values[0])
    axes.set_title("What matters", loc="left")
    axes.set(xlabel="importance for being among the best, all parts together 1", ylabel="")
    axes.get_legend().remove()
    return axes.figure


def _pareto(scored: Sequence[Trial], space: "Space") -> "Figure":
    from optuna.visualization.matplotlib import plot_pareto_front

    priced = [trial for trial in scored if trial.hours is not None]
    names = ["core or GPU hours of a design alone", _ACCURACY]
    axes = plot_pareto_front(_study(priced, space, priced=True), target_names=names)
    axes.set_title("Accuracy and cost")
    return axes.figure


def _interaction(scored: Sequence[Trial], space: "Space", one: str, two: str) -> "Figure":
    from matplotlib.figure import Figure

    chosen = [(space.params_of(trial.design), trial.scored) for trial in scored]
    order = space.choices()
    rows, columns = (_in_order([of[dim] for of, _ in chosen if dim in of], order[dim]) for dim in (one, two))
    figure = Figure(figsize=(7, 4.2))
    axes = figure.subplots()
    for column in columns:
        points = []
        for row in rows:
            values = [value for of, value in chosen if of.get(one) == row and of.get(two) == column]
            points.append(100 * mean(values) if values else float("nan"))
        axes.plot(rows, points, "o-", label=column)
    axes.set(ylabel=f"mean {_ACCURACY}", xlabel=one, title=f"{one} by {two}")
    axes.tick_params(axis="x", rotation=20)
    axes.legend(fontsize=8)
    return figure


def _in_order(occurring: Sequence[str], order: Sequence[str]) -> list[str]:
    """Each choice once, in the order of the space; one that the space no longer has comes last."""
    return sorted(dict.fromkeys(occurring), key=lambda choice: order.index(choice) if choice in order else len(order))
