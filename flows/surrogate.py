"""What is known about designs that were not run: a Gaussian process over the choices of a space.
Main effects and pairs of them, as an ablation table can tell them; its parameters are averaged over, not fitted."""

import math
from dataclasses import dataclass

import numpy as np

_DRAWS = 192  # parameter sets drawn from their prior; each counts by how well it explains the values
_KEPT = 24


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

    Args:
        similarity: per dimension, (choices, choices) in 0..1, positive semi-definite.
        seed: of the draws.
    """

    def __init__(self, similarity: list[np.ndarray], seed: int | None) -> None:
        self._similarity = similarity
        rng = np.random.default_rng(seed)
        # Which dimensions matter more, by a factor of two or so, is unknown.
        self._weight = np.exp(rng.normal(0.0, 0.7, (_DRAWS, len(similarity))))
        self._weight /= self._weight.sum(1, keepdims=True)
        self._pairs = np.exp(rng.normal(-2.0, 1.0, _DRAWS))
        self._noise = np.exp(rng.normal(math.log(0.01), 1.0, _DRAWS))

    def predict(self, seen: np.ndarray, values: np.ndarray, waiting: np.ndarray, asked: np.ndarray) -> Beliefs:
        """What `asked` designs are expected to reach.

        Args:
            seen: (n, dimensions) indices of choices, with `values` (n,).
            waiting: (w, dimensions) designs in work: they count as seen, with the value expected of them.
            asked: (m, dimensions).
        """
        mean = float(values.mean()) if len(values) else 0.0
        spread = float(values.std()) if len(values) > 1 and values.std() > 0 else 1.0
        scaled = (values - mean) / spread
        weight = self._evidence(seen, scaled)
        best = np.argsort(weight)[::-1][:_KEPT]
        weight = weight[best] / weight[best].sum()
        means, deviations = [], []
        both = np.concatenate([seen, waiting])
        for one in best:
            targets = scaled
            if len(waiting):
                expected = self._posterior(one, seen, scaled, waiting)[0]
                targets = np.concatenate([scaled, expected])
            m, s = self._posterior(one, both, targets, asked)
            means.append(m * spread + mean)
            deviations.append(s * spread)
        return Beliefs(weight, np.array(means), np.array(deviations), mean)

    def _evidence(self, seen: np.ndarray, scaled: np.ndarray) -> np.ndarray:
        """How well each parameter set explains the values, summing to 1."""
        n = len(seen)
        if n < 2:
            return np.full(_DRAWS, 1 / _DRAWS)
        covariance = np.stack([self._covariance(i, seen, seen) for i in range(_DRAWS)])
        covariance[:, range(n), range(n)] += self._noise[:, None]
        factor = np.linalg.cholesky(covariance)
        white = np.linalg.solve(factor, np.broadcast_to(scaled[:, None], (_DRAWS, n, 1)))[..., 0]
        logs = -0.5 * (white**2).sum(1) - np.log(factor[:, range(n), range(n)]).sum(1)
        likelihood = np.exp(logs - logs.max())
        return likelihood / likelihood.sum()

    def _posterior(
        self, one: int, seen: np.ndarray, targets: np.ndarray, asked: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        prior = self._covariance(one, asked[:1], asked[:1])[0, 0]  # the same for every design
        if not len(seen):
            return np.zeros(len(asked)), np.full(len(asked), math.sqrt(prior))
        covariance = self._covariance(one, seen, seen) + self._noise[one] * np.eye(len(seen))
        cross = self._covariance(one, seen, asked)
        solved = np.linalg.solve(covariance, np.column_stack([targets, cross]))
        variance = prior - (cross * solved[:, 1:]).sum(0)
        return cross.T @ solved[:, 0], np.sqrt(np.maximum(variance, 1e-12))

    def _covariance(self, one: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        single = np.zeros((len(a), len(b)))
        squares = np.zeros_like(single)
        for d, table in enumerate(self._similarity):
            part = self._weight[one, d] * table[np.ix_(a[:, d], b[:, d])]
            single += part
            squares += part**2
        # 1: the values' own mean is not known exactly
        return 1.0 + single + self._pairs[one] * (single**2 - squares) / 2


_erf = np.vectorize(math.erf, otypes=[float])


def _below(z: np.ndarray) -> np.ndarray:
    """The normal distribution's share below z."""
    return 0.5 * (1 + _erf(z / math.sqrt(2)))
