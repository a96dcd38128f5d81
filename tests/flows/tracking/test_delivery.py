"""What is pending is brought to MLflow by whichever flow comes next; MLflow that is down does no harm."""

import json
import os
import time

from filelock import FileLock

from flows.designs.plan import Plan
from flows.tracking.delivery import deliver_pending
from flows.tracking.flow_runs import Tracking
from tasks.identity.paths import Paths
from tasks.stage.harness import execute
from tasks.tracking.pending import _MARK, mark_pending
from tests.tasks.stage.test_stage import PARAMS, PLAN
from tests.tasks.tracking.project import compute, plan_of_two, runs_of


def is_pending(root, results=None) -> bool:
    return Tracking(root).delivery.is_pending(results)


def test_mlflow_that_is_down_stops_nothing(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert execute("scenes", "train", compute, root)
    history = root / "runs/tiny/scenes/train/history.jsonl"
    assert [json.loads(line)["step"] for line in history.read_text().splitlines()] == list(range(5))
    warnings = []
    tracking = Tracking(root, warnings.append)
    assert tracking.parent("roadmap", "title", {"a": 1}, {}).ids == {}
    tracking.delivery.deliver(plan_of_two())
    assert len(warnings) == 1, "one warning, however much is recorded"
    assert "mlflow does not take this" in warnings[0]

    # Up again: the next flow delivers what was missed.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert is_pending(root, {"scores": {}})
    Tracking(root).delivery.deliver(plan_of_two())
    _, (run,) = runs_of(root)
    assert run.info.status == "FINISHED"


def test_any_flow_delivers_what_another_left(root):
    for split in ("train", "test"):
        execute("scenes", split, lambda run: {"rows": 3}, root)
    deliver_pending(root, plan_of_two().only(["scenes/test"]), print)
    _, runs = runs_of(root)
    assert {run.info.run_name: run.info.status for run in runs} == {
        "scenes/train": "FINISHED",
        "scenes/test": "FINISHED",
    }
    assert not is_pending(root)


def test_what_is_published_while_another_flow_delivers_stays_pending(root):
    execute("scenes", "train", lambda run: {"rows": 3}, root)
    delivery = Tracking(root).delivery
    delivery.deliver(plan_of_two())
    mark_pending(root)
    os.utime(root / _MARK, ns=(0, time.time_ns() + 10**9))
    delivery.done()
    assert is_pending(root)
    deliver_pending(root, plan_of_two(), print)
    assert not is_pending(root)


def test_what_its_own_process_delivers_is_left_to_that(root):
    """One run for a stage run: its process holds the claim until it has delivered it."""
    execute("scenes", "train", lambda run: {"rows": 3}, root)
    with FileLock(Paths(root, "tiny", "scenes", "train").lock):
        deliver_pending(root, plan_of_two(), print)
        assert runs_of(root)[1] == []
        assert is_pending(root)
    deliver_pending(root, plan_of_two(), print)
    assert len(runs_of(root)[1]) == 1
    assert not is_pending(root)


def test_a_stage_run_whose_data_is_gone_is_pending_until_that_is_back(root):
    (root / "plan.yaml").write_text(f"{PLAN}  align:\n    a: {{parts: {{}}, data: data/cc558k}}\n")
    (root / "params.yaml").write_text(PARAMS.replace("data: 1}", "data: 1, align: 1}") + "align: {tiny: {}}\n")
    for stage, name in (("scenes", "train"), ("scenes", "test"), ("data", "cc558k"), ("align", "a")):
        execute(stage, name, lambda run: {"rows": 3}, root)
    data = root / "runs" / "tiny" / "data"
    data.rename(root / "elsewhere")
    warnings = []
    deliver_pending(root, Plan(), warnings.append)
    assert warnings == []
    assert {run.info.run_name for run in runs_of(root)[1]} == {"scenes/train", "scenes/test"}
    (root / "elsewhere").rename(data)
    deliver_pending(root, Plan(), warnings.append)
    assert {run.info.run_name: run.info.status for run in runs_of(root)[1]} == dict.fromkeys(
        ("scenes/train", "scenes/test", "data/cc558k", "align/a"), "FINISHED"
    )


def test_what_was_recorded_is_not_looked_for_again(root):
    scores = {"a": "digest"}
    tracking = Tracking(root)
    assert tracking.delivery.is_pending(scores)
    tracking.delivery.done(scores)
    assert not is_pending(root, scores)
    assert is_pending(root, {"a": "another"})
    (root / "mlflow.db").unlink()
    assert is_pending(root, scores)


def test_one_stage_run_that_mlflow_refuses_is_named_and_the_others_are_delivered(root, monkeypatch):
    """For example a value that a server with smaller limits does not take."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    from tasks.tracking.mlflow import MlflowTracker

    for split in ("train", "test"):
        execute("scenes", split, lambda run: {"rows": 3}, root)
    log = MlflowTracker._log_params

    def refuse(self, run_id, params):
        if params["name"] == "test":
            raise MlflowException("Param value is too long", INVALID_PARAMETER_VALUE)
        log(self, run_id, params)

    monkeypatch.setattr(MlflowTracker, "_log_params", refuse)
    warnings = []
    deliver_pending(root, Plan(), warnings.append)
    (warning,) = warnings
    assert "scenes/test" in warning
    assert "too long" in warning
    assert "trying again will not help" in warning
    finished = {run.info.run_name for run in runs_of(root)[1] if run.info.status == "FINISHED"}
    assert finished == {"scenes/train"}
    assert is_pending(root)
