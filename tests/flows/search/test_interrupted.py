"""A sweep that is stopped leaves all in order: plan.yaml without its trials, nothing RUNNING, a report, no orphan."""

import json
import signal
import threading
from pathlib import Path

import mlflow
import pytest

from flows.designs.plan import read_plan

SPACE = {
    "encoders": ["clip"],
    "llm": ["vicuna-7b"],
    "stage0": ["none"],
    "stage1": ["cc558k"],
    "stage2": ["mix665k"],
    "settings": {"lr": [1e-3, 2e-3, 3e-3]},
}
NAMES = [f"clip_vicuna-7b_cc558k_mix665k_lr={rate}" for rate in ("1e-3", "2e-3", "3e-3")]
SWEEP = ("sweep", "--sampler", "grid", "--workers", "1", "--study")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def let_go(process, pipe) -> None:
    """Whoever reads from a pipe that a process should have written to reads nothing once that has ended."""
    process.wait()
    if pipe.exists():
        pipe.open("w").close()


def states_in_prefect(address: str) -> dict[str, str]:
    """Flow runs by name, with the state that each is in."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
        return {run.name: run.state.type.value for run in client.read_flow_runs()}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_sweep_tidily(served, number):
    project, study = served, number.name  # a flow run of its own name in the tests' Prefect server
    project.want(1)
    project.set_params({**project.params(), "sweep": {"space": SPACE}})
    project.spatialllm("run", "clip_vicuna-7b_cc558k_mix665k")
    before = read_plan(project.root).entries
    begun, _ = project.hold(f"instruct/{NAMES[2]}")
    process = project.start(*project.command(*SWEEP, study, "--trials", "3"))
    threading.Thread(target=let_go, args=(process, begun), daemon=True).start()
    child = int(begun.read_text())  # the first two are there, the third trains
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "stopped; run the same again" in printed
    assert not alive(child)

    assert read_plan(project.root).entries == before
    assert not list((project.root / ".optuna").glob("*.trials.json"))
    results = json.loads((project.root / "reports" / f"sweep-{study}" / "results.json").read_text())
    assert [trial["design"] for trial in results["trials"] if trial["value"] is not None] != []
    assert {trial["design"] for trial in results["trials"]} == set(NAMES[:2])
    client = mlflow.MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")
    everywhere = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(everywhere)
    assert {run.info.status for run in runs} == {"FINISHED", "KILLED"}
    (parent,) = [run for run in runs if run.data.tags.get("kind") == "sweep"]
    assert parent.info.status == "KILLED"
    assert parent.data.metrics["designs"] == 2
    assert states_in_prefect(served.prefect)[f"sweep {study}"] == "CANCELLED"

    # Two designs are there already: whoever asks for two computes nothing, the third's stage run waits.
    project.forget()
    project.spatialllm(*SWEEP, study, "--trials", "2")
    assert project.executed == []

    # Who asks for three goes on from its checkpoint.
    for pipe in (begun, project.root / f"instruct.{NAMES[2]}.go"):
        pipe.unlink()
    project.spatialllm(*SWEEP, study, "--trials", "3")
    assert project.executed == [f"instruct/{NAMES[2]}", f"score/{NAMES[2]}"]
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
