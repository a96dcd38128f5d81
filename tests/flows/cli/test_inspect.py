"""`status`, `info` and `unlock` from the command line, on real stage runs: one that computes, one frozen, one done."""

import errno
import json
import os
import signal
import sys

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from flows.cli import main
from flows.execution import status
from flows.store import gc
from tasks.identity.paths import Paths
from tasks.stage import unrecorded
from tests.flows.conftest import Project

RUN = "scenes/train"


@pytest.fixture
def spatialllm(project: Project, monkeypatch):
    """Run `spatialllm ...` in this process; returns what it printed. It must exit with `code`."""
    monkeypatch.chdir(project.root)

    def run(*words: str, code: int = 0, answer: str = "") -> str:
        before = signal.getsignal(signal.SIGTERM)
        done = CliRunner().invoke(main.app, list(words), input=answer, env={"COLUMNS": "160"})
        signal.signal(signal.SIGTERM, before)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.output

    return run


def state(printed: str, run: str) -> dict:
    return next(row for row in json.loads(printed) if row["run"] == run)


def test_a_stage_run_from_its_beginning_to_its_end(project, spatialllm):
    """One story: it runs, freezes, is unlocked, runs again, is there, is out of date."""
    assert state(spatialllm("status", "--json"), RUN) == {"run": RUN, "state": "missing"}
    assert "No claim is held" in spatialllm("unlock")

    begun, go = project.hold(RUN)
    stage = project.start(sys.executable, "-m", "fake.scenes", "train", start_new_session=True)
    begun.read_text()
    running = state(spatialllm("status", "--json"), RUN)
    assert (running["state"], running["pid"]) == ("running", stage.pid)
    assert json.loads(spatialllm("info", RUN, "--json"))["state"] == "running"
    assert f"{RUN} (tiny): process {stage.pid} on {os.uname().nodename}, last sign of life" in spatialllm("unlock")
    assert "nobody holds it, did you mean scenes/train?" in spatialllm("unlock", "scenes/trian", code=2)
    spatialllm("unlock", RUN, code=1, answer="n\n")
    assert stage.poll() is None, "who says no has ended nobody"

    os.kill(stage.pid, signal.SIGSTOP)
    assert "its holder is gone, it is free" in spatialllm("unlock", RUN, answer="y\n")
    assert stage.wait() == -signal.SIGKILL
    assert state(spatialllm("status", "--json"), RUN) == {"run": RUN, "state": "missing"}
    assert not project.out(RUN).exists()
    assert (project.root / ".work/tiny" / RUN / "checkpoint").read_text() == "half", "its last checkpoint stays"

    begun.unlink()
    go.unlink()
    project.stage(RUN)
    there = state(spatialllm("status", "--json"), RUN)
    assert there["state"] == "there"
    assert there["seconds"] >= 0
    table = spatialllm("status")
    assert "there" in table
    assert "missing" in table

    params = project.params()
    params["scenes"]["tiny"]["each"]["train"]["size"] = 2
    project.set_params(params)
    assert state(spatialllm("status", "--json"), RUN)["state"] == "outdated"


def test_a_sweep_that_runs_holds_no_claim(project, spatialllm):
    (project.root / ".locks").mkdir()
    with FileLock(project.root / ".locks" / "sweep.lr.v2.lock"):  # of the study "lr.v2"
        assert "No claim is held" in spatialllm("unlock")


def test_status_is_watched_for_as_long_as_something_runs(project, spatialllm, monkeypatch):
    begun, go = project.hold(RUN)
    stage = project.start(sys.executable, "-m", "fake.scenes", "train")
    begun.read_text()
    watched = []

    def second_look(seconds: float) -> None:
        watched.append(stage.poll())
        go.write_text("on")
        stage.wait()

    monkeypatch.setattr(status.time, "sleep", second_look)
    printed = spatialllm("status", "--watch", "--json")
    assert watched == [None], "once, while it ran"
    assert state(printed[printed.index("[") :], RUN)["state"] == "there"


def test_status_is_watched_while_a_flow_is_between_two_stage_runs(project, spatialllm, monkeypatch):
    flow = FileLock(project.root / ".locks" / "flow.1.lock")  # as another process holds it
    flow.acquire()
    looks = []

    def look(seconds: float) -> None:
        looks.append(flow.is_locked)
        if len(looks) == 2:
            flow.release()

    monkeypatch.setattr(status.time, "sleep", look)
    spatialllm("status", "--watch", "--json")
    assert looks == [True, True]


def test_a_file_that_vanishes_while_waste_is_counted_is_none(project, monkeypatch):
    project.stage(RUN)
    (project.root / "plan.yaml").unlink()
    whole = gc.find_waste(project.root).folders[f"runs/tiny/{RUN}"]
    gone, walk = project.out(RUN) / "output.json", os.walk
    size = gone.stat().st_size

    def looked(folder):
        found = list(walk(folder))
        gone.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(gc.os, "walk", looked)
    assert gc.find_waste(project.root).folders[f"runs/tiny/{RUN}"] == whole - size


def test_what_a_flow_took_up_since_it_was_found_is_no_waste(project):
    project.stage(RUN)
    unrecorded.recorded(Paths(project.root, "tiny", *RUN.split("/")))
    plan = (project.root / "plan.yaml").read_text()
    (project.root / "plan.yaml").unlink()
    waste = gc.find_waste(project.root)
    assert set(waste.folders) == {f"runs/tiny/{RUN}"}
    with FileLock(project.root / ".locks" / f"tiny.{RUN.replace('/', '.')}.lock"):
        gc.remove(project.root, waste)
        assert project.out(RUN).exists(), "somebody computes it"
    (project.root / "plan.yaml").write_text(plan)
    gc.remove(project.root, waste)
    assert project.out(RUN).exists(), "somebody wants it"
    (project.root / "plan.yaml").unlink()
    gc.remove(project.root, waste)
    assert not project.out(RUN).exists()


def test_what_a_flow_takes_up_while_waste_is_removed_stays(project, monkeypatch):
    """Its claim is taken between the look and the removal: the look says waste, the claim says no."""
    project.stage(RUN)
    (project.root / "plan.yaml").unlink()
    waste = gc.find_waste(project.root)
    monkeypatch.setattr(gc, "find_waste", lambda root: waste)
    with FileLock(project.root / ".locks" / f"tiny.{RUN.replace('/', '.')}.lock"):
        gc.remove(project.root, waste)
        assert project.out(RUN).exists()
    gc.remove(project.root, waste)
    assert not project.out(RUN).exists()


def test_all_about_a_stage_run(project, spatialllm):
    project.stage(RUN)
    about = json.loads(spatialllm("info", RUN, "--json"))
    manifest = json.loads((project.out(RUN) / "MANIFEST.json").read_text())
    assert about["state"] == "there"
    assert about["output"] == f"runs/tiny/{RUN}"
    assert about["params"] == manifest["identity"]["params"] == {"seed": 1, "size": 1}
    assert about["content"] == manifest["content"]
    assert about["files"] == {name: (project.out(RUN) / name).stat().st_size for name in manifest["files"]}
    assert about["metrics"] == json.loads((project.out(RUN) / "metrics.json").read_text())
    assert about["reads"] == []
    assert {"data/cc558k", "benchmark/spatialvqa"} <= set(about["read_by"])
    assert len(about["designs"]) == 2
    assert about["reproduce"] == "dvc repro scenes@train"
    assert (project.root / "logs/tiny/scenes").is_dir()
    printed = spatialllm("info", RUN)
    for text in (about["content"], "dvc repro scenes@train", "data/cc558k"):
        assert text in printed
    assert "did you mean scenes/train?" in spatialllm("info", "scenes/trian", code=2)


def test_an_export_that_cannot_be_made_is_refused(project, spatialllm):
    """What it writes is seen in tests/tasks/test_training_stages.py."""
    wrong = spatialllm("export", "clip_vicuna-7b_cc558k_mix665k", "new", "--format", "lava", code=2)
    assert "unknown format 'lava'; did you mean llava?" in wrong
    missing = spatialllm("export", "clip_vicuna-7b_cc558k_mix665k", "new", code=2)
    assert "no trained model here; train one with `spatialllm run DESIGN`" in missing
    assert not (project.root / "new").exists()


def test_a_designs_name_stands_for_its_score(project, spatialllm):
    (name,) = [run for run in json.loads(spatialllm("status", "--json")) if run["run"].startswith("score/clip_")]
    about = json.loads(spatialllm("info", name["run"].removeprefix("score/"), "--json"))
    assert about["run"] == name["run"]
    assert about["state"] == "missing"


PLAIN = "clip_vicuna-7b_cc558k_mix665k"


def test_a_trial_that_left_the_plan_is_known_and_says_how_to_keep_it(project, spatialllm):
    before = (project.root / "plan.yaml").read_bytes()
    trial = f"{PLAIN}_lr=1e-4"
    about = json.loads(spatialllm("info", f"instruct/{trial}", "--json"))
    assert about["params"]["lr"] == 1e-4
    assert about["reads"][0] == "align/clip_vicuna-7b_cc558k"
    assert about["reproduce"] == f"spatialllm keep {trial} && dvc repro instruct@{trial}"
    assert (project.root / "plan.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("clpi_vicuna-7b_cc558k_mix665k", "unknown vision encoder 'clpi', did you mean clip?"),
        ("clip_vicuna-7_cc558k_mix665k", "unknown LLM 'vicuna-7', did you mean vicuna-7b?"),
        ("clip_vicuna-7b_cc558_mix665k", "unknown stage 1 data set 'cc558', did you mean cc558k?"),
        ("clip_vicuna-7b_cc558k_mix655k", "unknown stage 2 data set 'mix655k', did you mean mix665k?"),
        (f"{PLAIN}_lrr=1e-4", "not a key of instruct.tiny in params.yaml, did you mean lr?"),
    ],
)
def test_an_unknown_part_of_a_design_is_refused_with_the_nearest(project, spatialllm, name, says):
    before = (project.root / "plan.yaml").read_bytes()
    for verb in (["plan", "--design", name], ["run", name]):
        printed = spatialllm(*verb, code=2)
        assert printed.startswith("error: ")
        assert says in printed
    assert (project.root / "plan.yaml").read_bytes() == before
    assert not (project.root / "runs").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"designs": ["clpi_vicuna-7b_cc558k_mix665k"]},
            "params.yaml: designs: design 'clpi_vicuna-7b_cc558k_mix665k'",
        ),
        ({"designs": [f"{PLAIN}+3di-ft1"]}, "unknown stage 2 data set '3di-ft1', did you mean 3di-ft1m?"),
        ({"designs": ["clip_vicuna_cc558k_mix665k"]}, "unknown LLM 'vicuna', did you mean vicuna-7b?"),
        ({"designs": PLAIN}, "params.yaml: designs: expected a list"),
        ({"scale": "tinny"}, "params.yaml: scale: 'tinny' is unknown, did you mean tiny?"),
        ({"sweep": {"space": {"llm": ["lama3-8b"]}}}, "params.yaml: sweep.space.llm: "),
        ({"sweep": {"metric": "types"}}, "params.yaml: sweep.metric: 'types' is unknown, known: average, distance"),
        ({"sweep": {"spaec": {}}}, "params.yaml: sweep.spaec: unknown key, did you mean space?"),
        ({"sweep": 5}, "params.yaml: sweep: expected keys with values, found 5"),
        ({"runtime": "slots 2"}, "params.yaml: runtime: expected keys with values, found 'slots 2'"),
        ({"versions": [1]}, "params.yaml: versions: expected keys with values, found [1]"),
        ({"data": {"tiny": {"common": {}, "each": ["a"]}}}, "params.yaml: data.tiny.each: expected keys with values"),
    ],
)
def test_a_wrong_key_of_params_is_refused_before_anything_runs(project, spatialllm, change, says):
    project.set_params({**project.params(), **change})
    verb = ["sweep", "--trials", "1"] if "sweep" in change else ["roadmap"]
    printed = spatialllm(*verb, code=2)
    assert printed.startswith("error: ")
    assert says in printed
    assert not (project.root / "runs").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("plan: x", "plan.yaml: plan: expected keys with values, found 'x'"),
        ("plan: {score: [a]}", "plan.yaml: plan.score: expected keys with values, found ['a']"),
        ("plan: {score: {a: null}}", "plan.yaml: plan.score.a: expected keys with values, found None"),
        ("plan: {score: {a: {parts: {}, llm: foundation/clip}}}", "plan.yaml: has no foundation/clip, which another"),
    ],
)
def test_a_plan_that_a_merge_or_a_hand_broke_is_named(project, spatialllm, text, says):
    (project.root / "plan.yaml").write_text(text)
    for verb in (["status"], ["info", "score/a"]):
        assert says in spatialllm(*verb, code=2).replace("\n", "")
    assert (project.root / "plan.yaml").read_text() == text


def test_a_place_that_may_not_be_written_is_named(project, spatialllm, monkeypatch):
    def refused(root):
        raise PermissionError(errno.EACCES, "Permission denied", str(root / ".locks"))

    monkeypatch.setattr("flows.execution.status.status_of", refused)
    assert "/.locks: Permission denied; see who may write there" in spatialllm("status", code=2).replace("\n", "")
