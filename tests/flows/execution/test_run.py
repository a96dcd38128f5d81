"""Promises of a flow, shown on a small project with the real pipeline: once, whole, nothing lost, reproducible."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from flows.designs.design import ROWS
from flows.designs.plan import align_name, plan_of, read_plan
from flows.execution.child import execute
from flows.store.dvc_store import Store
from tasks.identity.settings import read_yaml
from tests.flows.conftest import Project

ONE = ROWS[1].name
EIGHT = ROWS[8].name
NOBODY = "http://127.0.0.1:9/api"  # no Prefect server: a flow that asks for one fails


def alive_in(project: Project) -> list[psutil.Process]:
    """Processes that work in the project's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(project.root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def gone(pid: int) -> bool:
    """Whether a process ends within a minute, reaped or not."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        os.sched_yield()
    return False


def wait_until_gone(project: Project) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(alive_in(project), timeout=60)
    return alive + alive_in(project)


def plan_in_prefect(address: str) -> list[dict]:
    """The table of stage runs that the last flow left in Prefect's UI."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["plan"])))
    return json.loads(max(found, key=lambda one: one.created).data)


@pytest.mark.slow
def test_a_flow_and_dvc_find_each_others_work(served):
    """One story, because each step needs the one before: flow, flow again, dvc, a changed key, a clone."""
    project, address = served, served.prefect
    project.want(1)
    project.spatialllm("run", ONE)
    runs = read_plan(project.root).runs()
    assert sorted(project.executed) == sorted(runs), "each stage run once"

    # Again: nothing to run, and Prefect is not even asked for (nobody listens there).
    project.prefect = NOBODY
    assert f"{len(runs)} stage runs: 0 executed" in project.spatialllm("run", ONE)
    project.prefect = address
    dvc = [sys.executable, "-m", "dvc"]
    assert "up to date" in project.run(*dvc, "status")
    assert "up to date" in project.run(*dvc, "repro")
    assert len(project.executed) == len(runs)

    # Another design by dvc; then the flow has nothing to do.
    project.forget()
    project.want(1, 8)
    project.run(*dvc, "repro")
    assert sorted(project.executed) == sorted(set(read_plan(project.root).runs()) - set(runs))
    project.prefect = NOBODY
    both = read_plan(project.root).runs()
    assert "0 executed" in project.spatialllm("run", EIGHT)

    # A changed key recomputes what depends on it, and putting it back recomputes nothing.
    project.forget()
    params = project.params()
    params["instruct"]["tiny"]["lr"] = 2e-3
    project.set_params(params)
    project.run(*dvc, "repro")
    assert {one.partition("/")[0] for one in project.executed} == {"instruct", "score"}
    params["instruct"]["tiny"]["lr"] = 1e-3
    project.set_params(params)
    project.forget()
    assert "0 executed" in project.spatialllm("run", ONE)
    assert "0 executed" in project.spatialllm("run", EIGHT)
    assert "up to date" in project.run(*dvc, "status")

    # A clean clone that shares the cache computes nothing; neither does one without dvc.lock.
    for words in (["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "done"]):
        subprocess.run(["git", *words], cwd=project.root, check=True)
    for name, locked in (("clone", True), ("unlocked", False)):
        clone = Project(project.root.parent / name, prefect=NOBODY)
        subprocess.run(["git", "clone", "-q", str(project.root), str(clone.root)], check=True)
        clone.run(*dvc, "cache", "dir", "--local", str(project.root / ".dvc" / "cache"))
        if locked:
            clone.run(*dvc, "repro")
        else:
            (clone.root / "dvc.lock").unlink()
            for design in (ONE, EIGHT):
                assert "0 executed" in clone.spatialllm("run", design)
        assert clone.executed == []
        for run in both:
            ours, theirs = ((p.out(run) / "MANIFEST.json").read_text() for p in (project, clone))
            assert ours == theirs


@pytest.mark.slow
def test_one_flow_recomputes_all_that_depends_on_a_changed_key(served):
    """Also what is two stage runs away, whose own inputs lie there unchanged when the flow begins."""
    project = served
    project.want(1)
    project.spatialllm("run", ONE)
    took = {row["stage run"]: row["seconds"] for row in plan_in_prefect(served.prefect)}
    assert all(took[run] is not None for run in project.executed), "also of what this very flow has computed"
    params = project.params()
    params["align"]["tiny"]["lr"] = 2e-3
    project.set_params(params)
    project.forget()
    project.spatialllm("run", ONE)
    assert project.executed == [f"align/{align_name(ROWS[1])}", f"instruct/{ONE}", f"score/{ONE}"]
    assert "up to date" in project.run(sys.executable, "-m", "dvc", "status")


def test_a_failure_fails_its_dependents_only_with_the_original_error(served):
    project = served
    broken = f"align/{align_name(ROWS[8])}"
    marker = project.root / f"{broken.replace('/', '.')}.fail"
    marker.touch()
    printed = project.run(
        sys.executable,
        "-c",
        "import json, pathlib\n"
        "from flows.designs.design import choose\n"
        "from flows.designs.plan import plan_of\n"
        "from flows.execution.flow import run_plan\n"
        "result = run_plan(pathlib.Path.cwd(), plan_of(choose([1, 8])), 'test')\n"
        "errors = {run: str(error) for run, error in result.errors.items()}\n"
        "print(json.dumps({'states': result.states, 'errors': errors, 'blame': result.blame}))",
    )
    result = json.loads(printed.splitlines()[-1])
    assert list(result["errors"]) == [broken]
    assert f"RuntimeError: told to fail: {broken}" in result["errors"][broken]
    after = {f"instruct/{EIGHT}", f"score/{EIGHT}"}
    assert result["blame"] == dict.fromkeys(after, broken)
    assert {run for run, state in result["states"].items() if state == "computed"} == (
        set(read_plan(project.root).runs()) - after - {broken}
    )
    assert project.executed.count(broken) == 1, "a fault of the code is not tried again"
    assert not project.out(broken).exists()

    # Mended: only what failed and what was skipped runs.
    marker.unlink()
    project.forget()
    project.spatialllm("run", EIGHT)
    assert set(project.executed) == {broken, *after}


@pytest.mark.slow
def test_kill_9_of_the_flow_loses_nothing_and_leaves_nobody(project):
    """With the flow's own Prefect server, which has to go too."""
    held = f"instruct/{ONE}"
    begun, go = project.hold(held)
    flow = project.start(*project.command("run", ONE), start_new_session=True)
    stage_pid = int(begun.read_text())  # waits until the stage run is in its middle
    os.kill(flow.pid, signal.SIGKILL)
    flow.communicate()
    assert wait_until_gone(project) == []
    assert gone(stage_pid)
    finished = {run for run in project.executed if project.out(run).exists()}
    assert held not in finished
    assert len(finished) > 5

    begun.unlink()
    go.unlink()
    project.forget()
    project.spatialllm("run", ONE)
    assert held in project.executed
    assert finished.isdisjoint(project.executed), "what was finished is not repeated"
    assert project.out(f"score/{ONE}").exists()
    assert wait_until_gone(project) == []


REFILL_FAILS = """
from pathlib import Path
from data_registry.errors import InputError
from flows.designs.design import choose
from flows.execution.plan_file import add_to_plan
from flows.designs.plan import plan_of
from flows.execution.flow import flow_over
from flows.execution.result import Result
from flows.execution.session import Session
from flows.execution.display import NoDisplay

def refill():
    raise InputError("params.yaml: sweep.metric: told to fail")

root = Path.cwd()
session = Session(root, add_to_plan(root, plan_of(choose([1]))), NoDisplay(), Result([]))
session.look_up(["scenes/train"])
try:
    flow_over(session, "test", refill)
except InputError as error:
    print("raised", error)
"""


def test_a_prefect_server_of_ones_own_that_is_down_is_one_message_without_its_password(project):
    project.extra = {"PREFECT_API_URL": "http://user:hunter2@127.0.0.1:9/api"}
    printed = project.spatialllm("run", "clip_vicuna-7b_cc558k_mix665k", code=2)
    assert "error: PREFECT_API_URL: Failed to reach API at http://127.0.0.1:9/api/; start it, or unset this" in printed
    assert "hunter2" not in printed


def test_what_goes_wrong_beside_the_stage_runs_is_raised(served):
    """As where a sweep looks for a metric that no score has: Prefect would end the flow and say nothing."""
    printed = served.run(sys.executable, "-c", REFILL_FAILS)
    assert "raised params.yaml: sweep.metric: told to fail" in printed
    assert served.executed == ["scenes/train"]


REFILL_IS_SKIPPED = """
from pathlib import Path
from flows.designs.design import choose
from flows.execution.plan_file import add_to_plan
from flows.designs.plan import Plan, plan_of
from flows.execution.flow import flow_over
from flows.execution.result import Result
from flows.execution.session import Session
from flows.execution.display import NoDisplay

root = Path.cwd()
llms = {"mix665k": ["llama3-8b", "vicuna-7b"], "3di-ft1m": ["vicuna-7b", "llama3-8b"]}
designs = choose(f"clip_{llm}_cc558k_{data}" for data in llms for llm in llms[data])
session = Session(root, Plan(), NoDisplay(), Result([]))
session.want(plan_of([designs.pop(0)]))

def refill():
    if designs and all(run in session.result.states for run in session.plan.runs()):
        session.want(plan_of([designs.pop(0)]))

flow_over(session, "test", refill)
print(len(designs), "left", {run: end for run, end in session.result.states.items() if run.startswith("score/")})
"""


def test_what_is_skipped_as_soon_as_it_is_asked_for_ends_no_flow(served):
    """As the next trial of a sweep that shares a failed stage run with the one before."""
    served.set_params({**served.params(), "designs": []})
    (served.root / "plan.yaml").unlink()
    (served.root / "align.clip_vicuna-7b_cc558k.fail").touch()
    printed = served.run(sys.executable, "-c", REFILL_IS_SKIPPED)
    assert "0 left" in printed
    assert printed.count("'skipped'") == printed.count("'computed'") == 2


@pytest.mark.slow
def test_kill_9_of_the_trainer_is_tried_again_from_its_checkpoint(served):
    project = served
    held = f"instruct/{ONE}"
    begun, go = project.hold(held)
    flow = project.start(*project.command("run", ONE))
    checkpoint = project.root / ".work" / "tiny" / held / "checkpoint"
    os.kill(int(begun.read_text()), signal.SIGKILL)
    begun.read_text()
    assert checkpoint.read_text() == "resumed"
    go.write_text("on")
    printed, _ = flow.communicate()
    assert flow.returncode == 0, printed
    assert sorted(project.executed) == sorted([*plan_of([ROWS[1]]).runs(), held]), "begun twice, and nothing else"
    assert not checkpoint.exists()


DIE_WRITING = """
import os, signal, sys
from pathlib import Path
from flows.store.dvc_store import Store

real = os.fsync

def half(file):
    # The text is in the file by now: half of it is what a kill a moment ago would have left.
    if "dvc.lock" not in os.readlink(f"/proc/self/fd/{file}"):
        return real(file)
    os.ftruncate(file, os.fstat(file).st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)

def before(path, target):
    if Path(target).name != "dvc.lock":
        return rename(path, target)
    os.kill(os.getpid(), signal.SIGKILL)

store = Store(Path.cwd())
store.forget([sys.argv[2]])
rename = Path.replace
if sys.argv[1] == "written":
    os.fsync = half
else:
    Path.replace = before
store.commit(sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["written", "renamed"])
def test_kill_9_while_dvc_lock_is_written_loses_nothing(served, moment):
    """It stays what it was, down to the byte, and the next flow enters what it lacks."""
    project = served
    project.want(1)
    project.spatialllm("run", ONE)
    lock = project.root / "dvc.lock"
    whole = lock.read_text()
    last = list(read_yaml(lock)["stages"])[-1]
    project.forget()
    words = (sys.executable, "-c", DIE_WRITING, moment, last.replace("@", "/"))
    project.run(*words, code=-signal.SIGKILL)
    assert lock.read_text() == whole[: whole.index(f"  {last}:")]
    project.spatialllm("run", ONE)
    assert lock.read_text() == whole
    assert project.executed == []


def test_a_dvc_lock_that_its_user_broke_is_named_and_left_as_it_is(project):
    lock = project.root / "dvc.lock"
    lock.write_text("<<<<<<< ours\nschema: '2.0'\n")
    said = project.spatialllm("run", ONE, code=2)
    assert "dvc.lock" in said
    assert lock.read_text().startswith("<<<<<<< ours")


def test_kill_9_of_dvc_leaves_nobody(project):
    held = "scenes/train"
    begun, _ = project.hold(held)
    dvc = project.start(sys.executable, "-m", "dvc", "repro", "scenes@train", start_new_session=True)
    stage_pid = int(begun.read_text())
    os.kill(dvc.pid, signal.SIGKILL)
    dvc.communicate()
    assert wait_until_gone(project) == []
    assert gone(stage_pid)


def test_a_damaged_output_is_found_and_put_back(served):
    project = served
    project.spatialllm("run", ONE)
    project.forget()
    project.prefect = NOBODY  # the cache has it: nothing is computed

    truncated = project.out("data/cc558k") / "output.json"
    whole = truncated.read_bytes()
    truncated.write_bytes(whole[:10])
    # A flipped bit with the old time of change, which DVC alone would not see.
    flipped = project.out(f"instruct/{ONE}") / "output.json"
    content, times = flipped.read_bytes(), flipped.stat()
    flipped.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(flipped, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.rmtree(project.out("data/mix665k"))

    project.spatialllm("run", ONE)
    assert project.executed == []
    assert truncated.read_bytes() == whole
    assert flipped.read_bytes() == content
    assert (project.out("data/mix665k") / "MANIFEST.json").exists()


def test_what_is_damaged_between_plan_and_run_is_put_back_before_it_is_read(served):
    """The flow found both inputs whole; by the time that score reads them one is altered and one is gone."""
    project = served
    project.spatialllm("run", ONE)
    altered, deleted = project.out("benchmark/spatialvqa") / "output.json", project.out("scenes/test")
    content, manifest = altered.read_bytes(), (deleted / "MANIFEST.json").read_bytes()
    params = project.params()
    params["instruct"]["tiny"]["lr"] = 2e-3
    project.set_params(params)
    project.forget()

    begun, go = project.hold(f"instruct/{ONE}")
    flow = project.start(*project.command("run", ONE))
    begun.read_text()
    altered.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    shutil.rmtree(deleted)
    go.write_text("on")
    printed, _ = flow.communicate()
    assert flow.returncode == 0, printed
    assert project.executed == [f"instruct/{ONE}", f"score/{ONE}"], "put back from the cache, not computed"
    assert altered.read_bytes() == content
    assert (deleted / "MANIFEST.json").read_bytes() == manifest
    read = json.loads((project.out(f"score/{ONE}") / "output.json").read_text())["read"]
    assert read["benchmark"] == [content.decode()]


def test_eight_processes_compute_it_once(project):
    begun, go = project.hold("scenes/train")
    asked = [project.start(sys.executable, "-m", "fake.scenes", "train") for _ in range(8)]
    begun.read_text()
    go.write_text("on")
    printed = [process.communicate()[0] for process in asked]
    assert [process.returncode for process in asked] == [0] * 8
    assert project.executed == ["scenes/train"]
    assert sum("computed in" in text for text in printed) == 1
    assert sum("already computed" in text for text in printed) == 7


def test_who_waits_for_a_stage_run_leaves_its_log_whole(project, monkeypatch):
    """Two flows start the same one; the log is the first's, and the second adds that it waits."""
    monkeypatch.setenv("PYTHONPATH", project.environment["PYTHONPATH"])
    store = Store(project.root)
    log = store.paths("scenes/test").log
    log.parent.mkdir(parents=True)
    log.write_text("of an earlier execution\n")
    begun, go = project.hold("scenes/test")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(execute, store, "scenes/test", "python -m fake.scenes test")
        begun.read_text()
        with log.open("a") as file:
            file.write("what the first one says\n")
        second = pool.submit(execute, store, "scenes/test", "python -m fake.scenes test")
        while "waiting" not in log.read_text():
            assert not second.done(), second.result()
            os.sched_yield()
        go.write_text("on")
        first.result(), second.result()
    said = log.read_text().splitlines()
    assert said[0] == "what the first one says" and "waiting" in said[1], said
    assert sum("computed in" in line for line in said) == sum("already computed" in line for line in said) == 1


def test_a_hand_typed_command_and_the_flow_exclude_each_other(served):
    project = served
    begun, go = project.hold("scenes/test")
    by_hand = project.start(sys.executable, "-m", "fake.scenes", "test")
    begun.read_text()
    flow = project.start(*project.command("run", ONE))
    # The flow's own command waits for the claim; it says so in its log.
    log = project.root / "logs" / "tiny" / "scenes" / "test.log"
    while "waiting" not in (log.read_text() if log.exists() else ""):
        assert flow.poll() is None, flow.communicate()[0]
        os.sched_yield()
    go.write_text("on")
    assert by_hand.wait() == 0
    printed, _ = flow.communicate()
    assert flow.returncode == 0, printed
    assert project.executed.count("scenes/test") == 1
