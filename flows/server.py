"""A Prefect server of the project's own: localhost, SQLite in .prefect/, no telemetry, gone with whoever started it.
`python -m flows.server PORT` is that server; `prefect_server` starts one for the length of a flow."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from data_registry.errors import InputError
from tasks.owner import OWNER, die_with_owner

_START_SECONDS = 300  # the first start creates the database, and the machine may be busy
_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_CLI_PROMPT": "false",
}


def configure(root: Path) -> None:
    """Point Prefect at the project's own folder; call it before Prefect is imported. What the user has set stays."""
    os.environ.setdefault("PREFECT_HOME", str(root / ".prefect"))
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)


@contextlib.contextmanager
def prefect_server(root: Path, port: int | None = None, with_ui: bool = False) -> Iterator[str]:
    """The address of a Prefect API: the user's own (PREFECT_API_URL), or a server that ends with this block.

    Raises:
        InputError: it did not start; names its log.
    """
    configure(root)
    if os.environ.get("PREFECT_API_URL"):
        yield os.environ["PREFECT_API_URL"]
        return
    port = port or free_port()
    log = root / "logs" / "prefect-server.log"
    server = _start(root, port, with_ui, log)
    try:
        address = f"http://127.0.0.1:{port}/api"
        os.environ["PREFECT_API_URL"] = address
        yield address
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def free_port() -> int:
    """A port of localhost that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(root: Path, port: int, with_ui: bool, log: Path) -> subprocess.Popen:
    from filelock import FileLock

    log.parent.mkdir(parents=True, exist_ok=True)
    lock = root / ".locks" / "prefect.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, OWNER: str(os.getpid()), "PREFECT_SERVER_UI_ENABLED": str(with_ui).lower()}
    with FileLock(lock), log.open("w") as output:  # two at once would both create the database
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not _healthy(port):
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                raise InputError(f"the Prefect server did not start on port {port}; {log} says why")
            time.sleep(0.2)
    return server


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _serve(port: int) -> None:
    import uvicorn

    die_with_owner()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
