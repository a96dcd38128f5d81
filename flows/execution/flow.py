"""Runs a plan: a Prefect task per stage run, inputs first, then into DVC.
Where all is there already, nothing is started, not even Prefect."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from data_registry.errors import InputError
from flows.costs.cost import Costs
from flows.designs.check import check_sources
from flows.designs.design import Design
from flows.designs.plan import Plan, plan_of, read_plan
from flows.execution.artifacts import leave_artifacts
from flows.execution.child import StageRunFailed
from flows.execution.display import NoDisplay
from flows.execution.lease import Lapsed
from flows.execution.plan_file import add_to_plan, in_flow, release_trials, remove_from_plan
from flows.execution.protocols import Display
from flows.execution.result import Result
from flows.execution.schedule import DONE, FAILED, SKIPPED, Finished, Scheduler
from flows.execution.session import Session
from flows.execution.stopping import allow_children, stop_children
from flows.servers.prefect import configure, prefect_server
from flows.servers.prefect_client import quiet_console, send_the_rest
from flows.store.views import write_tables
from tasks.identity.settings import load
from tasks.stage.harness import Changed

if TYPE_CHECKING:
    from prefect import Flow, Task
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

_RETRIES = 2


def run_plan(root: Path, plan: Plan, title: str, display: Display | None = None, again: bool = False) -> Result:
    """Compute every stage run of a plan that is not there yet.

    Args:
        plan: its stage runs are added to plan.yaml.
        title: the flow run's name in Prefect.
        display: shows progress (`flows.execution.display`).
        again: as for `flows.execution.plan_file.add_to_plan`.

    Returns:
        How each ended. A failure fails what depends on it and nothing else.

    Raises:
        InputError: params.yaml lacks what a stage run asks for, before anything is written.
    """
    started = time.monotonic()
    runs = plan.runs()
    result = Result(runs)
    with in_flow(root):
        before = set(read_plan(root).runs())
        session = Session(root, add_to_plan(root, plan, again=again), display or NoDisplay(), result)
        left = session.look_up(runs)
        try:
            check_sources(load(root), left)
        except InputError:
            remove_from_plan(root, set(session.plan.runs()) - before)
            raise
        if left:
            with prefect_server(root):
                flow_over(session, title)
        session.remote.push_missing()
        write_tables(root, load(root).scale, session.plan)
        release_trials(root)  # of a sweep that a kill kept from doing it
    result.seconds = time.monotonic() - started
    return result


def flow_over(session: Session, title: str, refill: Callable[[], None] = lambda: None) -> None:
    """Run the session's stage runs as one Prefect flow, until none is left and `refill` brings none.

    Args:
        title: the flow run's name in Prefect.
        refill: called whenever something has ended; may add stage runs (a sweep's next trials).
    """
    configure(session.root)
    quiet_console()
    allow_children()
    work = _FlowRun(session, refill)
    try:
        with session.display:
            state = work.prefect_flow(title)(return_state=True)
        if work.interrupted:
            raise KeyboardInterrupt
        if not state.is_completed() and (not work.finished.is_set() or session.result.ok):
            state.result()  # raises what went wrong beside the stage runs, which Prefect keeps to itself
    except Exception as error:
        if not work.finished.is_set():
            if "Failed to reach API" in str(error):  # Prefect has no class for it
                raise InputError(f"PREFECT_API_URL: {error}; start it, or unset this: a flow has its own") from error
            raise
        session.display.warn(f"Prefect does not take how this ended ({error}); what was computed is complete")
    finally:
        send_the_rest()


class _StageRunTask(Protocol):
    """Prefect's task of a stage run, as it is used here."""

    def submit(self, run: str, /, *, wait_for: list[object]) -> "PrefectFuture[str]":
        """Run it in a thread once these futures are done."""


class _FlowRun:
    """A session's stage runs as Prefect tasks.

    Attributes:
        finished: set once every stage run has ended; what follows is Prefect's record of it.
        interrupted: by Ctrl-C or SIGTERM; for Prefect it was cancelled and did not crash.
    """

    def __init__(self, session: Session, refill: Callable[[], None]) -> None:
        self._session, self._refill = session, refill
        self._states: dict[str, str] = {}
        self._errors: dict[str, BaseException] = {}
        self.finished = threading.Event()
        self.interrupted = False
        self._nested = False  # in the flow of a deployment
        self._task = self._prefect_task()

    def prefect_flow(self, title: str) -> "Flow[[], State]":
        """The flow, to be called once."""
        from prefect import flow
        from prefect.context import FlowRunContext
        from prefect.task_runners import ThreadPoolTaskRunner

        self._nested = FlowRunContext.get() is not None
        threads: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=sum(self._session.devices.slots.values()))
        runner = cast("TaskRunner[PrefectFuture[Any]]", threads)  # whose futures are of its own kind

        @flow(name="spatialllm", flow_run_name=title, task_runner=runner)
        def flow_run() -> "State":
            return self._run()

        return flow_run

    def _prefect_task(self) -> "_StageRunTask":
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        @task(
            task_run_name="{run}",
            cache_policy=NO_CACHE,  # DVC is the cache; two could only disagree
            retries=_RETRIES,
            retry_delay_seconds=[1, 10],
            retry_condition_fn=_may_pass,
        )
        def stage_run(run: str) -> str:
            return self._perform(run)

        return cast(_StageRunTask, stage_run)

    def _run(self) -> "State":
        from prefect.exceptions import TerminationSignal
        from prefect.states import Cancelled, Completed, Failed

        try:
            self._until_none_is_left()
        except (KeyboardInterrupt, TerminationSignal) as signal:  # the second is what Prefect makes of SIGTERM
            stop_children()  # Prefect waits for the threads that wait for them
            if self._nested and isinstance(signal, TerminationSignal):
                raise  # a worker's: the flow around this one knows whether it is to be cancelled
            self.interrupted = True
            return Cancelled(message="stopped; the same command goes on from here")
        except BaseException:
            stop_children()  # Prefect would wait for the threads that wait for them
            raise
        self.finished.set()
        session = self._session
        failed = sorted(session.result.errors)
        leave_artifacts(session.root, session.result, Costs(session.root, session.plan), session.store.paths)
        if failed:
            return Failed(message=f"failed: {', '.join(failed)}")
        return Completed(message="all stage runs are there")

    def _until_none_is_left(self) -> None:
        session = self._session
        scheduler = Scheduler(self._start, session.devices.slots, session.devices.kind)
        costs = Costs(session.root, session.plan)
        while True:
            left = session.take()
            if left:  # `refill` may have brought stage runs that the plan did not have before
                costs = Costs(session.root, session.plan)
            ended = scheduler.add({run: session.plan.needs(run) for run in left}, costs.all(left))
            session.display.remaining(scheduler, costs, session.result, session.devices, session.store.paths)
            if not ended:
                if not scheduler.busy:
                    return
                ended = scheduler.step(timeout=0.5)
            for finished in ended:
                self._record(finished)
                if finished.state == SKIPPED:  # Prefect shows it as "not ready" below the one that failed
                    self._task.submit(finished.run, wait_for=[scheduler.token(finished.blame or "")])
            if ended:
                self._refill()

    def _start(self, run: str, inputs: list[object], report: Callable[[BaseException | None], None]) -> object:
        self._session.display.started(run)
        future = self._task.submit(run, wait_for=inputs)
        # Not by the future's state: that is the server's, which hears of it a moment later.
        future.add_done_callback(
            lambda done: report(None if run in self._states else self._errors.get(run, _lost(run)))
        )
        return future

    def _perform(self, run: str) -> str:
        self._errors.pop(run, None)
        try:
            self._states[run] = self._session.perform(run)
        except Exception as error:
            self._errors[run] = error
            raise
        return self._states[run]

    def _record(self, ended: Finished) -> None:
        if ended.state == DONE:
            self._session.end(ended.run, self._states[ended.run])
        elif ended.state == FAILED:
            self._session.end(ended.run, FAILED, error=ended.error)
        else:
            self._session.end(ended.run, SKIPPED, blame=ended.blame)


def _may_pass(task: "Task[..., Any]", task_run: "TaskRun", state: "State") -> bool:
    """Whether Prefect is to try a stage run again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, Lapsed | Changed) or (isinstance(error, StageRunFailed) and error.may_pass)


def _lost(run: str) -> BaseException:
    return RuntimeError(f"{run}: Prefect ended its task without running it; its UI (`spatialllm ui`) says why")


def keep_design(root: Path, design: Design, display: Display | None = None) -> dict[str, str]:
    """Bring a design into plan.yaml and what is known of it back from DVC's cache (or its remote); computes nothing.

    Returns:
        {stage run: "there" | "restored" | "missing"}.
    """
    plan = plan_of([design])
    session = Session(root, add_to_plan(root, plan), display or NoDisplay(), Result([]))
    session.look_up(plan.runs())
    return {run: session.result.states.get(run, "missing") for run in plan.runs()}
