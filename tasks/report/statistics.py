"""Accuracy in percent with bootstrap intervals, alone and paired, from the answers to a benchmark's questions.
Images are resampled, not questions: questions about one image are not independent."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data_registry.paper import CLASSES

RESAMPLES = 2000
SLICES = ("average", *CLASSES)


@dataclass(frozen=True)
class Bootstrap:
    """Resamples of a benchmark's images, the same ones for every design, so that differences are paired.

    Attributes:
        image: (questions,) index of each question's image.
        masks: slice name -> (questions,) bool; "average" holds every question.
        weights: (resamples, images) how often each image was drawn.
    """

    image: np.ndarray
    masks: dict[str, np.ndarray]
    weights: np.ndarray

    @classmethod
    def of(cls, questions: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> "Bootstrap":
        """Draw the resamples for `questions` (columns image, class)."""
        image, names = pd.factorize(questions["image"])
        rng = np.random.default_rng(seed)
        weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples).astype(np.float64)
        masks = {"average": np.ones(len(questions), bool)}
        masks |= {name: (questions["class"] == name).to_numpy() for name in CLASSES}
        return cls(image, masks, weights)

    def accuracy(self, correct: np.ndarray) -> dict[str, float]:
        """Percent correct in each slice; `correct` is (questions,) bool."""
        return {name: percent(correct[mask].mean()) for name, mask in self.masks.items()}

    def intervals(self, correct: np.ndarray) -> dict[str, list[float]]:
        """95 % percentile interval of each slice's accuracy, in percent."""
        return {name: _interval(self._resampled(correct, mask)) for name, mask in self.masks.items()}

    def difference(self, correct: np.ndarray, other: np.ndarray) -> dict[str, dict[str, Any]]:
        """`correct` minus `other` in each slice, in points, with the paired 95 % interval."""
        gain = correct.astype(np.float64) - other
        return {
            name: {"points": percent(gain[mask].mean()), "interval95": _interval(self._resampled(gain, mask))}
            for name, mask in self.masks.items()
        }

    def _resampled(self, value: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(resamples,) mean of `value` over the questions of `mask` in each resample."""
        images = self.weights.shape[1]
        total = np.bincount(self.image[mask], weights=value[mask], minlength=images)
        count = np.bincount(self.image[mask], minlength=images)
        asked = self.weights @ count
        return (self.weights @ total)[asked > 0] / asked[asked > 0]


def percent(fraction: float) -> float:
    """A fraction as percent, to the hundredth: finer than any benchmark of a thousand questions can tell."""
    return round(100 * float(fraction), 2)


def _interval(values: np.ndarray) -> list[float]:
    return [percent(v) for v in np.percentile(values, [2.5, 97.5])]
