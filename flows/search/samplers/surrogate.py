"""What is known about designs that were not run: a Gaussian process over the choices of a space.
Main effects and pairs of them, as an ablation table can tell them, and that what has more parts is probably better;
its parameters are averaged over, not fitted."""

import math
from dataclasses import dataclass

import numpy as np

_DRAWS = 192  # parameter sets drawn from their prior; each counts by how well it explains the values
_KEPT = 24
_DRAWN = 256  # values of all designs together, per kept parameter set


@dataclass(frozen=True)
class Beliefs:
    """Predictions for some designs under several parameter sets.

    Attributes:
        weight: (sets,) sums to 1.
        mean, deviation: (sets, designs) in the values' own unit.
        mean_value: of what was observed (0 with nothing).
    """

    weight: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    mean_value: float

    def improvement(self, level: np.ndarray) -> np.ndarray:
        """Expected improvement over a level per design, (designs,)."""
        z = (self.mean - level) / self.deviation
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        # far below the level rounding can leave less than nothing
        return self.weight @ np.maximum(self.deviation * (z * _below(z) + density), 0.0)


class Surrogate:
    """A Gaussian process whose covariance is additive over dimensions and their pairs (Duvenaud's additive kernel).

    Its mean grows with a design's parts: another encoder or data set is in a space because somebody expects it to help.
    By how much, and whether at all, is one more parameter that the values decide on, as piBO does with a user's prior
    (Hvarfner et al. 2022, arXiv 2204.11051), which fades as values come in.

    Args:
        similarity: per dimension, (choices, choices) in 0..1, positive semi-definite.
        parts: per dimension, (choices,): of how many parts a choice is made; None: no choice is expected to be better.
        seed: of the draws.
    """

    def __init__(self, similarity: list[np.ndarray], seed: int | None, parts: list[np.ndarray] | None = None) -> None:
        self._similarity = similarity
        self._parts = parts or [np.zeros(len(table)) for table in similarity]
        rng = np.random.default_rng(seed)
        # Which dimensions matter more, by a factor of three or so, is unknown.
        self._weight = np.exp(rng.normal(0.0, 1.0, (_DRAWS, len(similarity))))
        self._weight /= self._weight.sum(1, keepdims=True)
        self._pairs = np.exp(rng.normal(-1.0, 1.0, _DRAWS))
        self._noise = np.exp(rng.normal(math.log(0.01), 1.0, _DRAWS))
        # One part more, in deviations of its dimension's effect; it does harm in every sixth set.
        self._gain = rng.normal(0.8, 0.8, _DRAWS)

    def predict(self, seen: np.ndarray, values: np.ndarray, waiting: np.ndarray, asked: np.ndarray) -> Beliefs:
        """What `asked` designs are expected to reach.

        Args:
            seen: (n, dimensions) indices of choices, with `values` (n,).
            waiting: (w, dimensions) designs in work: they count as seen, with the value expected of them.
            asked: (m, dimensions).
        """
        mean, spread = _scale(values)
        weights, means, deviations = [], [], []
        for weight, index, both, targets in self._sets(seen, (values - mean) / spread, waiting):
            m, covariance = self._posterior(index, both, targets, asked)
            weights.append(weight)
            means.append(m * spread + mean)
            deviations.append(np.sqrt(np.maximum(np.diag(covariance), 1e-12)) * spread)
        return Beliefs(np.array(weights), np.array(means), np.array(deviations), mean)

    def chance_of_best(
        self,
        seen: np.ndarray,
        values: np.ndarray,
        waiting: np.ndarray,
        asked: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """How probably each of the `asked` designs is the best of them, (m,); arguments as for `predict`.

        Counted over draws of all their values together, because designs that share parts are good or bad together. What
        no draw has as the best gets half a draw: it is unlikely, not impossible.
        """
        mean, spread = _scale(values)
        chance = np.zeros(len(asked))
        sets = self._sets(seen, (values - mean) / spread, waiting)
        for weight, index, both, targets in sets:
            m, covariance = self._posterior(index, both, targets, asked)
            factor = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(asked)))
            drawn = m[:, None] + factor @ rng.standard_normal((len(asked), _DRAWN))
            chance += weight * np.bincount(drawn.argmax(0), minlength=len(asked)) / _DRAWN
        return np.maximum(chance, 0.5 / (len(sets) * _DRAWN))

    def _sets(
        self, seen: np.ndarray, scaled: np.ndarray, waiting: np.ndarray
    ) -> list[tuple[float, int, np.ndarray, np.ndarray]]:
        """The parameter sets that explain the values best: weight, index, and designs with values to predict from."""
        weight = self._evidence(seen, scaled)
        best = np.argsort(weight)[::-1][:_KEPT]
        weight = weight[best] / weight[best].sum()
        both = np.concatenate([seen, waiting])
        sets = []
        for share, index in zip(weight, best, strict=True):
            expected = self._posterior(index, seen, scaled, waiting)[0] if len(waiting) else np.empty(0)
            sets.append((float(share), int(index), both, np.concatenate([scaled, expected])))
        return sets

    def _evidence(self, seen: np.ndarray, scaled: np.ndarray) -> np.ndarray:
        """How well each parameter set explains the values, summing to 1."""
        n = len(seen)
        if n < 2:
            return np.full(_DRAWS, 1 / _DRAWS)
        covariance = np.stack([self._covariance(i, seen, seen) for i in range(_DRAWS)])
        covariance[:, range(n), range(n)] += self._noise[:, None]
        factor = np.linalg.cholesky(covariance)
        rest = scaled - np.stack([self._expected(i, seen) for i in range(_DRAWS)])
        rest -= rest.mean(1, keepdims=True)
        white = np.linalg.solve(factor, rest[..., None])[..., 0]
        logs = -0.5 * (white**2).sum(1) - np.log(factor[:, range(n), range(n)]).sum(1)
        likelihood = np.exp(logs - logs.max())
        return likelihood / likelihood.sum()

    def _posterior(
        self, index: int, seen: np.ndarray, targets: np.ndarray, asked: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean (m,) and covariance (m, m) of the asked designs under one parameter set."""
        prior = self._covariance(index, asked, asked)
        if not len(seen):
            expected = self._expected(index, asked)
            return expected - expected.mean(), prior
        covariance = self._covariance(index, seen, seen) + self._noise[index] * np.eye(len(seen))
        cross = self._covariance(index, seen, asked)
        rest = targets - self._expected(index, seen)
        solved = np.linalg.solve(covariance, np.column_stack([rest - rest.mean(), cross]))
        mean = self._expected(index, asked) + rest.mean() + cross.T @ solved[:, 0]
        return mean, prior - cross.T @ solved[:, 1:]

    def _expected(self, index: int, designs: np.ndarray) -> np.ndarray:
        """What the parts of designs let expect before anything is known, (n,), up to a constant."""
        scale = self._gain[index] * np.sqrt(self._weight[index])
        return sum((scale[d] * parts[designs[:, d]] for d, parts in enumerate(self._parts)), np.zeros(len(designs)))

    def _covariance(self, index: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        single = np.zeros((len(a), len(b)))
        squares = np.zeros_like(single)
        for d, table in enumerate(self._similarity):
            part = self._weight[index, d] * table[np.ix_(a[:, d], b[:, d])]
            single += part
            squares += part**2
        # 1: the values' own mean is not known exactly
        return 1.0 + single + self._pairs[index] * (single**2 - squares) / 2


def _scale(values: np.ndarray) -> tuple[float, float]:
    """Mean and spread to measure values by."""
    mean = float(values.mean()) if len(values) else 0.0
    return mean, float(values.std()) if len(values) > 1 and values.std() > 0 else 1.0


_erf = np.vectorize(math.erf, otypes=[float])


def _below(z: np.ndarray) -> np.ndarray:
    """The normal distribution's share below z."""
    return 0.5 * (1 + _erf(z / math.sqrt(2)))
