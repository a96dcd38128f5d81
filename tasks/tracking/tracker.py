"""What a tracker of experiments has to do: open a run, log to it, finish it, link it. MLflow is one (mlflow.py).
A run is known by its identity, so that opening it again, from another process or after a kill, gives the same run."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tasks.tracking.recorder import Dataset

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
HOST, ROOT = "host", "root"  # tags: the machine and the clone whose process has opened a run


@dataclass(frozen=True)
class Spec:
    """A run to open.

    Attributes:
        group: what it is listed under (an experiment of MLflow), e.g. "stage runs (tiny)".
        name: for people.
        identity: tags that tell it from every other run of its group and parent.
        params: written once, when it is created.
        tags: those beside its identity.
        parent: id of the run that it belongs to.
        started: seconds since the epoch; None: now.
    """

    group: str
    name: str
    identity: Mapping[str, str]
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    started: float | None = None


@dataclass(frozen=True)
class Recorded:
    """A run as a tracker has it; `started` and `ended` in seconds since the epoch, `stage_runs` as it was linked."""

    id: str
    group: str
    name: str
    status: Status
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    started: float
    ended: float | None = None
    stage_runs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """An entry for a model registry: the registered name, the digest of its weights, what it was made of."""

    name: str
    content: str
    lineage: Mapping[str, Any]
    tags: Mapping[str, str]


class Tracker(ABC):
    """Where runs are recorded; each method may raise whatever its server does, which costs a warning and no result.

    A tracker opens, logs, finishes and links; what it can say of runs that are there is its own choice.

    Attributes:
        address: where it is, for messages; may hold a password (`tasks.identity.addresses.masked`).
    """

    address: str = ""

    def connect(self) -> None:  # noqa: B027 (some trackers have nothing to connect to)
        """Import what it needs and see that it answers: seconds. Called before anything else, once."""

    @abstractmethod
    def open(self, spec: Spec, resume: bool = False) -> tuple[str, bool]:
        """The run with this identity, created if there is none: (run id, whether it is finished).

        Args:
            resume: whatever became of it, it is running again, here (its `tags` say where).
        """

    @abstractmethod
    def log(
        self,
        run_id: str,
        metrics: Mapping[str, Any] | None = None,
        curves: Sequence[Mapping[str, float]] = (),
        tags: Mapping[str, Any] | None = None,
        files: Iterable[Path] = (),
        folder: str = "",
    ) -> None:
        """Write to a run.

        Args:
            metrics: final figures; what is not a number is left out.
            curves: {"step", metric names...} in rising order, from the first step on; those it has are not repeated.
            files: copied; one of the same name and folder is replaced.
        """

    @abstractmethod
    def finish(self, run_id: str, status: Status = "FINISHED", ended: float | None = None) -> None:
        """Close a run; `ended` in seconds since the epoch, None: now."""

    @abstractmethod
    def link(
        self,
        run_id: str,
        datasets: Iterable[Dataset] = (),
        stage_runs: Mapping[str, str] | None = None,
        model: Model | None = None,
    ) -> None:
        """Connect a run with what it has read, with the stage runs it is made of ({stage: run id}), and with a version
        of a registered model."""

    def find(
        self,
        group: str | None = None,
        status: Status | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
    ) -> list[Recorded]:
        """The runs that fit, of every group for None."""
        return []

    def read(self, run_id: str) -> Recorded | None:
        """One run, None where this tracker cannot say."""
        return None

    def remedy(self, error: Exception) -> str | None:
        """What to do about an error that trying again cannot mend; None where it can."""
        return None

    def refuses_run(self, error: Exception) -> bool:
        """Whether an error is about one run alone, so that others may be recorded."""
        return False


def place(root: Path) -> dict[str, str]:
    """Tags that say where a run is open: others cannot see its locks, and leave it alone."""
    return {HOST: socket.gethostname(), ROOT: str(root)}
