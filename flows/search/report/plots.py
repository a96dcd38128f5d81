"""Pictures of a study: history, importances, slices, the Pareto front, and how its two strongest parts interact.
Drawn with matplotlib from the trials alone, so that a report can be drawn again without the study."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from flows.search.trials import Trial, front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flows.designs.space import Space


def draw(folder: Path, trials: Sequence[Trial], space: "Space", importances: dict[str, float]) -> list[Path]:
    """Write the pictures that these trials have something for; returns their files.

    Args:
        importances: {dimension: share} as Optuna gives them; without any the picture is left out.
    """
    import matplotlib

    matplotlib.use("Agg")
    scored = [trial for trial in trials if trial.value is not None]
    chosen = {trial.number: space.params_of(trial.design) for trial in scored}
    order = space.choices()
    drawings = {"history": (_history, (scored,)), "slices": (None, ()), "pareto": (_pareto, (scored,))}
    if importances:
        drawings["importances"] = (_importances, (importances,))
        pair = sorted(importances, key=importances.__getitem__, reverse=True)[:2]
        if len(pair) == 2:
            drawings["interaction"] = (_interaction, (scored, chosen, order, *pair))
    written = []
    for name, (paint, arguments) in drawings.items():
        if scored:
            path = folder / f"{name}.png"
            _slices(path, scored, chosen, order) if paint is None else _one(path, paint, *arguments)
            written.append(path)
    return written


def _one(path: Path, paint, *arguments: object) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    paint(figure.subplots(), *arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _history(axes: "Axes", scored: Sequence[Trial]) -> None:
    in_order = sorted(scored, key=lambda trial: trial.number)
    best = [max(one.value for one in in_order[: i + 1]) for i in range(len(in_order))]
    axes.plot([t.number for t in in_order], [100 * t.value for t in in_order], "o", color="#888", label="designs")
    axes.step([t.number for t in in_order], [100 * value for value in best], where="post", label="best so far")
    axes.set(xlabel="trial", ylabel="accuracy, %", title="History")
    axes.legend()


def _importances(axes: "Axes", importances: dict[str, float]) -> None:
    names = sorted(importances, key=importances.__getitem__)
    axes.barh(names, [importances[name] for name in names])
    axes.set(xlabel="importance, all parts together 1", title="What matters")


def _pareto(axes: "Axes", scored: Sequence[Trial]) -> None:
    priced = [trial for trial in scored if trial.hours is not None]
    best = front(priced)
    axes.plot([t.hours for t in priced], [100 * t.value for t in priced], "o", color="#888", label="designs")
    axes.step([t.hours for t in best], [100 * t.value for t in best], "o-", where="post", label="Pareto front")
    axes.set(xlabel="core or GPU hours of a design alone", ylabel="accuracy, %", title="Accuracy and cost")
    axes.legend()


def _interaction(
    axes: "Axes",
    scored: Sequence[Trial],
    chosen: dict[int, dict[str, str]],
    order: dict[str, list[str]],
    one: str,
    two: str,
) -> None:
    rows, columns = (_in_order([of[dim] for of in chosen.values() if dim in of], order[dim]) for dim in (one, two))
    for column in columns:
        points = []
        for row in rows:
            found = [
                t.value for t in scored if chosen[t.number].get(one) == row and chosen[t.number].get(two) == column
            ]
            points.append(100 * mean(found) if found else float("nan"))
        axes.plot(rows, points, "o-", label=column)
    axes.set(ylabel="mean accuracy, %", xlabel=one, title=f"{one} by {two}")
    axes.tick_params(axis="x", rotation=20)
    axes.legend(fontsize=8)


def _in_order(found: Sequence[str], order: Sequence[str]) -> list[str]:
    """Each choice once, in the order of the space; one that the space no longer has comes last."""
    return sorted(dict.fromkeys(found), key=lambda choice: order.index(choice) if choice in order else len(order))


def _slices(
    path: Path, scored: Sequence[Trial], chosen: dict[int, dict[str, str]], order: dict[str, list[str]]
) -> None:
    from matplotlib.figure import Figure

    dimensions = list(dict.fromkeys(dim for params in chosen.values() for dim in params))
    figure = Figure(figsize=(3.2 * len(dimensions), 4.2), layout="constrained")
    for axes, dim in zip(figure.subplots(1, len(dimensions), sharey=True, squeeze=False)[0], dimensions, strict=True):
        values = [(chosen[t.number][dim], 100 * t.value) for t in scored if dim in chosen[t.number]]
        choices = _in_order([choice for choice, _ in values], order[dim])
        points = sorted(values, key=lambda point: choices.index(point[0]))
        axes.plot(*zip(*points, strict=True), "o", alpha=0.5)
        axes.set(title=dim)
        axes.tick_params(axis="x", rotation=35)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
