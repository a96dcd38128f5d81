"""MLflow's and Prefect's UIs on localhost, until Ctrl-C stops both.
They show the project's own databases; nothing has to run before."""

import contextlib
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.servers.local import LocalServer
from flows.servers.prefect import prefect_process
from tasks.identity import settings
from tasks.identity.addresses import masked
from tasks.tracking import mlflow, views

_POLL_SECONDS = 0.2
_EXPERIMENTS = 8  # whose pages are named


def serve(root: Path, mlflow_port: int, prefect_port: int, console: Console) -> None:
    """Start both at the same time, print each one's address as soon as it answers, and wait for Ctrl-C.

    A server of the user's own (MLFLOW_TRACKING_URI, PREFECT_API_URL) is named and not started.

    Raises:
        InputError: a port is taken, or a server did not start or ended; names its log.
    """
    with contextlib.ExitStack() as running:
        starting: dict[str, LocalServer] = {}
        uri = mlflow.tracking_uri(settings.load(root))
        if uri.startswith("http"):
            _say(console, "MLflow", masked(uri), "your own server")
        else:
            starting["MLflow"] = running.enter_context(_mlflow_process(root, mlflow_port))
        if os.environ.get("PREFECT_API_URL"):
            _say(console, "Prefect", masked(os.environ["PREFECT_API_URL"].removesuffix("/api")), "your own server")
        else:
            server = prefect_process(root, prefect_port, with_ui=True, option="--prefect-port")
            starting["Prefect"] = running.enter_context(server)
        started = list(starting.values())
        _announce(console, starting)
        if (root / "reports" / "roadmap" / "report.html").exists():
            _say(console, "Report", str(Path("reports/roadmap/report.html")), "open it in a browser")
        if started:
            console.print("Ctrl-C stops " + ("both." if len(started) == 2 else "it."))
            while True:
                time.sleep(_POLL_SECONDS)
                for server in started:
                    server.check()


def _announce(console: Console, starting: dict[str, LocalServer]) -> None:
    """Print the address of each server once it answers; empties `starting`."""
    begun = time.monotonic()
    if not console.is_terminal and starting:  # where no live line can be shown
        console.print(f"Starting {' and '.join(starting)} ...")
    with console.status("") as status:
        while starting:
            names = " and ".join(starting)
            status.update(f"Starting {names} (seconds; on a busy machine a minute): {time.monotonic() - begun:.0f} s")
            for name, server in list(starting.items()):
                if server.answers():
                    del starting[name]
                    _say(console, name, server.address, f"ready after {time.monotonic() - begun:.0f} s")
                    for experiment, page in _runs_pages(server.address) if name == "MLflow" else ():
                        _say(console, "", page, experiment)
            time.sleep(_POLL_SECONDS)


def _say(console: Console, name: str, address: str, remark: str) -> None:
    console.print(f"{name and name + ':':<8} {address}  [dim]({remark})[/dim]", soft_wrap=True, highlight=False)


def _runs_pages(address: str) -> Iterator[tuple[str, str]]:
    """Name and page of the latest experiments, the last one first.

    By itself MLflow opens an experiment on a page about language models' traces, and there are none.
    """
    wanted = {"max_results": _EXPERIMENTS, "order_by": ["last_update_time DESC"], "filter": "name != 'Default'"}
    for experiment in _post(address, "experiments/search", wanted).get("experiments", []):
        number, name = experiment["experiment_id"], experiment["name"]
        view = {"experiment_id": number, "key": views.SHARED, "value": json.dumps(views.view_of(name))}
        _post(address, "experiments/set-experiment-tag", view)  # one of an earlier version has none, or another
        yield name, views.page_of(address, number)


def _post(address: str, what: str, content: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/{what}", json.dumps(content).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def _mlflow_process(root: Path, port: int) -> LocalServer:
    arguments = [str(root), str(port)]
    return LocalServer(root, "MLflow", "flows.servers.mlflow", arguments, port, "/health", "--mlflow-port")
