"""`spatialllm ui` as a user has it: two addresses, the pages behind them in a real browser, and Ctrl-C."""

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil
import pytest

from data_registry.paper import CLASSES
from flows.designs.design import BLIND_REFERENCE, ROWS
from flows.designs.plan import plan_of
from flows.roadmap import REPORT, describe, record
from flows.servers.local import free_port
from flows.tracking.flow_runs import Tracking
from tasks.stage.harness import execute
from tests.browser import Browser
from tests.flows.conftest import Project, make_project

pytestmark = pytest.mark.slow
DESIGNS = [ROWS[1], ROWS[8], BLIND_REFERENCE]


def _compute(run) -> dict[str, float]:
    (run.out / "output.txt").write_text(run.name)
    value = 0.25 + len(run.name) / 200
    return dict.fromkeys(("average", "distance", "orientation", "relation"), value)


def record_a_roadmap(root: Path) -> None:
    """Stage runs in their files, and what a roadmap of two designs records of them in MLflow."""
    plan = plan_of(DESIGNS)
    for run in plan.runs():
        stage, _, name = run.partition("/")
        execute(stage, name, _compute, root)
    (root / REPORT).mkdir(parents=True)
    for name in ("report.html", "results.json"):
        (root / REPORT / name).write_text("{}")
    rows = []
    for design in DESIGNS:
        metrics = json.loads((root / "runs/tiny/score" / design.name / "metrics.json").read_text())
        accuracy = {key: 100 * value for key, value in metrics.items()}
        intervals = {key: [value - 2, value + 2] for key, value in accuracy.items()}
        row = {"name": design.name, "row": design.row, "design": describe(design), "paper": None}
        rows.append({**row, "accuracy": accuracy, "intervals95": intervals})
    content = {"designs": rows, "blind": None, "benchmark": dict.fromkeys(CLASSES, 1)}
    record(root, DESIGNS, plan, content, Tracking(root, pytest.fail))


@dataclass
class Served:
    """The running command, what it printed, and the two addresses."""

    process: subprocess.Popen
    printed: str
    mlflow: str
    prefect: str


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    project: Project = make_project(tmp_path_factory.mktemp("ui"))
    project.want(1, 8, BLIND_REFERENCE.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        record_a_roadmap(project.root)
    ports = [str(free_port()), str(free_port())]
    process = project.start(*project.command("ui", "--mlflow-port", ports[0], "--prefect-port", ports[1]))
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("Ctrl-C"):
            break
    try:
        yield Served(process, printed, *(f"http://127.0.0.1:{port}" for port in ports))
    finally:
        process.kill()
        process.wait()


def test_both_addresses_are_named_and_listen_on_localhost_only(ui):
    assert f"MLflow:  {ui.mlflow} " in ui.printed
    assert f"Prefect: {ui.prefect} " in ui.printed
    servers = psutil.Process(ui.process.pid).children(recursive=True)
    sockets = [one for server in servers for one in server.net_connections(kind="inet")]
    listening = {(one.laddr.ip, one.laddr.port) for one in sockets if one.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", urlsplit(address).port) for address in (ui.mlflow, ui.prefect)}


@pytest.mark.browser
def test_mlflow_shows_the_roadmap_with_its_designs_below_it(ui, browser: Browser, tmp_path):
    import mlflow

    client = mlflow.MlflowClient(ui.mlflow)
    experiment = client.get_experiment_by_name("roadmap (tiny)").experiment_id
    (page,) = re.findall(r"(http\S+)  \(roadmap \(tiny\)\)", ui.printed)
    assert page.startswith(f"{ui.mlflow}/#/experiments/{experiment}/runs?")
    browser.look(2200, 1000)
    browser.open(page)
    browser.wait_for_text(f"{len(DESIGNS)} matching runs", "mix665k+3di-ft1m", "llama3-8b")
    runs = client.search_runs([experiment], "tags.design LIKE '%'")
    best_first = [run.info.run_name for run in sorted(runs, key=lambda run: -run.data.metrics["average"])]
    places = [browser.text.index(name) for name in best_first]
    assert places == sorted(places), "best first"
    for column in ("average", "distance", "orientation", "relation", "encoders", "llm", "stage1", "stage2"):
        assert column in browser.text
    assert "Playground" not in browser.text, "MLflow's menu for training, not the one for language models' traces"
    browser.picture(tmp_path / "runs.png")
    child = next(run for run in client.search_runs([experiment]) if run.info.run_name == ROWS[8].name)
    browser.open(f"{ui.mlflow}/#/experiments/{experiment}/runs/{child.info.run_id}")
    browser.wait_for_text("Finished", "average", "orientation", "llama3-8b")
    browser.picture(tmp_path / "run.png")
    assert {urlsplit(request).hostname for request in browser.requests} == {"127.0.0.1"}, "nothing from outside"


@pytest.mark.browser
def test_prefects_page_finds_its_server(ui, browser: Browser, tmp_path):
    name = json.dumps({"name": "a flow that only the server knows"}).encode()
    urlopen(Request(f"{ui.prefect}/api/flows/", name, {"Content-Type": "application/json"})).close()
    browser.look(1400, 1000)
    browser.open(f"{ui.prefect}/flows")
    browser.wait_for_text("a flow that only the server knows")
    browser.picture(tmp_path / "prefect.png")
    assert {urlsplit(request).netloc for request in browser.requests} == {urlsplit(ui.prefect).netloc}
    # Prefect's page names an icon that Prefect does not ship.
    assert [error for error in browser.errors if not error.endswith("/favicon.ico")] == []


def test_ctrl_c_ends_both_and_leaves_nobody(ui):
    servers = psutil.Process(ui.process.pid).children(recursive=True)
    assert len(servers) == 2
    ui.process.send_signal(signal.SIGINT)
    said, _ = ui.process.communicate()
    assert ui.process.returncode == 0
    assert said.splitlines()[-1] == "stopped"
    assert psutil.wait_procs(servers, timeout=0)[1] == []
    for address in (ui.mlflow, ui.prefect):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", urlsplit(address).port)) != 0
