"""A design that a study has asked for: where it stands, and which step may come next."""

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from flows.designs.design import Design

if TYPE_CHECKING:
    import optuna


class State(Enum):
    """Where a design of a study stands."""

    RUNNING = "its score at a rung (without halving: on all of its data) is being computed"
    WAITING = "it has the score of a rung that is not the last, and waits until the rung is full"
    COMPLETE = "it has its score on all of its data"
    PRUNED = "its rung is full and others were better"
    FAILED = "one of its stage runs failed in this session; the next session may try it again"
    UNFIT = "it needs more memory than there is"


TRANSITIONS = {  # where a design begins: RUNNING, or UNFIT
    (State.RUNNING, State.WAITING),  # the score of a rung is there
    (State.RUNNING, State.COMPLETE),  # the score on all of its data is there
    (State.RUNNING, State.FAILED),  # a stage run failed
    (State.WAITING, State.RUNNING),  # the rung is full and it is among the best: on to the next
    (State.WAITING, State.PRUNED),  # the rung is full and it is not
}
ANSWERED = {State.WAITING, State.COMPLETE, State.PRUNED, State.FAILED}  # counts as evaluated


@dataclass
class Candidate:
    """A design of a study; `values` are its accuracies by rung, `trials` Optuna's (a sampler may propose it twice)."""

    design: Design
    state: State = State.RUNNING
    trials: list["optuna.Trial"] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def rung(self) -> int:
        """The rung whose score it has not got yet, counted from 0."""
        return len(self.values)

    def become(self, state: State) -> None:
        """Take one of the steps of `TRANSITIONS`."""
        if (self.state, state) not in TRANSITIONS:
            raise ValueError(f"{self.design.name}: no step leads from {self.state.name} to {state.name}")
        self.state = state
