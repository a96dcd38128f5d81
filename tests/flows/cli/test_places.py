"""Every verb, typed outside of a project and in a folder inside one, and with each state file damaged."""

import io
import json
import signal
import sys

import click
import pytest
import typer
from filelock import FileLock, Timeout
from typer.testing import CliRunner

from data_registry.errors import InputError
from flows.cli import main
from flows.designs.design import parse
from flows.execution import plan_file
from flows.execution.lease import VARIABLE, shared_leases
from flows.store import remote
from flows.store.remote import Remote
from tasks.identity.paths import Paths
from tests.tasks.identity.test_files import KINDS, damage

DESIGN = "clip_vicuna-7b_cc558k_mix665k"
VERBS = {  # each verb with the least that it takes
    "plan": [],
    "run": [DESIGN],
    "roadmap": [],
    "sweep": ["--trials", "1"],
    "status": [],
    "info": ["scenes/train"],
    "report": [],
    "export": [DESIGN, "folder"],
    "ask": ["picture.jpg", "Which is nearer?"],
    "ui": [],
    "keep": [DESIGN],
    "retry": [],
    "gc": ["--dry-run"],
    "unlock": [],
    "data list": [],
    "data info": ["cc558k"],
    "data fetch": ["cc558k"],
    "data verify": ["cc558k"],
    "data annotate": ["pictures"],
    "data show": ["train"],
}
QUICK = [
    "plan",
    "status",
    "info",
    "export",
    "ask",
    "gc",
    "unlock",
    "data list",
    "data info",
    "data verify",
    "data show",
]


def invoke(*words: str):
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(main.app, list(words), env={"COLUMNS": "160"})
    signal.signal(signal.SIGTERM, before)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def verbs(command: click.Command, *before: str) -> set[str]:
    if not hasattr(command, "commands"):
        return {" ".join(before)}
    return {verb for name, inner in command.commands.items() for verb in verbs(inner, *before, name)}


def test_every_verb_is_here():
    assert verbs(typer.main.get_command(main.app)) == VERBS.keys()
    assert set(QUICK) <= VERBS.keys()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("SPATIALLLM_DATA", "MLFLOW_TRACKING_URI", VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("verb", VERBS)
def test_outside_of_a_project_a_verb_says_so_and_leaves_nothing(tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    done = invoke(*verb.split(), *VERBS[verb])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {tmp_path}: no project here")
    assert "params.yaml" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", QUICK)
def test_in_a_folder_of_the_project_a_verb_answers_as_at_its_root(project, monkeypatch, verb):
    inside = project.root / "notes" / "deep"
    inside.mkdir(parents=True)
    answers = []
    for folder in (project.root, inside):
        monkeypatch.chdir(folder)
        done = invoke(*verb.split(), *VERBS[verb])
        answers.append((done.exit_code, done.stdout, done.stderr.replace("picture.jpg", "")))
    assert answers[0] == answers[1]
    assert "no project" not in answers[0][2]
    assert list(inside.iterdir()) == []


def test_a_design_is_kept_from_a_folder_of_the_project(project, monkeypatch):
    """A verb that writes: into the project, not beside where it was typed."""
    inside = project.root / "notes"
    inside.mkdir()
    monkeypatch.chdir(inside)
    trial = f"{DESIGN}_lr=1e-4"
    assert invoke("keep", trial).exit_code == 0
    assert trial in (project.root / "plan.yaml").read_text()
    assert list(inside.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["params.yaml", "plan.yaml"])
def test_a_damaged_file_of_the_users_is_named(project, monkeypatch, name, kind):
    monkeypatch.chdir(project.root)
    damage(project.root / name, kind)
    for verb in ("status", "plan", "gc", "info"):
        done = invoke(verb, *VERBS[verb])
        if (verb, name) == ("plan", "plan.yaml"):  # it plans designs, whatever plan.yaml holds
            continue
        assert done.exit_code == 2, done.output
        assert f"{name}: " in done.stderr
    assert done.stderr.count("\n") == 1, "one message"


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_made_anew_stops_nothing(project, monkeypatch, kind):
    """Records of what took how long, what a claim's holder says, what a stage run has measured, its manifest."""
    monkeypatch.chdir(project.root)
    project.stage("scenes/train")
    paths = Paths(project.root, "tiny", "scenes", "train")
    damage(paths.record, kind)
    damage(paths.holder, kind)
    damage(Paths(project.root, "tiny", "data", "cc558k").record, kind)
    for verb in QUICK[:3]:
        assert invoke(verb, *VERBS[verb]).exit_code == 0
    assert "there" in invoke("status").stdout
    with FileLock(paths.lock):
        assert "a process that has not said who it is" in invoke("unlock").stdout
    for path in (paths.out / "metrics.json", paths.out / "MANIFEST.json"):
        damage(path, kind)
        (row,) = [row for row in json.loads(invoke("status", "--json").stdout) if row["run"] == "scenes/train"]
        assert row["state"] == "outdated"
        assert invoke("info", "scenes/train").exit_code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_list_of_trials_is_named_with_its_remedy(project, kind):
    path = project.root / ".optuna" / "lr.trials.json"
    plan_file.add_to_plan(project.root, plan_file.plan_of([parse(f"{DESIGN}_lr=1e-4")]), study="lr")
    assert json.loads(path.read_text())
    damage(path, kind)
    before = (project.root / "plan.yaml").read_text()
    with pytest.raises(InputError, match=r"lr\.trials\.json: .*; remove it \(the trials that it listed"):
        plan_file.release_trials(project.root)
    assert (project.root / "plan.yaml").read_text() == before


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_damaged_list_of_what_is_to_be_pushed_is_made_anew(project, tmp_path, kind):
    """From what is there: pushing what the remote has already costs nothing."""
    project.run("dvc", "remote", "add", "-q", "-d", "here", str(tmp_path / "remote"))
    for run in ("scenes/train", "scenes/test"):
        project.stage(run)
    project.run("dvc", "commit", "-q", "-f", "scenes@train", "scenes@test")
    damage(project.root / ".work" / "to-push.json", kind)
    warnings = []
    Remote(project.root, warnings.append).push_missing()
    assert warnings == []
    pushed = {path.read_bytes() for path in (tmp_path / "remote").rglob("*") if path.is_file()}
    assert {(project.out(run) / "output.json").read_bytes() for run in ("scenes/train", "scenes/test")} <= pushed
    assert not (project.root / ".work" / "to-push.json").exists()


def test_a_list_of_what_is_to_be_pushed_by_its_old_name_is_honoured(project, tmp_path):
    project.run("dvc", "remote", "add", "-q", "-d", "here", str(tmp_path / "remote"))
    project.stage("scenes/train")
    project.run("dvc", "commit", "-q", "-f", "scenes@train")
    old = project.root / ".work" / "push-owed.json"
    old.write_text('["scenes/train"]')
    Remote(project.root, print).push_missing()
    pushed = {path.read_bytes() for path in (tmp_path / "remote").rglob("*") if path.is_file()}
    assert (project.out("scenes/train") / "output.json").read_bytes() in pushed
    assert not old.exists()


def test_the_list_of_what_is_to_be_pushed_is_written_under_a_lock(project, tmp_path, monkeypatch):
    """Stage runs that end at the same time all add to it; here the remote takes nothing, so that one stays in it."""
    (tmp_path / "file").touch()
    project.run("dvc", "remote", "add", "-q", "-d", "here", str(tmp_path / "file" / "remote"))
    project.stage("scenes/train")
    project.run("dvc", "commit", "-q", "-f", "scenes@train")
    monkeypatch.setattr(remote, "_PAUSES_S", ())
    written, write = [], remote.write_json

    def write_under_lock(path, value):
        with pytest.raises(Timeout), FileLock(project.root / ".locks" / "to-push.lock", timeout=0):
            pass
        written.append(value)
        write(path, value)

    monkeypatch.setattr(remote, "write_json", write_under_lock)
    warnings = []
    assert not Remote(project.root, warnings.append).push("scenes/train")
    assert "does not take scenes/train" in warnings[0]
    assert written == [["scenes/train"]]


@pytest.mark.parametrize(
    "address", ["postgresql+psycopg2://u:p@host:port/db", "postgresql://[::1/db", "nothing", "mysteryql://host/db"]
)
def test_an_address_of_leases_that_is_none_is_named(monkeypatch, address):
    monkeypatch.setenv(VARIABLE, address)
    with pytest.raises(InputError, match=f"{VARIABLE}: "):
        shared_leases()


def test_nothing_to_name_is_said(project, monkeypatch):
    monkeypatch.chdir(project.root)
    (project.root / "plan.yaml").write_text("plan: {}\n")
    assert invoke("info", "x").stderr.rstrip().endswith("there is none yet")


def test_a_terminal_that_is_not_utf8_gets_question_marks(monkeypatch):
    """As under LC_ALL=en_US.ISO-8859-1 or PYTHONIOENCODING=ascii."""
    from flows.cli.common import console, reporting

    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    with reporting():
        console.print("✓ computed")
        print("▸ 1 left …")
    terminal.flush()
    assert terminal.buffer.getvalue() == b"? computed\n? 1 left ?\n"
