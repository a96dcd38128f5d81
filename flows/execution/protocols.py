"""What a flow needs of the objects that it is handed: something that takes warnings, something that shows progress, and
something that computes a set of stage runs."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from flows.costs.cost import Costs
from flows.designs.plan import Plan
from flows.execution.devices import Devices
from flows.execution.result import Result
from flows.execution.schedule import Scheduler
from tasks.identity.paths import Paths


class Warn(Protocol):
    """Takes a warning: one sentence about something that stops nothing but should be known."""

    def __call__(self, text: str, /) -> object: ...


class Display(Protocol):
    """Shows how far a flow is (`flows.execution.display`); open (`with`) for as long as the flow works."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def warn(self, text: str, /) -> None:
        """Show a warning."""

    def started(self, run: str) -> None:
        """A stage run has begun."""

    def ended(self, run: str, state: str, error: BaseException | None, blame: str | None) -> None:
        """A stage run is there, or failed with an error, or was skipped since the run `blame` failed."""

    def remaining(
        self, scheduler: Scheduler, costs: Costs, result: Result, devices: Devices, paths: Callable[[str], Paths]
    ) -> None:
        """Called a few times a second while the flow works.

        Args:
            paths: of a stage run "stage/name", for how far it says it is.
        """


class Session(Protocol):
    """Computes a growing set of stage runs (`flows.execution.session.Session`), as a search uses it."""

    result: Result

    def promised(self, run: str) -> bool:
        """Whether a stage run is there or in work, as far as this flow knows; one that failed is not."""

    def metrics(self, run: str) -> dict[str, Any]:
        """What a stage run has measured (metrics.json)."""

    def want(self, plan: Plan) -> None:
        """Add a plan's stage runs to plan.yaml and to what this flow computes."""
