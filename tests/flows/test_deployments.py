"""prefect.yaml lists flows that exist, with parameters they take."""

import inspect
import sys
from pathlib import Path

import yaml

from flows.execution.result import Result

ROOT = Path(__file__).resolve().parents[2]


def test_every_deployment_is_a_flow_with_its_parameters():
    from prefect.flows import load_flow_from_entrypoint

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {"roadmap", "sweep", "design", "nightly"} == {one["name"] for one in deployments}
    for one in deployments:
        path, _, name = one["entrypoint"].partition(":")
        flow = load_flow_from_entrypoint(f"{ROOT / path}:{name}")
        assert set(one.get("parameters") or {}) <= set(inspect.signature(flow.fn).parameters)
        assert one["pull"] == [
            {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $SPATIALLLM_ROOT }}"}}
        ]


def test_no_flow_module_hides_one_of_pythons_own():
    # Prefect puts the folder of an entrypoint first on sys.path, and worker processes start with that path.
    ours = {path.stem for path in (ROOT / "flows").glob("*.py")}
    assert not ours & (set(sys.stdlib_module_names) - set(sys.builtin_module_names))


def test_a_worker_in_a_folder_of_the_project_finds_it(project, monkeypatch):
    from flows import deployments

    (project.root / "reports").mkdir()
    monkeypatch.chdir(project.root / "reports")
    roots = []
    monkeypatch.setattr(deployments, "run_plan", lambda root, *given: roots.append(root) or Result([]))
    monkeypatch.setattr(deployments, "deliver_pending", lambda root, *given: roots.append(root))
    deployments.design.fn()
    assert roots == [project.root, project.root]
