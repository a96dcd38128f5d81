"""What became of the stage runs that a flow was asked for."""

from dataclasses import dataclass, field

from flows.execution.schedule import FAILED
from flows.store.dvc_store import RESTORED, THERE

COMPUTED = "computed"


AVAILABLE = (THERE, RESTORED, COMPUTED)


@dataclass
class Result:
    """What became of the stage runs asked for.

    Attributes:
        states: {run: "there" | "restored" | "computed" | "failed" | "skipped"}.
        errors: the original error of each that failed; `blame` names the failed run behind each that was skipped.
    """

    planned: list[str]
    states: dict[str, str] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    blame: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every stage run is there now."""
        return not self.errors and not self.blame

    def count(self, state: str) -> int:
        """How many stage runs ended in a state."""
        return list(self.states.values()).count(state)

    @property
    def counts(self) -> dict[str, int]:
        """For the report: planned, executed (failures included) and restored from what was there or in the cache."""
        executed = self.count(COMPUTED) + self.count(FAILED)
        return {
            "planned": len(self.planned),
            "executed": executed,
            "restored": self.count(THERE) + self.count(RESTORED),
        }
