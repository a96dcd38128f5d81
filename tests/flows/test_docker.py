"""Server mode as docker/ describes it, as far as it shows without a container engine: names, variables, commands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
MANIFESTS = [yaml.safe_load(path.read_text()) for path in sorted((DOCKER / "kubernetes").glob("*.yaml"))]
KINDS = {one["kind"]: one for one in MANIFESTS}
POD = KINDS["Deployment"]["spec"]["template"]["spec"]


def container() -> dict:
    (only,) = POD["containers"]
    return only


def commands(text: str) -> list[list[str]]:
    """The words of each command in a shell line, without `exec`."""
    words = shlex.split(text)
    if words[:2] == ["sh", "-c"]:
        words = shlex.split(words[2])
    found: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", ";"):
            found.append([])
        elif word != "exec":
            found[-1].append(word)
    return found


def of_services() -> dict[str, list[list[str]]]:
    return {
        **{name: commands(SERVICES[name]["command"]) for name in ("mlflow", "prefect", "worker")},
        "kubernetes": commands(container()["args"][0]),
    }


def test_what_a_service_names_is_there():
    declared = {kind: set(COMPOSE.get(kind) or {}) for kind in ("volumes", "configs")}
    for name, service in SERVICES.items():
        assert set(service.get("depends_on") or {}) <= set(SERVICES), name
        for one in service.get("volumes") or []:
            assert one.split(":")[0] in declared["volumes"], name
        for one in service.get("configs") or []:
            assert one["source"] in declared["configs"], name
        for port in service.get("ports") or []:
            assert port.startswith("127.0.0.1:"), f"{name}: published beyond this machine"
        build = service.get("build")
        if build:
            assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
    for line in (DOCKER / "Dockerfile").read_text().splitlines():
        copied = re.match(r"COPY (?!--)(\S+) ", line)
        assert not copied or (ROOT / copied[1]).exists(), line


def test_every_password_is_asked_for_and_listed():
    text = (DOCKER / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    listed = set(re.findall(r"^(\w+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    assert asked == listed
    for one in asked:
        assert f"${{{one}:?" in text, f"compose starts with an empty {one}"


def test_every_variable_is_one_that_somebody_reads():
    import mlflow.environment_variables
    import prefect.settings

    ours = "\n".join(path.read_text() for path in (*ROOT.glob("flows/**/*.py"), ROOT / "prefect.yaml"))
    set_here = set().union(*(set(service.get("environment") or {}) for service in SERVICES.values()))
    set_here |= {one["name"] for one in container()["env"]}
    set_here |= set(
        re.findall(r"(\w+)=", " ".join(re.findall(r"^ENV (.*)$", (DOCKER / "Dockerfile").read_text(), re.M)))
    )
    for name in set_here:
        if name.startswith("PREFECT_") and name != "PREFECT_AUTH":
            assert hasattr(prefect.settings, name), name
        elif name.startswith("MLFLOW_"):
            assert hasattr(mlflow.environment_variables, name), name
        elif name.startswith(("SPATIALLLM_", "OPTUNA_")):
            assert f'"{name}"' in ours or f"${name} " in ours, name
    needed = set(re.findall(r"\{\{ \$(\w+) \}\}", (ROOT / "prefect.yaml").read_text()))
    assert needed <= set_here, "a deployment asks a worker for it"


@pytest.mark.slow
@pytest.mark.parametrize("service", of_services())
def test_every_command_exists_with_its_options(service):
    for words in of_services()[service]:
        if words[0] == "python":
            assert words[1] == "-m"
            assert (ROOT / f"{words[2].replace('.', '/')}.py").is_file()
            continue
        options = [word for word in words if word.startswith("--")]
        verbs = [word for word in words[: words.index(options[0]) if options else None] if word != "--all"]
        command = [sys.executable, "-m", *verbs, "--help"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for option in options:
            assert option in said, f"{service}: {' '.join(verbs)} has no {option}"


def test_workers_poll_the_pool_of_the_deployments():
    from flows.servers.automation import POOL

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {one["work_pool"]["name"] for one in deployments} == {POOL}
    for service in ("worker", "kubernetes"):
        assert of_services()[service][-1] == ["prefect", "worker", "start", "--pool", POOL]


def test_workers_on_kubernetes_get_what_those_of_compose_get():
    from flows.servers.automation import HEARTBEAT_S

    worker = SERVICES["worker"]
    assert of_services()["kubernetes"] == of_services()["worker"]
    there = {one["name"]: one for one in container()["env"]}
    assert set(worker["environment"]) <= set(there)
    assert int(there["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]["value"]) == HEARTBEAT_S
    assert worker["environment"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(HEARTBEAT_S)
    example = (DOCKER / ".env.example").read_text()
    secrets = [one["valueFrom"]["secretKeyRef"]["key"] for one in there.values() if "valueFrom" in one]
    assert secrets
    assert all(f"{key}=" in example for key in secrets)


def test_kubernetes_manifests_agree_with_themselves_and_the_image():
    for manifest in MANIFESTS:
        assert {"apiVersion", "kind", "metadata", "spec"} <= set(manifest)
    deployment = KINDS["Deployment"]
    assert deployment["apiVersion"] == "apps/v1"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    claimed = {one["persistentVolumeClaim"]["claimName"] for one in POD["volumes"] if "persistentVolumeClaim" in one}
    assert claimed == {KINDS["PersistentVolumeClaim"]["metadata"]["name"]}
    assert {one["name"] for one in container()["volumeMounts"]} == {one["name"] for one in POD["volumes"]}
    image = (DOCKER / "Dockerfile").read_text()
    (folder,) = re.findall(r"^WORKDIR (\S+)$", image, re.MULTILINE)
    assert f"SPATIALLLM_ROOT={folder}\n" in image
    assert {one["mountPath"] for one in container()["volumeMounts"]} == {"/dev/shm", f"{folder}/.work"}
    # A volume belongs to root unless the pod says whose group it is.
    (user,) = re.findall(r"useradd .*--uid (\d+)", image)
    assert {POD["securityContext"][key] for key in ("runAsUser", "fsGroup")} == {int(user)}
