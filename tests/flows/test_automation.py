"""What server mode needs is there and agrees with itself: the automation on a real server, the Kubernetes templates."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"


def test_the_automation_is_created_once_and_kept_up_to_date(prefect, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", prefect)
    from prefect.client.orchestration import get_client

    from flows.automation import HEARTBEAT_S, NAME, ensure_heartbeat_automation

    assert ensure_heartbeat_automation() == ensure_heartbeat_automation()
    with get_client(sync_client=True) as client:
        (made,) = client.read_automations_by_name(NAME)
    assert made.enabled
    assert made.trigger.within >= timedelta(seconds=3 * HEARTBEAT_S)
    assert [action.state.value for action in made.actions] == ["CRASHED"]


@pytest.fixture
def compose():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["worker"]


def test_workers_on_kubernetes_get_what_those_of_compose_get(compose):
    from flows.automation import HEARTBEAT_S

    manifests = [yaml.safe_load(path.read_text()) for path in sorted((DOCKER / "kubernetes").glob("*.yaml"))]
    kinds = {one["kind"]: one for one in manifests}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    there = {one["name"]: one for one in container["env"]}
    assert set(compose["environment"]) <= set(there)
    assert int(there["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]["value"]) == HEARTBEAT_S
    assert compose["environment"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(HEARTBEAT_S)
    example = (DOCKER / ".env.example").read_text()
    secrets = [one["valueFrom"]["secretKeyRef"]["key"] for one in there.values() if "valueFrom" in one]
    assert secrets
    assert all(f"{key}=" in example for key in secrets)
    claimed = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
    assert claimed == {kinds["PersistentVolumeClaim"]["metadata"]["name"]}
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
