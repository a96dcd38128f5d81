"""What tests of every folder share: a headless Chromium for all that look at pages, an empty MLflow database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.identity.settings import Settings
from tasks.tracking.mlflow import MlflowTracker
from tests.browser import CHROMIUM, WHY_NOT, Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium; tests that ask for it carry the marker `browser` and are skipped, saying why, where there is none."""
    if CHROMIUM is None:
        pytest.skip(WHY_NOT)
    opened = Browser(tmp_path_factory.mktemp("chromium") / "profile")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def tracking_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database to copy: creating one takes seconds."""
    root = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        MlflowTracker(Settings(root, {"scale": "tiny"}, {})).connect()
    return root / "mlflow.db"
