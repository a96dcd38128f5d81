"""DVC as its users expect it: its own commands show the metrics and curves of what plan.yaml has, and nothing moves."""

import json
import sys
from pathlib import Path

import pytest

from flows.designs.design import choose
from flows.designs.plan import plan_of, read_plan
from flows.execution.plan_file import add_to_plan
from flows.store.views import write_tables
from tasks.identity.paths import Paths
from tasks.stage.curves import table_of
from tasks.stages import STAGES
from tests.flows.conftest import make_project

DESIGN = "clip_vicuna-7b_cc558k_mix665k"
TRAININGS = [("align", "clip_vicuna-7b_cc558k"), ("instruct", DESIGN)]


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Row 1, computed by `dvc repro` alone and committed to git."""
    project = make_project(tmp_path_factory.mktemp("views") / "project")
    project.want(1)
    add_to_plan(project.root, plan_of(choose([1])))
    dvc(project, "repro")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "computed")
    return project


def dvc(project, *words: str) -> str:
    return project.run(sys.executable, "-m", "dvc", *words)


def answer(printed: str) -> dict:
    """The JSON that a command printed between its hints."""
    return json.loads(next(line for line in printed.splitlines() if line.startswith("{")))


def git(project, *words: str) -> None:
    project.run("git", "-c", "user.name=t", "-c", "user.email=t@t", *words)


def test_metrics_curves_and_experiments_speak(computed):
    lock = (computed.root / "dvc.lock").read_bytes()
    (shown,) = (each["data"] for each in answer(dvc(computed, "metrics", "show", "--json")).values())
    score = json.loads((computed.out(f"score/{DESIGN}") / "metrics.json").read_text())
    assert shown[f"runs/tiny/score/{DESIGN}/metrics.json"]["data"]["average"] == score["average"]
    assert {Path(path).parts[2] for path in shown} == {stage for stage, spec in STAGES.items() if spec.metrics}

    diff = answer(dvc(computed, "metrics", "diff", "HEAD~1", "HEAD", "--json"))
    assert diff[f"runs/tiny/score/{DESIGN}/metrics.json"]["average"]["new"] == score["average"]

    plots = answer(dvc(computed, "plots", "show", "--json"))
    assert not plots.get("errors")
    assert sorted(plots["data"]) == ["loss of align", "loss of instruct"]
    (curve,) = plots["data"]["loss of instruct"]
    assert [point["loss"] for point in curve["content"]["data"]["values"]] == ["1.0", "0.5", "0.3333333333333333"]

    page = dvc(computed, "exp", "show", "--csv", "--only-changed")
    assert len(page.splitlines()[0].split(",")) < 20

    params = computed.params()
    params["instruct"]["tiny"]["lr"] = 0.5
    computed.set_params(params)
    changed = next(line for line in dvc(computed, "exp", "show", "--csv", "--only-changed").splitlines() if "," in line)
    assert "instruct.tiny.lr" in changed and "scenes" not in changed
    params["instruct"]["tiny"]["lr"] = 1e-3
    computed.set_params(params)
    assert "up to date" in dvc(computed, "repro")
    assert (computed.root / "dvc.lock").read_bytes() == lock


def test_curves_of_restored_trainings_come_and_those_of_other_plans_go(computed):
    tables = [table_of(Paths(computed.root, "tiny", *run)) for run in TRAININGS]
    assert [table.read_text().splitlines()[:2] for table in tables] == [["step\tloss", "0\t1.0"]] * 2
    stray = tables[0].with_name("clip_llama3-8b_cc558k.tsv")
    stray.write_text("step\tloss\n")
    tables[0].unlink()  # as in a clone, whose outputs come from the cache
    write_tables(computed.root, "tiny", read_plan(computed.root))
    assert tables[0].exists() and not stray.exists()
