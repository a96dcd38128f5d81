"""A stage run is one run in MLflow however often it is recorded, with its curves, data sets and times."""

import json
import time
from datetime import UTC, datetime

from flows.tracking.flow_runs import Tracking
from tasks.identity import settings
from tasks.identity.identity import identify
from tasks.identity.manifest import digest_of
from tasks.identity.paths import Paths
from tasks.stage.harness import execute
from tasks.tracking import stage_runs
from tasks.tracking.live import Live
from tasks.tracking.recorder import Recorder
from tests.tasks.stage.test_stage import PLAN
from tests.tasks.tracking.project import compute, connect, plan_of_two, runs_of


def test_a_stage_run_is_one_run_however_often_it_is_delivered(root):
    execute("scenes", "train", compute, root)
    for _ in range(2):
        Tracking(root).delivery.deliver(plan_of_two())
    client, runs = runs_of(root)
    assert [run.info.run_name for run in runs] == ["scenes/train"]
    (run,) = runs
    identity = identify(settings.load(root), "scenes", "train")[0]
    assert run.info.status == "FINISHED"
    assert run.data.tags["identity"] == digest_of(identity)
    assert run.data.params == {key: str(value) for key, value in stage_runs.flatten(identity).items()}
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
    (dataset,) = stage_runs.read_datasets(settings.load(root), "scores", "one")
    assert (dataset.name, dataset.rows) == ("cc558k", 3)


def test_a_killed_runs_curve_goes_on_without_repeats(root):
    """The first attempt streamed three steps and was killed; the second resumes at step 2."""
    known = settings.load(root)
    tracker = connect(root)
    run_id, finished = tracker.open(stage_runs.spec_of(known, identify(known, "scenes", "train")[0]))
    assert not finished
    tracker.log(run_id, curves=[{"step": step, "loss": 5.0 - step} for step in range(3)])

    execute("scenes", "train", compute, root)
    Tracking(root).delivery.deliver(plan_of_two())
    client, (run,) = runs_of(root)
    assert run.info.run_id == run_id
    assert run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run_id, "loss")] == [0, 1, 2, 3, 4]


def test_streaming_delivers_while_it_trains_and_finishes_with_it(root):
    known = settings.load(root)
    recorder = Recorder()
    live = Live(known, identify(known, "scenes", "train")[0], recorder, 1e9)
    live.start()
    recorder.log(0, {"loss": 1.0})
    assert live.streams[0].connected.wait(300)
    execute("scenes", "train", lambda run: {"rows": 3}, root)
    live.finish(published=True)
    client, (run,) = runs_of(root)
    assert run.info.status == "FINISHED"
    assert run.info.start_time == 1e12, "when it began, not when MLflow heard of it"
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [1.0]


def test_a_run_that_is_delivered_late_lasts_as_long_as_it_was_computed(root):
    execute("scenes", "train", lambda run: {"rows": 3}, root)  # without curves: left to the flow
    path = Paths(root, "tiny", "scenes", "train").record
    record = json.loads(path.read_text())
    known = {"seconds": 90, "finished": "2026-01-02T03:04:05Z", "speed": {"samples_per_second": 7.5}}
    path.write_text(json.dumps(record | known))
    Tracking(root).delivery.deliver(plan_of_two())
    _, (run,) = runs_of(root)
    ended = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp() * 1000
    assert (run.info.start_time, run.info.end_time) == (ended - 90_000, ended)
    assert run.data.metrics["speed.samples_per_second"] == 7.5
    assert run.data.tags["environment.torch"] == record["environment"]["torch"]


def test_a_record_of_another_identity_times_nothing(root):
    execute("scenes", "train", lambda run: {"rows": 3}, root)
    path = Paths(root, "tiny", "scenes", "train").record
    other = {"identity": "another", "finished": "2020-01-02T03:04:05Z"}
    path.write_text(json.dumps(json.loads(path.read_text()) | other))
    before = time.time() * 1000
    Tracking(root).delivery.deliver(plan_of_two())
    _, (run,) = runs_of(root)
    assert before - 1 <= run.info.start_time <= run.info.end_time
