"""An Optuna sampler that asks which design may be the best, per hour that it will really cost.
Stage runs that are there, or that a design in work brings anyway, cost nothing: shared prefixes make cheap."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from flows.designs.design import Design, read_value
from flows.designs.space import NONE
from flows.search.samplers.surrogate import Beliefs, Surrogate
from flows.search.trials import LOST

if TYPE_CHECKING:
    from optuna import Study

    from flows.designs.space import Space

_CANDIDATES = 1024  # designs looked at per draw; a larger space is sampled, around the best and at random
_LEAST_HOURS = 1e-9  # a design whose stage runs are all there costs nothing, and is next


class PrefixSampler(BaseSampler):
    """Proposes the unseen design that is most probably the best of them per hour that it will really cost.

    Accuracy is predicted by a Gaussian process over the choices (`flows.search.samplers.surrogate`); designs in work
    count with what is expected of them. Dividing by what is left to pay is EEIPU's idea, changing late stages first
    LaMBO's; here both follow from `hours`. Where EEIPU divides the expected improvement, this divides the probability
    of being the best: it does not fall for cheap designs that improve a little on other cheap ones. Nor does it try
    everything cheap before the first expensive design: those are mostly those with more parts, and these are
    expected to be better until the values say otherwise. With several objectives (accuracy up, hours down) it is the
    expected growth of the area which the Pareto front dominates: the hours of a design are known beforehand, so that
    expectation is exact.

    Args:
        space: what may be proposed.
        hours: what a design would cost now, in accelerator hours.
        alone: the same with nothing there; the second objective of a study that has one.
        seed: breaks ties and draws the surrogate's parameters.

    Note:
        Needs no warm-up trials: with nothing known, parts and prices decide.

    Example::

        sampler = PrefixSampler(space, costs.left, costs.alone, seed=0)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        design = space.suggest(study.ask())
    """

    def __init__(
        self,
        space: "Space",
        hours: Callable[[Design], float],
        alone: Callable[[Design], float] | None = None,
        seed: int | None = None,
    ) -> None:
        self._space, self._hours, self._alone = space, hours, alone
        self._choices = space.choices()
        self._designs = list(space.designs())
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        choices = self._choices.values()
        self._surrogate = Surrogate(
            [similarity(options) for options in choices], seed, [parts(options) for options in choices]
        )

    def infer_relative_search_space(self, study: "Study", trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All dimensions of the space at once."""
        return {name: CategoricalDistribution(values) for name, values in self._choices.items()}

    def sample_relative(
        self, study: "Study", trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The choices of the best design; {} (so that a random one follows) when every design was proposed before."""
        scored, waiting, gone = self._known(study)
        candidates = self._candidates(scored, set(scored) | waiting | gone)
        if not candidates:
            return {}
        gain = self._gain(study, scored, waiting, candidates)
        worth = gain / np.array([max(self._hours(design), _LEAST_HOURS) for design in candidates])
        best = np.flatnonzero(worth >= worth.max() * (1 - 1e-9))
        return self._space.params_of(candidates[int(self._rng.choice(best))])

    def sample_independent(
        self, study: "Study", trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random choice, for what `sample_relative` left open."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Draw differently in another thread."""
        self._rng = np.random.default_rng()
        self._random.reseed_rng()

    def _known(self, study: "Study") -> tuple[dict[Design, float], set[Design], set[Design]]:
        """What was answered (at the lowest rung, so that values compare), what is in work, and what failed."""
        scored: dict[Design, float] = {}
        waiting: set[Design] = set()
        gone: set[Design] = set()
        for trial in study.get_trials(deepcopy=False):
            try:
                design = self._space.design(trial.params)
            except KeyError:
                continue  # has just begun, or was asked of another space
            if trial.intermediate_values:
                scored[design] = trial.intermediate_values[min(trial.intermediate_values)]
            elif trial.state == TrialState.COMPLETE:
                scored[design] = trial.values[0]
            elif trial.state == TrialState.RUNNING:
                waiting.add(design)
            elif not trial.user_attrs.get(LOST):
                gone.add(design)
        return scored, waiting - set(scored), gone - set(scored)

    def _candidates(self, scored: Mapping[Design, float], seen: set[Design]) -> list[Design]:
        unseen = [design for design in self._designs if design not in seen]
        if len(unseen) <= _CANDIDATES:
            return unseen
        neighbours: list[Design] = []
        for best in sorted(scored, key=scored.__getitem__, reverse=True)[:4]:
            code = self._coded(best)
            neighbours += [d for d in unseen if sum(a != b for a, b in zip(self._coded(d), code, strict=True)) == 1]
        drawn = self._rng.choice(len(unseen), _CANDIDATES, replace=False)
        return list(dict.fromkeys([*neighbours[: _CANDIDATES // 2], *(unseen[i] for i in drawn)]))[:_CANDIDATES]

    def _gain(
        self,
        study: "Study",
        scored: Mapping[Design, float],
        waiting: set[Design],
        candidates: list[Design],
    ) -> np.ndarray:
        values = np.array(list(scored.values()))
        known = (self._coded_all(scored), values, self._coded_all(waiting), self._coded_all(candidates))
        if len(study.directions) == 1 or self._alone is None:
            return self._surrogate.chance_of_best(*known, self._rng)
        beliefs = self._surrogate.predict(*known)
        cost = np.array([self._alone(design) for design in candidates])
        paid = np.array([self._alone(design) for design in scored])
        return _area_gain(beliefs, cost, paid, values, worst=max(self._alone(design) for design in self._designs))

    def _coded_all(self, designs: Iterable[Design]) -> np.ndarray:
        codes = [self._coded(design) for design in designs]
        return np.array(codes, dtype=int).reshape(len(codes), len(self._choices))

    def _coded(self, design: Design) -> list[int]:
        """Index of each dimension's choice; 0 for one that this design does not have."""
        params = self._space.params_of(design)
        return [values.index(params[name]) if name in params else 0 for name, values in self._choices.items()]


def similarity(values: list[str]) -> np.ndarray:
    """How alike two choices of a dimension are, 0 to 1: what they share of their parts, or how near they are in order.

    Numbers (`settings`) are ordered; choices such as "cc558k+3di-ft1m" are sets of parts.
    """
    read = [read_value(value) for value in values]
    if len(values) > 1 and all(isinstance(value, int | float) for value in read):
        place = np.argsort(np.argsort(read)) / (len(read) - 1)
        return np.exp(-((place[:, None] - place[None]) ** 2) * 4)
    sets = [set(value.split("+")) for value in values]
    return np.array([[len(a & b) / len(a | b) for b in sets] for a in sets])


def parts(values: list[str]) -> np.ndarray:
    """Of how many parts each choice of a dimension is made: none has 0, "clip+dinov2" 2, a number 1 like any other."""
    return np.array([0 if value == NONE else value.count("+") + 1 for value in values])


def _area_gain(beliefs: Beliefs, cost: np.ndarray, known: np.ndarray, values: np.ndarray, worst: float) -> np.ndarray:
    """Expected growth of the area above the front of (hours, accuracy), up to the hours of the dearest design.

    A design of `cost` hours adds, at every price t from `cost` on, what it has above the best value so far that costs
    at most t. That best value is a staircase in t, so the integral is a sum over its steps.
    """
    lowest = values.min() if len(values) else beliefs.mean_value
    steps = np.unique(np.concatenate([known, [worst * (1 + 1e-6)]]))
    gain = np.zeros(len(cost))
    for start, end in zip(np.concatenate([[-math.inf], steps[:-1]]), steps, strict=True):
        width = np.clip(end - np.maximum(start, cost), 0, None)
        below = values[known <= start]
        level = below.max() if len(below) else lowest
        gain += np.where(width > 0, width * beliefs.improvement(np.full(len(cost), level)), 0.0)
    return gain
