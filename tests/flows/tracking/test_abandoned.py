"""A run that nobody computes any more is closed by a later flow, and one that somebody computes never is."""

import shutil

import pytest
from filelock import FileLock

from flows.designs.plan import Plan
from flows.tracking.delivery import deliver_pending
from flows.tracking.flow_runs import Tracking
from tasks.identity import settings
from tasks.identity.identity import identify
from tasks.identity.paths import Paths
from tasks.tracking.live import Live
from tasks.tracking.recorder import Recorder
from tasks.tracking.stage_runs import spec_of
from tasks.tracking.tracker import HOST
from tests.tasks.tracking.project import connect, plan_of_two


def open_stage_run(root, tracker) -> str:
    known = settings.load(root)
    return tracker.open(spec_of(known, identify(known, "scenes", "train")[0]))[0]


def test_a_stage_run_left_open_by_a_dead_process_is_closed_by_the_next_flow(root):
    """Its stream has marked it as pending, so that the next flow looks at all."""
    known = settings.load(root)
    live = Live(known, identify(known, "scenes", "train")[0], Recorder(), 1e9)
    live.start()
    stream = live.streams[0]
    assert stream.connected.wait(300)
    tracker = connect(root)
    run_id = open_stage_run(root, tracker)
    deliver_pending(root, Plan(), pytest.fail)
    assert tracker.read(run_id).status == "KILLED"
    live.finish(published=False)


def test_one_that_is_computed_at_this_moment_stays_open_and_is_looked_at_again(root):
    tracker = connect(root)
    run_id = open_stage_run(root, tracker)
    lock = Paths(root, "tiny", "scenes", "train").lock
    lock.parent.mkdir(exist_ok=True)
    from tasks.tracking.pending import mark_pending

    mark_pending(root)
    with FileLock(lock):
        deliver_pending(root, Plan(), pytest.fail)
        assert tracker.read(run_id).status == "RUNNING"
    deliver_pending(root, Plan(), pytest.fail)
    assert tracker.read(run_id).status == "KILLED"


def test_what_runs_on_another_machine_stays_open(root):
    tracker = connect(root)
    run_id = open_stage_run(root, tracker)
    parent = Tracking(root).parent("sweep", "s", {"study": "s"}, {}, study="s").ids["mlflow"]
    for run in (run_id, parent):
        tracker.log(run, tags={HOST: "another"})
    Tracking(root).delivery.deliver(plan_of_two())
    assert [tracker.read(run).status for run in (run_id, parent)] == ["RUNNING", "RUNNING"]
    Tracking(root).parent("sweep", "s", {"study": "s"}, {}, study="s")  # it goes on here
    Tracking(root).delivery.deliver(plan_of_two())
    assert [tracker.read(run).status for run in (run_id, parent)] == ["RUNNING", "KILLED"]


def test_what_another_clone_of_this_machine_computes_stays_open(root, tmp_path_factory, monkeypatch):
    """Both record in one database; each sees the other's locks."""
    other = tmp_path_factory.mktemp("clones") / "other"
    shutil.copytree(root, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    tracker = connect(other)
    run_id = open_stage_run(other, tracker)
    lock = Paths(other, "tiny", "scenes", "train").lock
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        Tracking(root).delivery.deliver(Plan())
        assert tracker.read(run_id).status == "RUNNING"
    Tracking(root).delivery.deliver(Plan())
    assert tracker.read(run_id).status == "KILLED", "its process is dead, which its lock says here too"


def test_a_killed_sweep_leaves_no_run_open_and_goes_on_in_the_same_one(root):
    parent = Tracking(root).parent("sweep", "s", {"study": "s"}, {"sampler": "prefix"}, study="s").ids["mlflow"]
    tracker = connect(root)
    experiment = tracker.client.get_experiment_by_name("sweep s (tiny)").experiment_id
    child = tracker.client.create_run(experiment, tags={"mlflow.parentRunId": parent}).info.run_id
    with FileLock(root / ".locks" / "sweep.s.lock"):  # as the sweep itself holds it
        Tracking(root).delivery.deliver(plan_of_two())
        assert tracker.read(parent).status == "RUNNING"
    deliver_pending(root, plan_of_two(), pytest.fail)
    assert [tracker.read(run).status for run in (parent, child)] == ["KILLED", "KILLED"]
    assert Tracking(root).parent("sweep", "s", {"study": "s"}, {}, study="s").ids == {"mlflow": parent}
    assert tracker.read(parent).status == "RUNNING"


def test_a_roadmap_killed_while_it_is_recorded_is_closed(root):
    tracking = Tracking(root)
    with tracking.recording():
        parent = tracking.parent("roadmap", "roadmap of 1 designs", {"scores": {}}, {}).ids["mlflow"]
        deliver_pending(root, Plan(), pytest.fail)
        tracker = connect(root)
        assert tracker.read(parent).status == "RUNNING"
    deliver_pending(root, Plan(), pytest.fail)
    assert tracker.read(parent).status == "KILLED"


def test_ctrl_c_closes_a_sweep_at_once(root):
    tracking = Tracking(root)
    parent = tracking.parent("sweep", "s", {"study": "s"}, {}, study="s")
    tracker = connect(root)
    stage_run = open_stage_run(root, tracker)
    with pytest.raises(KeyboardInterrupt), tracking.killed_if_interrupted(parent):
        raise KeyboardInterrupt
    assert tracker.read(parent.ids["mlflow"]).status == "KILLED"
    assert tracker.read(stage_run).status == "KILLED"


def test_a_moved_project_closes_what_it_left_open(root):
    run_id = open_stage_run(root, connect(root))
    moved = root.rename(root.with_name("moved"))
    Tracking(moved).delivery.deliver(Plan())
    assert connect(moved).read(run_id).status == "KILLED"
