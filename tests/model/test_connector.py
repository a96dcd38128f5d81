"""Connectors: image tokens that are as long as words, whatever the scale of the features."""

import torch

from model.connector import NormedMLPConnector


def test_normed_tokens_are_as_long_as_words_whatever_the_features_scale():
    torch.manual_seed(0)
    words = torch.randn(50, 16) * 0.1
    connector = NormedMLPConnector(12, 16)
    connector.match(words)
    features = torch.randn(2, 9, 12)
    tokens = connector(features)
    lengths, word = tokens.norm(dim=-1), words.norm(dim=-1).median()
    assert torch.allclose(lengths, word.expand_as(lengths), rtol=0.1)
    torch.testing.assert_close(connector(features * 40 + 3), tokens, rtol=1e-3, atol=1e-4)
