"""How a flow that is ended from outside stands in Prefect and MLflow: stopped tidily, or killed and closed later."""

import signal

import pytest

from flows.designs.design import ROWS
from tasks.tracking.tracker import Recorded
from tests.flows.execution.test_run import wait_until_gone
from tests.tasks.tracking.project import connect

ONE = ROWS[1].name
HELD = f"instruct/{ONE}"


def prefect_states(address: str) -> list[str]:
    """Of every flow run, the latest first."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
        return [run.state.type.value for run in client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC)]


def running(project) -> list[Recorded]:
    return connect(project.root).find(status="RUNNING")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_flow_stopped_by_its_user_is_cancelled_in_prefect(served, number):
    begun, _ = served.hold(HELD)
    flow = served.start(*served.command("run", ONE))
    begun.read_text()
    flow.send_signal(number)
    printed, _ = flow.communicate(timeout=120)
    assert flow.returncode == 130, printed
    assert prefect_states(served.prefect)[0] == "CANCELLED"
    assert wait_until_gone(served) == []


@pytest.mark.slow
def test_a_sweep_killed_with_kill_9_is_closed_by_the_next_command(served):
    params = served.params()
    params["sweep"] |= {"space": {"encoders": ["clip"], "llm": ["vicuna-7b"], "stage0": ["none"], "stage1": ["cc558k"]}}
    served.set_params(params)
    begun, go = served.hold("align/clip_vicuna-7b_cc558k")
    sweep = served.start(*served.command("sweep", "--study", "s"))
    begun.read_text()
    assert [run.tags["kind"] for run in running(served)] == ["sweep"]
    sweep.kill()
    sweep.communicate()
    assert wait_until_gone(served) == []
    for pipe in (begun, go):
        pipe.unlink()
    served.spatialllm("run", ONE)
    assert running(served) == []
