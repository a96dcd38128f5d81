"""MLflow's and Prefect's UIs on localhost, until Ctrl-C stops both.
They show the project's own databases; nothing has to run before."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from data_registry.errors import InputError
from flows.server import prefect_server
from tasks import mlflow_log, settings
from tasks.owner import OWNER, die_with_owner

_START_SECONDS = 300  # the first start creates the database, and the machine may be busy


def serve(root: Path, mlflow_port: int, prefect_port: int, console: Console) -> None:
    """Start both, print their addresses, and wait for Ctrl-C.

    Raises:
        InputError: one of them did not start, e.g. because its port is taken; names its log.
    """
    console.print("Starting MLflow and Prefect (the first time takes half a minute) ...")
    with _mlflow(root, mlflow_port) as mlflow_address:
        console.print(f"MLflow:  {mlflow_address}", soft_wrap=True)
        with prefect_server(root, port=prefect_port, with_ui=True) as api:
            console.print(f"Prefect: {api.removesuffix('/api')}", soft_wrap=True)
            console.print("Ctrl-C stops both.")
            threading.Event().wait()


@contextlib.contextmanager
def _mlflow(root: Path, port: int) -> Iterator[str]:
    found = settings.load(root)
    uri = mlflow_log.tracking_uri(found)
    if uri.startswith("http"):
        yield uri  # the user's own server
        return
    _refuse_taken(port)
    mlflow_log.connect(found)
    log = root / "logs" / "mlflow-ui.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.ui", uri, (root / "mlartifacts").as_uri(), str(port)],
            cwd=root,
            env={**os.environ, OWNER: str(os.getpid()), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(f"http://127.0.0.1:{port}/health"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise InputError(f"MLflow's UI did not start; {log} says why")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)  # its workers are in its group
        server.wait()


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(f"port {port} is taken; give another with --mlflow-port") from error


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    die_with_owner()
    _, uri, artifacts, port = sys.argv
    options = ["--backend-store-uri", uri, "--default-artifact-root", artifacts, "--workers", "1"]
    sys.exit(
        subprocess.call([sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, *options])
    )
