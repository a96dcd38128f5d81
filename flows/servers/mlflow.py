"""MLflow's server in one process on localhost: `python -m flows.servers.mlflow ROOT PORT`.
Its address, which may hold a password, is not on the command line, where `ps` shows it.
MLflow's own command imports itself in two processes, one above the other, and so takes twice as long to answer."""

import os
import sys
import traceback
from pathlib import Path

from flows.servers.local import HOST
from tasks.identity import settings
from tasks.identity.addresses import masked
from tasks.stage.parent_watch import die_with_parent
from tasks.tracking import database
from tasks.tracking.mlflow import tracking_uri


def _serve(root: Path, port: int) -> None:
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # no jobs here, and no job runner left behind
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    import uvicorn
    from mlflow.server import constants
    from mlflow.server.handlers import initialize_backend_stores

    uri = tracking_uri(settings.load(root))
    file = database.path_of(uri)
    if file is not None:
        database.prepare(file)
    artifacts = database.artifacts_of(file or root / "mlflow.db")
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = uri
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = artifacts
    initialize_backend_stores(uri, uri, artifacts)
    uvicorn.run("mlflow.server.fastapi_app:app", host=HOST, port=port, log_level="warning")


if __name__ == "__main__":
    die_with_parent()
    try:
        _serve(Path(sys.argv[1]), int(sys.argv[2]))
    except Exception:  # into the server's log
        sys.exit(masked(traceback.format_exc()))
