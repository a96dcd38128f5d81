"""Training that a rung stops: the next rung goes on with it, and every result is as if it never had been stopped."""

import json
import time
from pathlib import Path

import pytest

from flows.store.gc import find_waste
from tasks.identity import manifest, settings
from tasks.identity.identity import identify
from tasks.identity.paths import Paths
from tasks.stage import early_stop
from tasks.stage.harness import execute

PARAMS = """
scale: tiny
seed: 7
runtime: {{threads: 1, keep_stopped: {keep}}}
versions: {{instruct: 1}}
instruct: {{tiny: {{lr: {lr}}}}}
"""
PLAN = """
plan:
  instruct:
    d_frac=1of9: {parts: {llm: a, frac: 0.111111111111}}
    d_frac=1of3: {parts: {llm: a, frac: 0.333333333333}}
    d: {parts: {llm: a}}
    other: {parts: {llm: b}}
"""
STEPS = 90


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS.format(keep="true", lr=1))
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def run(root: Path, name: str) -> int:
    """A stage run that counts steps in its scratch; returns the step it began at."""
    began = []

    def count(run):
        at = run.work / "step"
        began.append(int(at.read_text()) if at.exists() else 0)
        end = round(STEPS * early_stop.frac_of(run.parts))
        assert began[0] < end
        at.write_text(str(end))
        time.sleep(0.02)  # hundredths are recorded
        return {"steps": end}

    execute("instruct", name, count, root)
    return began[0]


def kept(root: Path) -> list[Path]:
    return list((root / ".work").rglob("*.rung"))


def record(root: Path, name: str) -> dict:
    return json.loads(Paths(root, "tiny", "instruct", name).record.read_text())


def test_each_rung_goes_on_where_the_last_one_stopped(root):
    assert [run(root, name) for name in ("d_frac=1of9", "d_frac=1of3")] == [0, 10]
    assert len(kept(root)) == 1
    assert run(root, "other") == 0
    assert run(root, "d") == 30
    assert not kept(root), "nothing trains further"
    assert not (root / ".work/tiny/instruct/d").exists()


def test_what_a_training_takes_from_its_first_step_is_recorded(root):
    for name in ("d_frac=1of9", "d_frac=1of3", "d"):
        run(root, name)
    first, second, third = (record(root, name) for name in ("d_frac=1of9", "d_frac=1of3", "d"))
    assert "earlier" not in first
    for key in ("seconds", "processor_s"):
        assert second["earlier"][key] == first[key] >= 0
        assert third["earlier"][key] == pytest.approx(first[key] + second[key])


def test_a_stop_that_is_further_on_is_of_no_use_and_is_not_lost(root):
    assert [run(root, name) for name in ("d_frac=1of3", "d_frac=1of9")] == [0, 0]
    assert run(root, "d") == 30


def test_other_parameters_are_another_training(root):
    run(root, "d_frac=1of9")
    (root / "params.yaml").write_text(PARAMS.format(keep="true", lr=2))
    assert run(root, "d") == 0


def test_nothing_is_kept_where_that_is_not_wanted(root):
    (root / "params.yaml").write_text(PARAMS.format(keep="false", lr=1))
    run(root, "d_frac=1of9")
    assert not kept(root)
    assert run(root, "d") == 0


def test_a_design_that_does_not_go_on_leaves_nothing(root):
    paths = Paths(root, "tiny", "instruct", "d_frac=1of9")
    early_stop.drop_scratch(paths)  # one that was never computed
    run(root, "d_frac=1of9")
    early_stop.drop_scratch(paths)
    assert not kept(root)
    assert run(root, "d") == 0


def test_what_no_rung_goes_on_with_is_waste(root):
    run(root, "d_frac=1of9")
    (folder,) = kept(root)
    assert folder.relative_to(root).as_posix() in find_waste(root).folders


def test_a_kill_between_taking_and_training_on_loses_nothing_but_time(root):
    run(root, "d_frac=1of9")
    identity, _ = identify(settings.load(root), "instruct", "d")
    work = Paths(root, "tiny", "instruct", "d").work
    assert early_stop.adopt_scratch(work, identity)  # and then the power went
    assert (work / "identity").read_text() != manifest.digest_of(identity)
    assert run(root, "d") == 0
    assert "earlier" not in record(root, "d")
