"""A connector that starts from words: after it, patches of what a caption names look like the word."""

import torch

from model.connector import NormedMLPConnector
from model.training import word_start

IMAGES, GRID, WIDTH, WORDS = 600, 4, 48, 20


def _world(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, list[set[int]]]:
    """Images of three things each: every thing fills two patches with a pattern of its own, in noise; captions name
    them, and say word 0 always and word 19 by chance."""
    draw = torch.Generator().manual_seed(seed)
    patterns = 3 * torch.randn(WORDS, WIDTH, generator=draw)
    features = torch.randn(IMAGES, GRID * GRID, WIDTH, generator=draw)
    shown = torch.full((IMAGES, GRID * GRID), -1)
    texts = []
    for image in range(IMAGES):
        things = torch.randperm(18, generator=draw)[:3] + 1
        places = torch.randperm(GRID * GRID, generator=draw)[:6]
        for place, thing in zip(places, things.repeat(2), strict=True):
            features[image, place] += patterns[thing]
            shown[image, place] = thing
        chance = {19} if torch.rand((), generator=draw) < 0.5 else set()
        texts.append({0, *things.tolist()} | chance)
    return features, shown, texts


def _new():
    """A connector as stage 1 begins with it, and the words of its LLM."""
    torch.manual_seed(0)
    embeddings = torch.randn(WORDS, 64)
    connector = NormedMLPConnector(WIDTH, 64)
    connector.match(embeddings)
    return connector, embeddings


def test_a_patch_of_a_thing_starts_as_its_word():
    features, shown, texts = _world()
    connector, embeddings = _new()
    before = _named(connector, features, embeddings, shown)
    count = word_start.start(connector, [[features[:200]], [features[200:]]], GRID, texts, embeddings)
    assert count == 18  # word 0 tells nothing, and word 19 is not in the features
    assert before < 0.15
    assert _named(connector, features, embeddings, shown) > 0.9


def test_more_evidence_than_torch_finds_a_quantile_of():
    features, shown, texts = _world()
    connector, embeddings = _new()
    finer = 16  # times as many patches along each side
    batches = ([features[at : at + 256].repeat(1, finer * finer, 1)] for at in range(0, IMAGES, 256))
    assert 256 * (GRID * finer) ** 2 * 18 > word_start.QUANTILE_MOST
    assert word_start.start(connector, batches, GRID * finer, texts, embeddings) == 18
    assert _named(connector, features, embeddings, shown) > 0.9


def test_words_that_the_features_do_not_tell_are_left_out():
    features, _, texts = _world()
    found = word_start.detect(features.mean(1), *word_start.presence(texts))
    assert sorted(found.words.tolist()) == list(range(1, 19))
    assert found.explained.min() > word_start.EXPLAINED


def _named(connector: NormedMLPConnector, features: torch.Tensor, embeddings: torch.Tensor, shown) -> float:
    """Share of the things' patches whose token is nearest to their own word."""
    with torch.no_grad():
        tokens = connector(features)[shown >= 0]
    likeness = torch.nn.functional.normalize(tokens, dim=-1) @ torch.nn.functional.normalize(embeddings, dim=-1).T
    return (likeness.argmax(-1) == shown[shown >= 0]).float().mean().item()
