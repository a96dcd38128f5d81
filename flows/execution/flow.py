"""Runs a plan: a Prefect task per stage run, inputs first, then into DVC.
Where all is there already, nothing is started, not even Prefect."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from data_registry.errors import InputError
from flows.costs.cost import Costs
from flows.designs.design import Design
from flows.designs.plan import Plan, plan_of
from flows.execution.artifacts import leave_artifacts
from flows.execution.child import StageRunFailed, execute
from flows.execution.devices import Devices
from flows.execution.display import NoDisplay
from flows.execution.kept_designs import in_flow, keep_in_plan
from flows.execution.lease import Lapsed, lease_of, shared_leases
from flows.execution.result import COMPUTED, Result
from flows.execution.schedule import DONE, FAILED, SKIPPED, Finished, Scheduler
from flows.execution.stopping import allow_children, stop_children
from flows.servers.prefect import configure, prefect_server
from flows.servers.prefect_client import quiet_console, send_the_rest
from flows.store.dvc_store import RESTORED, Store
from flows.store.remote import Remote
from tasks.identity import settings
from tasks.stage.full_disk import full_disk
from tasks.stage.harness import EXIT_DAMAGED
from tasks.tracking.tracker import owe

_RETRIES = 2


def run_plan(root: Path, plan: Plan, title: str, display: Any = None, again: bool = False) -> Result:
    """Compute every stage run of a plan that is not there yet.

    Args:
        plan: its stage runs are added to plan.yaml.
        title: the flow run's name in Prefect.
        display: shows progress (`flows.execution.display`).
        again: as for `flows.execution.kept_designs.keep_in_plan`.

    Returns:
        How each ended. A failure fails what depends on it and nothing else.

    Raises:
        InputError: params.yaml lacks what a stage run asks for, before anything is written.
    """
    started = time.monotonic()
    runs = plan.runs()
    result = Result(runs)
    with in_flow(root):
        session = Session(root, keep_in_plan(root, plan, again=again), display or NoDisplay(), result)
        if session.settle(runs):
            with prefect_server(root):
                flow_over(session, title)
        session.remote.settle()
    result.seconds = time.monotonic() - started
    return result


class Session:
    """One flow's work on a growing set of stage runs: what is there, what is left, how each is done.

    Args:
        study: the sweep whose trials these are; plan.yaml has them for as long as it runs.
    """

    def __init__(self, root: Path, plan: Plan, display: Any, result: Result, study: str | None = None) -> None:
        self.root, self.plan, self.display, self.result = root, plan, display, result
        self.study = study
        self.remote = Remote(root, display.warn)
        self.leases = shared_leases()
        self.store = Store(root)
        found = settings.load(root)
        self.devices = Devices(root, found.runtime, found.scale)
        self.commands: dict[str, str] = {}
        self._asked: set[str] = set()
        self._left: list[str] = []

    def promised(self, run: str) -> bool:
        """Whether a stage run is there or in work, as far as this flow knows; one that failed is not."""
        return run in self._asked and run not in self.result.errors and run not in self.result.blame

    def metrics(self, run: str) -> dict[str, Any]:
        """What a stage run has measured (metrics.json)."""
        return json.loads((self.store.paths(run).out / "metrics.json").read_text())

    def want(self, plan: Plan) -> None:
        """Add a plan's stage runs to plan.yaml and to what this flow computes."""
        self.plan = keep_in_plan(self.root, plan, self.study)
        self.settle(plan.runs())
        self.result.planned = sorted({*self.result.planned, *plan.runs()})

    def settle(self, runs: Iterable[str]) -> list[str]:
        """Note what is there or can be restored; returns what is left to compute, inputs first."""
        new = [run for run in runs if run not in self._asked]
        self._asked.update(new)
        self.remote.look()
        found = self.store.fetch(new)
        for run, state in found.items():
            self.end(run, state)
        left = [run for run in new if run not in found]
        if left:
            self.commands.update(self.store.commands(left))
        self._left += left
        return left

    @property
    def pending(self) -> bool:
        """Whether something is left to compute that nobody has taken."""
        return bool(self._left)

    def take(self) -> list[str]:
        """What is left since the last call."""
        left, self._left = self._left, []
        return left

    def perform(self, run: str) -> str:
        """Compute one stage run, unless another process or machine just has; commit it to DVC and push it."""
        with lease_of(self.leases, self.store, run) as lease:
            self.remote.look()
            state = self.store.fetch([run]).get(run)
            if state:
                return state
            self._compute(run)
            if lease is not None:
                lease.confirm()
            self._commit(run)
            self.remote.push(run)  # before the lease is given back, so that who waits for it finds the result
            return COMPUTED

    def _compute(self, run: str) -> None:
        with self.devices.hold(run) as environment:
            try:
                execute(self.store, run, self.commands[run], environment)
            except StageRunFailed as error:
                # An input was damaged after it was checked: put it back from the cache and try once more.
                inputs = self.plan.closure([run])[:-1]
                if error.code != EXIT_DAMAGED or len(self.store.fetch(inputs)) < len(inputs):
                    raise
                execute(self.store, run, self.commands[run], environment)

    def _commit(self, run: str) -> None:
        try:
            self.store.commit(run)
        except Exception as error:
            if full := full_disk(error, f"{run}: taking it into DVC's cache", self.root):
                raise InputError(full) from error
            raise

    def end(self, run: str, state: str, error: BaseException | None = None, blame: str | None = None) -> None:
        """Note how a stage run ended."""
        self.result.states[run] = state
        if state == RESTORED:
            owe(self.root)
        if error is not None:
            self.result.errors[run] = error
        if blame is not None:
            self.result.blame[run] = blame
        self.display.ended(run, state, error, blame)


def flow_over(session: Session, title: str, refill: Callable[[], None] = lambda: None) -> None:
    """Run the session's stage runs as one Prefect flow, until none is left and `refill` brings none.

    Args:
        refill: called whenever something has ended; may settle more stage runs (a sweep's next trials).
    """
    configure(session.root)
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.states import Completed, Failed
    from prefect.task_runners import ThreadPoolTaskRunner

    quiet_console()
    allow_children()
    states: dict[str, str] = {}
    errors: dict[str, BaseException] = {}
    finished = threading.Event()

    def may_pass(task: Any, task_run: Any, state: Any) -> bool:
        error = state.result(raise_on_failure=False)
        return isinstance(error, Lapsed) or (isinstance(error, StageRunFailed) and error.may_pass)

    @task(
        task_run_name="{run}",
        cache_policy=NO_CACHE,  # DVC is the cache; two could only disagree
        retries=_RETRIES,
        retry_delay_seconds=[1, 10],
        retry_condition_fn=may_pass,
    )
    def stage_run(run: str) -> str:
        errors.pop(run, None)
        try:
            states[run] = session.perform(run)
        except Exception as error:
            errors[run] = error
            raise
        return states[run]

    def start(run: str, inputs: list[Any], report: Callable[[BaseException | None], None]) -> Any:
        session.display.started(run)
        future = stage_run.submit(run, wait_for=inputs)
        # Not by the future's state: that is the server's, which hears of it a moment later.
        future.add_done_callback(lambda done: report(None if run in states else errors.get(run, _lost(run))))
        return future

    workers = sum(session.devices.slots.values())

    @flow(name="spatialllm", flow_run_name=title, task_runner=ThreadPoolTaskRunner(max_workers=workers))
    def flow_run() -> Any:
        scheduler = Scheduler(start, session.devices.slots, session.devices.kind)
        costs = Costs(session.root, session.plan)
        try:
            while True:
                left = session.take()
                if left:  # `refill` may have brought stage runs that the plan did not have before
                    costs = Costs(session.root, session.plan)
                needs = {run: session.plan.needs(run) for run in left}
                ended = scheduler.add(needs, costs.all(left))
                session.display.remaining(scheduler, costs, session)
                if not ended:
                    if not scheduler.busy:
                        break
                    ended = scheduler.step(timeout=0.5)
                _note(session, ended, states)
                for one in ended:
                    if one.state == SKIPPED:  # Prefect shows it as "not ready" below the one that failed
                        stage_run.submit(one.run, wait_for=[scheduler.token(one.blame)])
                if ended:
                    refill()
        except BaseException:
            stop_children()  # Prefect would wait for the threads that wait for them
            raise
        finished.set()  # what follows is Prefect's record of it
        failed = sorted(session.result.errors)
        leave_artifacts(session)
        return (
            Failed(message=f"failed: {', '.join(failed)}") if failed else Completed(message="all stage runs are there")
        )

    try:
        with session.display:
            state = flow_run(return_state=True)
        if not state.is_completed() and (not finished.is_set() or session.result.ok):
            state.result()  # raises what went wrong beside the stage runs, which Prefect keeps to itself
    except Exception as error:
        if not finished.is_set():
            raise
        session.display.warn(f"Prefect does not take how this ended ({error}); what was computed is complete")
    finally:
        send_the_rest()


def _note(session: Session, ended: list[Finished], states: dict[str, str]) -> None:
    for one in ended:
        if one.state == DONE:
            session.end(one.run, states[one.run])
        elif one.state == FAILED:
            session.end(one.run, FAILED, error=one.error)
        else:
            session.end(one.run, SKIPPED, blame=one.blame)


def _lost(run: str) -> BaseException:
    return RuntimeError(f"{run}: Prefect ended its task without running it; its UI (`spatialllm ui`) says why")


def keep_design(root: Path, design: Design, display: Any = None) -> dict[str, str]:
    """Bring a design into plan.yaml and what is known of it back from DVC's cache (or its remote); computes nothing.

    Returns:
        {stage run: "there" | "restored" | "missing"}.
    """
    from flows.execution.display import NoDisplay
    from flows.execution.flow import Session
    from flows.execution.result import Result

    plan = plan_of([design])
    session = Session(root, keep_in_plan(root, plan), display or NoDisplay(), Result([]))
    session.settle(plan.runs())
    return {run: session.result.states.get(run, "missing") for run in plan.runs()}
