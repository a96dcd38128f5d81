"""A project with an empty MLflow database."""

import shutil
from pathlib import Path

import pytest

from tests.tasks.stage.test_stage import PARAMS, PLAN


@pytest.fixture
def root(tmp_path: Path, tracking_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    shutil.copyfile(tracking_database, tmp_path / "mlflow.db")
    return tmp_path
