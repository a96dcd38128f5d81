"""A connector's start from the words of captions, in closed form, before stage 1 trains it.
Which words a caption has is regressed on its image's mean features. The same regression read at a single patch says
which words that patch speaks of (as class activation maps do: Zhou et al., "Learning Deep Features for Discriminative
Localization", CVPR 2016). Hidden units of the connector start as these detectors, their outputs as the words.

A small LLM gives a random connector almost no gradient: it looks things up by their names, and finds none among random
tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from model.connector import NormedMLPConnector, mix_channels

RARE, COMMON = 0.004, 0.7  # of all images; words beyond tell too little
RIDGE = 0.1  # of the features' mean variance
EXPLAINED = 0.05  # share of a word's variance that must be in the features
STRONG = 3.0  # what a detector gives where a word is clearly present
QUANTILE_MOST = 1 << 24  # numbers of which torch finds a quantile; with more, every so-many-th patch is looked at


@dataclass(frozen=True)
class Detectors:
    """Linear detectors of words in patches of unit features.

    Attributes:
        words: (v,) token ids.
        weight: (v, d), bias: (v,): evidence of each word is `weight @ patch + bias`.
        explained: (v,) share of the word's variance over images that the mean features explain.
    """

    words: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    explained: torch.Tensor


def presence(texts: Sequence[Iterable[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Which words are worth detecting, (v,) ids, and (n, v) which of n texts has which, from their token ids."""
    sets = [frozenset(text) for text in texts]
    known = sorted(frozenset().union(*sets))
    column = {word: at for at, word in enumerate(known)}
    present = torch.zeros(len(sets), len(known))
    for row, words in enumerate(sets):
        present[row, [column[word] for word in words]] = 1
    share = present.mean(0)
    chosen = (share > RARE) & (share < COMMON)
    return torch.tensor(known)[chosen], present[:, chosen]


def detect(means: torch.Tensor, words: torch.Tensor, present: torch.Tensor) -> Detectors:
    """Ridge regression of (n, v) words on (n, d) mean unit features, without words that the features do not tell."""
    center, base = means.mean(0), present.mean(0)
    x, y = means - center, present - base
    covariance = x.T @ x / len(x)
    penalty = RIDGE * covariance.diagonal().mean() * torch.eye(x.shape[1])
    weight = torch.linalg.solve(covariance + penalty, x.T @ y / len(x)).T
    left = (y - x @ weight.T).square().mean(0) / y.square().mean(0).clamp(min=1e-12)
    spare = len(x) - x.shape[1] - 1  # d features explain d images of anything: that share is taken off
    explained = 1 - left * (len(x) - 1) / spare if spare > 0 else torch.zeros_like(left)
    kept = explained > EXPLAINED
    weight = weight[kept]
    return Detectors(words[kept], weight, -(weight @ center), explained[kept])


def start(
    connector: NormedMLPConnector,
    batches: Iterable[Sequence[torch.Tensor]],
    grid: int,
    texts: Sequence[Iterable[int]],
    embeddings: torch.Tensor,
) -> int:
    """Set a new connector's first hidden units to words; returns how many, and changes nothing where there are none.

    Args:
        batches: features of all images, some images at a time: one (b, g * g, width) per encoder.
        grid: the common grid of the encoders.
        texts: the token ids of each image's captions, in the same order.
        embeddings: (vocabulary, d_out) of the LLM.
    """
    means, patches = [], None
    with torch.no_grad():
        for features in batches:
            unit = connector.unit(mix_channels([feature.float() for feature in features], grid))
            means.append(unit.mean(1))
            patches = unit.flatten(0, 1) if patches is None else patches
        detectors = detect(torch.cat(means), *presence(texts))
        if not len(detectors.words):
            return 0
        best = detectors.explained.argsort(descending=True)[: connector.linear_1.out_features]
        weight, bias, words = detectors.weight[best], detectors.bias[best], detectors.words[best]
        n = len(words)
        apart = -(-len(patches) // (QUANTILE_MOST // n))
        strong = torch.quantile(patches[::apart] @ weight.T + bias, 0.99)
        connector.linear_1.weight[:n] = weight * (STRONG / strong)
        connector.linear_1.bias[:n] = bias * (STRONG / strong)
        connector.linear_2.weight[:, :n] = embeddings[words].T
        connector.linear_2.weight[:, n:] *= 0.1  # the other units, still random, must not drown the words
        connector.linear_2.bias.zero_()
    return n
