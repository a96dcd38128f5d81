"""Fixtures of the model's tests; the tiny random models are in tiny_models.py."""

import pytest
import torch

from tests.model.tiny_models import make_model, make_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def model(tokenizer):
    return make_model(tokenizer=tokenizer)


@pytest.fixture(scope="session")
def pixels():
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(5))
