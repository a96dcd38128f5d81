"""MLflow: a run per stage run however often it is recorded, a tree per set of designs, and no harm when it is down."""

import json
import os
import shutil
import time
from datetime import UTC, datetime

import pytest

from flows.designs.plan import Plan
from flows.tracking.flow_runs import Tracking, deliver_owed
from tasks.identity import settings
from tasks.identity.identity import identify
from tasks.identity.manifest import digest_of
from tasks.identity.paths import Paths
from tasks.stage.harness import execute
from tasks.tracking import mlflow
from tasks.tracking.mlflow import Live, connect, flatten, stage_experiment
from tasks.tracking.tracker import OWED, Tracker, owe
from tests.tasks.stage.test_stage import PARAMS, PLAN


@pytest.fixture
def root(tmp_path, tracking_database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    shutil.copyfile(tracking_database, tmp_path / "mlflow.db")
    return tmp_path


def compute(run):
    for step in range(5):
        run.tracker.log(step, {"loss": 5.0 - step, "lr": 0.1})
    return {"rows": 3, "loss": 0.75, "types": {"closer": 0.5}, "names": ["not a number"]}


def plan_of_two() -> Plan:
    plan = Plan()
    for split in ("train", "test"):
        plan.add(f"scenes/{split}", {"parts": {"split": split}})
    plan.add("data/cc558k", {"parts": {"dataset": "cc558k"}, "scenes": "scenes/train"})
    return plan


def runs_of(root):
    found = settings.load(root)
    client = connect(found)
    return client, client.search_runs([stage_experiment(client, found)])


def test_a_stage_run_is_one_run_however_often_it_is_delivered(root):
    execute("scenes", "train", compute, root)
    for _ in range(2):
        Tracking(root).deliver(plan_of_two())
    client, runs = runs_of(root)
    assert [run.info.run_name for run in runs] == ["scenes/train"]
    (run,) = runs
    identity = identify(settings.load(root), "scenes", "train")[0]
    assert run.info.status == "FINISHED"
    assert run.data.tags["identity"] == digest_of(identity)
    assert run.data.params == {key: str(value) for key, value in flatten(identity).items()}
    assert run.data.metrics["types.closer"] == 0.5
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in losses] == [(step, 5.0 - step) for step in range(5)]
    assert run.data.metrics["result.loss"] == 0.75, "of the whole run, and no point of the curve"


def test_data_sets_are_linked(root):
    for split in ("train", "test"):
        execute("scenes", split, compute, root)
    execute("data", "cc558k", compute, root)
    text = PLAN.replace("scenes: [scenes/train, scenes/test, scenes/train]", "data: data/cc558k")
    (root / "plan.yaml").write_text(
        text.replace("data:\n    cc558k", "data: {cc558k: {parts: {}}}\n  scores:\n    one")
    )
    found = settings.load(root)
    (dataset,) = mlflow.read_datasets(found, "scores", "one")
    assert (dataset.name, dataset.rows) == ("cc558k", 3)


def test_a_killed_runs_curve_goes_on_without_repeats(root):
    """The first attempt streamed three steps and was killed; the second resumes at step 2."""
    found = settings.load(root)
    identity = identify(found, "scenes", "train")[0]
    client = connect(found)
    run_id, finished = mlflow.open_run(client, found, identity)
    assert not finished
    lines = [{"step": step, "loss": 5.0 - step} for step in range(3)]
    mlflow.log_history(client, run_id, lines, float("-inf"))

    execute("scenes", "train", compute, root)
    Tracking(root).deliver(plan_of_two())
    client, (run,) = runs_of(root)
    assert run.info.run_id == run_id
    assert run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run_id, "loss")] == [0, 1, 2, 3, 4]


def test_a_run_left_open_by_a_dead_process_is_closed(root):
    found = settings.load(root)
    client = connect(found)
    run_id, _ = mlflow.open_run(client, found, identify(found, "scenes", "train")[0])
    Tracking(root).deliver(plan_of_two())
    assert client.get_run(run_id).info.status == "KILLED"


def test_what_runs_on_another_machine_stays_open(root):
    found = settings.load(root)
    client = connect(found)
    run_id, _ = mlflow.open_run(client, found, identify(found, "scenes", "train")[0])
    parent = Tracking(root).parent("sweep", "s", {"study": "s"}, {}, study="s")
    for one in (run_id, parent):
        client.set_tag(one, mlflow.HOST, "another")
    Tracking(root).deliver(plan_of_two())
    assert [client.get_run(one).info.status for one in (run_id, parent)] == ["RUNNING", "RUNNING"]
    Tracking(root).parent("sweep", "s", {"study": "s"}, {}, study="s")  # it goes on here
    Tracking(root).deliver(plan_of_two())
    assert [client.get_run(one).info.status for one in (run_id, parent)] == ["RUNNING", "KILLED"]


def test_streaming_delivers_while_it_trains_and_finishes_with_it(root):
    found = settings.load(root)
    identity = identify(found, "scenes", "train")[0]
    tracker = Tracker()
    live = Live(found, identity, tracker, 1e9)
    live.start()
    tracker.log(0, {"loss": 1.0})
    while live._importing:
        live.join(0.05)
    execute("scenes", "train", lambda run: {"rows": 3}, root)
    live.finish(published=True)
    client, (run,) = runs_of(root)
    assert run.info.status == "FINISHED"
    assert run.info.start_time == 1e12, "when it began, not when MLflow was told"
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [1.0]


def test_a_run_that_is_delivered_late_lasts_as_long_as_it_was_computed(root):
    execute("scenes", "train", lambda run: {"rows": 3}, root)  # without curves: left to the flow
    path = Paths(root, "tiny", "scenes", "train").record
    record = json.loads(path.read_text())
    known = {"seconds": 90, "finished": "2026-01-02T03:04:05Z", "speed": {"samples_per_second": 7.5}}
    path.write_text(json.dumps(record | known))
    Tracking(root).deliver(plan_of_two())
    _, (run,) = runs_of(root)
    ended = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp() * 1000
    assert (run.info.start_time, run.info.end_time) == (ended - 90_000, ended)
    assert run.data.metrics["speed.samples_per_second"] == 7.5
    assert run.data.tags["environment.torch"] == record["environment"]["torch"]


def test_a_record_of_another_identity_times_nothing(root):
    execute("scenes", "train", lambda run: {"rows": 3}, root)
    path = Paths(root, "tiny", "scenes", "train").record
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"identity": "another", "finished": "2020-01-02T03:04:05Z"})
    )
    before = time.time() * 1000
    Tracking(root).deliver(plan_of_two())
    _, (run,) = runs_of(root)
    assert before - 1 <= run.info.start_time <= run.info.end_time


def test_mlflow_that_is_down_stops_nothing(root, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def train(run):
        metrics = compute(run)
        live = run.tracker  # the harness has started its thread at the first step
        assert len(live.lines) == 5
        return metrics

    assert execute("scenes", "train", train, root)
    history = root / "runs/tiny/scenes/train/history.jsonl"
    assert [json.loads(line)["step"] for line in history.read_text().splitlines()] == list(range(5))
    warnings = []
    tracking = Tracking(root, warnings.append)
    assert tracking.parent("roadmap", "title", {"a": 1}, {}) is None
    tracking.deliver(plan_of_two())
    assert len(warnings) == 1, "one warning, however much is recorded"
    assert "MLflow" in warnings[0]

    # Up again: the next flow delivers what was missed.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert Tracking(root).owes({"scores": {}})
    Tracking(root).deliver(plan_of_two())
    _, (run,) = runs_of(root)
    assert run.info.status == "FINISHED"


def test_any_flow_delivers_what_another_left_owing(root):
    for split in ("train", "test"):
        execute("scenes", split, lambda run: {"rows": 3}, root)
    deliver_owed(root, plan_of_two().only(["scenes/test"]), print)
    _, runs = runs_of(root)
    assert {run.info.run_name: run.info.status for run in runs} == {
        "scenes/train": "FINISHED",
        "scenes/test": "FINISHED",
    }
    assert not Tracking(root).owes()


def test_what_is_published_while_another_flow_delivers_stays_owed(root):
    execute("scenes", "train", lambda run: {"rows": 3}, root)
    tracking = Tracking(root)
    tracking.deliver(plan_of_two())
    owe(root)
    os.utime(root / OWED, ns=(0, time.time_ns() + 10**9))
    tracking.settle()
    assert Tracking(root).owes()
    deliver_owed(root, plan_of_two(), print)
    assert not Tracking(root).owes()


def test_a_stage_run_whose_data_is_gone_is_owed_until_that_is_back(root):
    (root / "plan.yaml").write_text(f"{PLAN}  align:\n    a: {{parts: {{}}, data: data/cc558k}}\n")
    (root / "params.yaml").write_text(PARAMS.replace("data: 1}", "data: 1, align: 1}") + "align: {tiny: {}}\n")
    for stage, name in (("scenes", "train"), ("scenes", "test"), ("data", "cc558k"), ("align", "a")):
        execute(stage, name, lambda run: {"rows": 3}, root)
    data = root / "runs" / "tiny" / "data"
    data.rename(root / "elsewhere")
    warnings = []
    deliver_owed(root, Plan(), warnings.append)
    assert warnings == []
    assert {run.info.run_name for run in runs_of(root)[1]} == {"scenes/train", "scenes/test"}
    (root / "elsewhere").rename(data)
    deliver_owed(root, Plan(), warnings.append)
    assert {run.info.run_name: run.info.status for run in runs_of(root)[1]} == dict.fromkeys(
        ("scenes/train", "scenes/test", "data/cc558k", "align/a"), "FINISHED"
    )


def test_what_was_recorded_is_not_asked_for_again(root):
    scores = {"a": "digest"}
    tracking = Tracking(root)
    assert tracking.owes(scores)
    tracking.settle(scores)
    assert not Tracking(root).owes(scores)
    assert Tracking(root).owes({"a": "another"})
    (root / "mlflow.db").unlink()
    assert Tracking(root).owes(scores)


def test_a_killed_sweep_leaves_no_run_open_and_goes_on_in_the_same_one(root):
    from filelock import FileLock

    parent = Tracking(root).parent("sweep", "s", {"study": "s"}, {"sampler": "prefix"}, study="s")
    client = connect(settings.load(root))
    assert client.get_experiment_by_name("sweep s (tiny)")
    experiment = client.get_run(parent).info.experiment_id
    child = client.create_run(experiment, tags={"mlflow.parentRunId": parent}).info.run_id
    with FileLock(root / ".locks" / "sweep.s.lock"):  # as the sweep itself holds it
        Tracking(root).deliver(plan_of_two())
        assert client.get_run(parent).info.status == "RUNNING"
    Tracking(root).deliver(plan_of_two())
    assert [client.get_run(one).info.status for one in (parent, child)] == ["KILLED", "KILLED"]
    assert Tracking(root).parent("sweep", "s", {"study": "s"}, {}, study="s") == parent
    assert client.get_run(parent).info.status == "RUNNING"
