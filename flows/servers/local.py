"""A server of the project's own: a child process on localhost that ends with whoever started it.
`python -m flows.servers.prefect` (Prefect) and `python -m flows.servers.mlflow` are such children."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from data_registry.errors import InputError
from tasks.stage.parent_watch import PARENT

HOST = "127.0.0.1"
_START_SECONDS = 900  # the first start creates a database, and trainings of a higher priority may leave little time
_STOP_SECONDS = 10


class LocalServer:
    """Starts at once; `wait` (or `answers`, time and again) says when it serves, `stop` ends it.

    Args:
        name: "MLflow" or "Prefect", for messages and for its log, e.g. logs/mlflow-server.log.
        module: what `python -m` runs, followed by `arguments`; it calls `tasks.stage.parent_watch.die_with_parent`.
        health: path that answers 200 once it serves.
        option: how a user chooses the port, for messages; None where the port was chosen for them.

    Raises:
        InputError: the port is taken.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        module: str,
        arguments: list[str],
        port: int,
        health: str,
        option: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.address = name, f"http://{HOST}:{port}"
        self.log = root / "logs" / f"{name.lower()}-server.log"
        self._health = f"{self.address}{health}"
        self._deadline = time.monotonic() + _START_SECONDS
        _refuse_taken(name, port, option)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=root,
                env={**os.environ, **(environment or {}), PARENT: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def answers(self) -> bool:
        """Whether it serves by now; InputError when it has ended or takes too long, naming its log."""
        self.check()
        if time.monotonic() > self._deadline:
            raise InputError(f"{self.name}'s server does not answer after {_START_SECONDS} s; {self.log} says why")
        try:
            with urllib.request.urlopen(self._health, timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def wait(self) -> None:
        """Return once it serves; InputError as for `answers`."""
        while not self.answers():
            time.sleep(0.2)

    def check(self) -> None:
        """InputError when it has ended by itself."""
        if self.process.poll() is not None:
            raise InputError(
                f"{self.name}'s server has ended (exit code {self.process.returncode}); {self.log} says why"
            )

    def stop(self) -> None:
        """End it and whatever it has started."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> "LocalServer":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def free_port() -> int:
    """A port of localhost that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _refuse_taken(name: str, port: int, option: str | None) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that ended a moment ago is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError as error:
            remedy = f"; give another with {option}" if option else ""
            raise InputError(f"port {port} is taken, so {name}'s server cannot start{remedy}") from error
