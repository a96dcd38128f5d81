"""What a Prefect server of one's own needs is made once, on a real server."""

from datetime import timedelta


def test_the_automation_is_created_once_and_kept_up_to_date(prefect, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", prefect)
    from prefect.client.orchestration import get_client

    from flows.servers.automation import HEARTBEAT_S, NAME, ensure_heartbeat_automation

    assert ensure_heartbeat_automation() == ensure_heartbeat_automation()
    with get_client(sync_client=True) as client:
        (made,) = client.read_automations_by_name(NAME)
    assert made.enabled
    assert made.trigger.within >= timedelta(seconds=3 * HEARTBEAT_S)
    assert [action.state.value for action in made.actions] == ["CRASHED"]


def test_the_work_pool_is_created_once_and_stays_its_owners(prefect, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", prefect)
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolUpdate

    from flows.servers.automation import POOL, ensure_work_pool

    ensure_work_pool()
    with get_client(sync_client=True) as client:
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=3))
        ensure_work_pool()
        made = client.read_work_pool(POOL)
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=None))
    assert (made.type, made.concurrency_limit) == ("process", 3)
