"""The Prefect server, or the worker under a flow, dies or stops it in the middle of a stage run; two sweeps at once."""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
import pytest

from flows.designs.design import ROWS
from flows.designs.plan import plan_of
from flows.servers.automation import POOL
from tests.flows.conftest import REPO, Project
from tests.flows.execution.test_run import gone, wait_until_gone

ONE = ROWS[1].name
HELD = f"instruct/{ONE}"
PREFECT = str(Path(sys.executable).parent / "prefect")


def until(found: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """The first true answer; a failure that says what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.2)
    pytest.fail(f"waited {seconds:g} s for {what}")


@pytest.mark.slow
def test_kill_9_of_the_prefect_server_loses_nothing_and_stops_nothing(project):
    """The flow's own server dies; what it was to record is lost to Prefect's UI, and nothing else."""
    begun, go = project.hold(HELD)
    flow = project.start(*project.command("run", ONE))
    begun.read_text()
    (server,) = [child for child in psutil.Process(flow.pid).children() if "flows.servers.prefect" in child.cmdline()]
    server.kill()
    go.write_text("on")
    printed, _ = flow.communicate(timeout=120)  # Prefect's clients alone would try for four minutes
    assert flow.returncode == 0, printed
    assert "what was computed is complete" in printed
    assert sorted(project.executed) == sorted(plan_of([ROWS[1]]).runs()), "each once"
    assert project.out(f"score/{ONE}").exists()
    assert wait_until_gone(project) == []

    project.forget()
    project.spatialllm("run", ONE)
    assert project.executed == [], "all of it was taken into DVC"


@pytest.fixture
def worker(served: Project) -> Iterator[Popen]:
    """A worker process of the pool, as prefect.yaml says to start it, with the deployment "design"."""
    served.extra = {"SPATIALLLM_ROOT": str(served.root), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    (served.root / "flows").symlink_to(REPO / "flows")  # prefect.yaml's entrypoints are paths
    (served.root / "prefect.yaml").write_text((REPO / "prefect.yaml").read_text())
    served.run(sys.executable, "-m", "flows.servers.automation")
    served.run(PREFECT, "--no-prompt", "deploy", "--name", "design")
    process = served.start(PREFECT, "worker", "start", "--pool", POOL, "--name", "tests", start_new_session=True)
    yield process
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in [process, *_below(process.pid)]:
            child.send_signal(number)
        psutil.wait_procs(_below(process.pid), timeout=20)
    process.communicate()


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


class FlowRun:
    """A run of the deployment "design" on the tests' server."""

    def __init__(self, project: Project) -> None:
        from prefect.deployments import run_deployment

        self._project = project
        with self._there():
            self.id = run_deployment("design/design", parameters={"name": ONE}, timeout=0, as_subflow=False).id

    def _there(self) -> Any:
        from prefect.settings import PREFECT_API_URL, temporary_settings

        return temporary_settings({PREFECT_API_URL: self._project.prefect})

    @property
    def state(self) -> str:
        from prefect.client.orchestration import get_client

        with self._there(), get_client(sync_client=True) as client:
            return client.read_flow_run(self.id).state.type.value

    def cancel(self) -> None:
        self._project.run(PREFECT, "flow-run", "cancel", str(self.id))


@pytest.mark.slow
def test_cancelling_a_flow_run_stops_its_stage_runs_and_another_one_goes_on(served, worker):
    project = served
    begun, go = project.hold(HELD)
    run = FlowRun(project)
    stage_pid = int(begun.read_text())
    run.cancel()
    assert gone(stage_pid)
    until(lambda: run.state == "CANCELLED", "the flow run to be cancelled")
    finished = {run for run in project.executed if project.out(run).exists()}
    assert HELD not in finished

    project.forget()
    again = FlowRun(project)
    assert begun.read_text()
    assert (project.root / ".work" / "tiny" / HELD / "checkpoint").read_text() == "resumed"
    go.write_text("on")
    until(lambda: again.state == "COMPLETED", "the next flow run to end")
    assert sorted([*finished, *project.executed]) == sorted(plan_of([ROWS[1]]).runs()), "each once to its end"


@pytest.mark.slow
def test_kill_9_of_the_worker_loses_nothing(served, worker):
    """Its flow run is a process of its own and goes on to its end; no stage run is computed twice."""
    project = served
    begun, go = project.hold(HELD)
    run = FlowRun(project)
    begun.read_text()
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    go.write_text("on")
    until(lambda: run.state == "COMPLETED", "the flow run to end without its worker")
    assert sorted(project.executed) == sorted(plan_of([ROWS[1]]).runs())
    assert wait_until_gone(project) == []


@pytest.mark.slow
def test_two_sweeps_at_once_compute_each_stage_run_once(served):
    """Both go over the same four designs, and each has the values that one alone would have."""
    project = served
    params = project.params()
    params["sweep"] |= {
        "space": {"encoders": ["clip"], "llm": ["vicuna-7b", "llama3-8b"], "stage0": ["none"], "stage1": ["cc558k"]},
        "sampler": "grid",
    }
    project.set_params(params)
    sweeps = [project.start(*project.command("sweep", "--study", name, "--json")) for name in ("one", "two")]
    for sweep in sweeps:
        printed, _ = sweep.communicate()
        assert sweep.returncode == 0, printed
    assert set(Counter(project.executed).values()) == {1}
    found = [
        json.loads((project.root / f"reports/sweep-{name}/results.json").read_text())["trials"]
        for name in ("one", "two")
    ]
    one, two = ({trial["design"]: trial["value"] for trial in trials} for trials in found)
    assert len(one) == 4
    assert one == two
    trees = [json.loads((project.root / f"reports/sweep-{name}/mlflow.json").read_text()) for name in ("one", "two")]
    for tree in trees:
        assert {design["design"]: design["metrics"]["average"] for design in tree["designs"]} == one
        assert {tree["status"], *(design["status"] for design in tree["designs"])} == {"FINISHED"}
    names = [run["name"] for run in trees[0]["stage_runs"].values()]
    assert len(set(names)) == len(names) == 2 + 4 + 4, "stages 1 and 2 and scores, each once"
    assert trees[0]["stage_runs"].keys() == trees[1]["stage_runs"].keys()
    assert wait_until_gone(project) == []
