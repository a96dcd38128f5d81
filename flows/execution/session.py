"""A flow's work on stage runs, without Prefect: what is there, what is left, how each is computed and committed."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_registry.errors import InputError
from flows.designs.plan import Plan
from flows.execution.child import StageRunFailed, execute
from flows.execution.devices import Devices
from flows.execution.lease import lease_of, shared_leases
from flows.execution.plan_file import add_to_plan
from flows.execution.protocols import Display
from flows.execution.result import COMPUTED, Result
from flows.execution.stopping import pause
from flows.store.dvc_store import RESTORED, Store
from flows.store.remote import Remote
from tasks.identity import settings
from tasks.stage.full_disk import full_disk
from tasks.stage.harness import EXIT_DAMAGED
from tasks.tracking.pending import mark_pending


class Session:
    """One flow's work on a growing set of stage runs: what is there, what is left, how each is done.

    Args:
        study: the sweep whose trials these are; plan.yaml has them for as long as it runs.
    """

    def __init__(self, root: Path, plan: Plan, display: Display, result: Result, study: str | None = None) -> None:
        self.root, self.plan, self.display, self.result = root, plan, display, result
        self.study = study
        self.leases = shared_leases(display.warn)
        self.store = Store(root, display.warn, pause)
        self.remote = Remote(root, display.warn, self.store)
        loaded = settings.load(root)
        self.devices = Devices(root, loaded.runtime, loaded.scale, display.warn)
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
        self.plan = add_to_plan(self.root, plan, self.study)
        self.look_up(plan.runs())
        self.result.planned = sorted({*self.result.planned, *plan.runs()})

    def look_up(self, runs: Iterable[str]) -> list[str]:
        """Note what is there or can be restored; returns what is left to compute, inputs first."""
        new = [run for run in runs if run not in self._asked]
        self._asked.update(new)
        self.remote.look()
        states = self.store.fetch(new)
        for run, state in states.items():
            self.end(run, state)
        left = [run for run in new if run not in states]
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
            mark_pending(self.root)
        if error is not None:
            self.result.errors[run] = error
        if blame is not None:
            self.result.blame[run] = blame
        self.display.ended(run, state, error, blame)
