"""What a Prefect server of one's own needs before the deployments: their work pool, and what notices dead workers.
`python -m flows.servers.automation` creates both or brings them up to date;
without the automation a dead worker's flow run stays "Running" for ever."""

import contextlib
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists

POOL = "spatialllm"  # prefect.yaml names it
NAME = "spatialllm: a flow run without heartbeat has crashed"
HEARTBEAT_S = 180  # docker/compose.yaml sets PREFECT_FLOWS_HEARTBEAT_FREQUENCY to it for workers
MISSING_HEARTBEATS = 3  # that are no sign of a dead worker


def heartbeat_automation() -> AutomationCore:
    """Marks a flow run as crashed when its heartbeats end without a final state; it may then be retried."""
    over = ("Completed", "Failed", "Cancelled", "Crashed")
    beat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=NAME,
        description="The worker died or lost its machine. `spatialllm retry` goes on from the last checkpoint.",
        trigger=EventTrigger(
            after={beat},
            expect={beat, *(f"prefect.flow-run.{state}" for state in over)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=MISSING_HEARTBEATS * HEARTBEAT_S),
        ),
        actions=[
            ChangeFlowRunState(
                name=None, force=False, state=StateType.CRASHED, message="no heartbeat: its worker is dead"
            )
        ],
    )


def ensure_heartbeat_automation() -> str:
    """Create the automation, or bring it up to date; returns its id. There is one, however often this runs."""
    wanted = heartbeat_automation()
    with get_client(sync_client=True) as client:
        assert isinstance(client, SyncPrefectClient)
        known = client.read_automations_by_name(NAME)
        if known:
            client.update_automation(known[0].id, wanted)
            for extra in known[1:]:
                client.delete_automation(extra.id)
            return str(known[0].id)
        return str(client.create_automation(wanted))


def ensure_work_pool() -> None:
    """Create the pool of worker processes unless it is there; one that is there stays as its owner has it."""
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))


if __name__ == "__main__":
    ensure_work_pool()
    print(f"work pool {POOL}")
    print(f"automation {ensure_heartbeat_automation()}: {NAME}")
