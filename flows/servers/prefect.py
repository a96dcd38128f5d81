"""A Prefect server of the project's own: localhost, SQLite in .prefect/, no telemetry, gone with whoever started it.
`python -m flows.servers.prefect ROOT PORT` is that server; `prefect_server` starts one for the length of a flow."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.servers import prefect_database
from flows.servers.local import HOST, LocalServer, free_port
from flows.servers.prefect_client import until_gone
from tasks.stage.parent_watch import die_with_parent

_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLI_PROMPT": "false",
}


def configure(root: Path) -> None:
    """Point Prefect at the project's own folder; call it before Prefect is imported. What the user has set stays."""
    os.environ.setdefault("PREFECT_HOME", str(root / ".prefect"))
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)


@contextlib.contextmanager
def prefect_server(root: Path) -> Iterator[str]:
    """The address of a Prefect API: the user's own (PREFECT_API_URL), or a server that ends with this block.

    Raises:
        InputError: it did not start; names its log.
    """
    configure(root)
    if os.environ.get("PREFECT_API_URL"):
        yield os.environ["PREFECT_API_URL"]
        return
    with prefect_process(root, free_port()) as server:
        server.wait()
        os.environ["PREFECT_API_URL"] = f"{server.address}/api"
        try:
            with until_gone(server.process):
                yield os.environ["PREFECT_API_URL"]
        finally:
            del os.environ["PREFECT_API_URL"]


def prefect_process(root: Path, port: int, with_ui: bool = False, option: str | None = None) -> LocalServer:
    """Start a Prefect server; arguments and errors as for `LocalServer`."""
    configure(root)
    if warning := prefect_database.put_aside_if_broken(root):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    own = f"http://{HOST}:{port}"
    environment = {
        "PREFECT_SERVER_UI_ENABLED": str(with_ui).lower(),
        "PREFECT_SERVER_UI_API_URL": f"{own}/api",  # where the page asks; it would guess Prefect's own port
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{own},http://localhost:{port}",  # no other page may ask
        **prefect_database.environment(),
    }
    arguments = [str(root), str(port)]
    return LocalServer(root, "Prefect", "flows.servers.prefect", arguments, port, "/api/health", option, environment)


def _serve(root: Path, port: int) -> None:
    import uvicorn

    configure(root)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list | None = None) -> None:
            with prefect_database.starting(root):  # two at once would both create the database
                await super().startup(sockets)

    application = "prefect.server.api.server:create_app"
    Server(uvicorn.Config(application, factory=True, host=HOST, port=port, log_level="error", lifespan="on")).run()


if __name__ == "__main__":
    die_with_parent()
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
