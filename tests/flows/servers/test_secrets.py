"""No password of an address reaches a command line, where `ps` shows it, or a terminal."""

import pytest
from rich.console import Console

from flows.servers import ui
from tasks.identity import settings
from tasks.identity.identity import identify
from tasks.tracking.live import Live
from tasks.tracking.recorder import Recorder
from tests.tasks.tracking.conftest import root as root


def test_mlflows_server_has_no_address_on_its_command_line(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ann:pa55word@host/mlflow")
    started = []
    monkeypatch.setattr(ui, "LocalServer", lambda *arguments: started.append(arguments))
    ui._mlflow_process(root, 5000)
    assert started
    assert "pa55word" not in repr(started)


def test_servers_of_ones_own_are_named_without_their_password(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:pa55word@host:5000")
    monkeypatch.setenv("PREFECT_API_URL", "http://ann:pa55word@host:4200/api")
    console = Console(record=True, width=200)
    ui.serve(root, 5000, 4200, console)
    printed = console.export_text()
    assert "http://***@host:5000" in printed
    assert "http://***@host:4200" in printed
    assert "pa55word" not in printed


def test_a_stage_runs_warning_has_none(root, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:pa55word@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    known = settings.load(root)
    (stream,) = Live(known, identify(known, "scenes", "train")[0], Recorder(), 1e9).streams
    stream.run()
    said = capsys.readouterr().err
    assert "warning: mlflow (http://***@127.0.0.1:9) does not take this run" in said
    assert "pa55word" not in said


@pytest.mark.parametrize("answer", [401, 403])
def test_a_delivery_that_can_never_succeed_says_what_to_do(root, monkeypatch, answer):
    """A server that refuses the user, again and again."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from flows.designs.plan import Plan
    from flows.tracking.delivery import deliver_pending
    from tasks.tracking.pending import mark_pending

    class Refuses(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            self.send_response(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = _refuse

        def log_message(self, *said: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    mark_pending(root)
    warnings = []
    deliver_pending(root, Plan(), warnings.append)
    server.shutdown()
    server.server_close()
    (warning,) = warnings
    assert "trying again will not help" in warning
    assert "MLFLOW_TRACKING_USERNAME" in warning
