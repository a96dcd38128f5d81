"""Fixtures of the tasks' tests; what they are made of is in training_project.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a project of random tiny models, for all tests of a file, which run in it."""
    from tests.tasks.training_project import make_project  # with torch and transformers, which other files do not need

    root = tmp_path_factory.mktemp("root")
    make_project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root
