"""Which stage run starts when: inputs first, as many at a time as there are slots, the longest way to the end first.
Knows nothing of Prefect or DVC; the flow gives it a way to start one run and it says what has finished."""

import heapq
import queue
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

DONE, FAILED, SKIPPED = "done", "failed", "skipped"
# Starts a run after others, given by the tokens that their own starts returned, and reports how it ended.
Start = Callable[[str, list[object], Callable[[BaseException | None], None]], object]


@dataclass(frozen=True)
class Finished:
    """How a stage run ended.

    Attributes:
        state: "done"; "failed" with its error; "skipped" because `blame`, which it needs, failed.
    """

    run: str
    state: str
    error: BaseException | None = None
    blame: str | None = None


class Scheduler:
    """Runs a growing graph of stage runs.

    Args:
        start: called as start(run, tokens of its inputs, report); begins the run elsewhere, returns a token, and calls
            report(error or None) from any thread when it has ended.
        slots: most runs at a time, by kind.
        kind: of a run.
    """

    def __init__(
        self, start: Start, slots: int | Mapping[str, int], kind: Callable[[str], str] = lambda run: ""
    ) -> None:
        self._slots = {"": slots} if isinstance(slots, int) else dict(slots)
        if min(self._slots.values()) < 1:
            raise ValueError("at least one slot is needed")
        self._start, self._kind = start, kind
        self._needs: dict[str, set[str]] = {}
        self._order: dict[str, tuple[float, int]] = {}
        self._inputs: dict[str, list[str]] = {}
        self._readers: dict[str, list[str]] = {}
        self._tokens: dict[str, object] = {}
        self._ended: dict[str, Finished] = {}
        self._ready: dict[str, list[tuple[float, int, str]]] = {pool: [] for pool in self._slots}
        self._running: set[str] = set()
        self._events: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()

    def add(self, needs: Mapping[str, Iterable[str]], cost: Mapping[str, float] | None = None) -> list[Finished]:
        """Add stage runs with what each needs (inputs first); those known already are not run again.

        Args:
            needs: {run: runs it reads}; a run that is read but never added counts as there.
            cost: expected seconds; the run with the most expensive way to the end starts first.

        Returns:
            Runs that cannot start because what they need has failed before.
        """
        new = [run for run in needs if run not in self._inputs]
        for run in new:
            self._inputs[run] = [
                source for source in dict.fromkeys(needs[run]) if source in needs or source in self._inputs
            ]
            for source in self._inputs[run]:
                self._readers.setdefault(source, []).append(run)
        self._prioritise(new, cost or {})
        skipped: list[Finished] = []
        for run in new:
            failed = next((source for source in self._inputs[run] if self._state(source) in (FAILED, SKIPPED)), None)
            if failed is not None:
                skipped += self._skip(run, self._ended[failed].blame or failed)
                continue
            self._needs[run] = {source for source in self._inputs[run] if source not in self._ended}
            if not self._needs[run] and run not in self._ended:
                self._push(run)
        return skipped

    @property
    def busy(self) -> bool:
        """Whether anything runs or could start."""
        return bool(self._running or any(self._ready.values()))

    @property
    def running(self) -> list[str]:
        """The runs that have been started and have not ended."""
        return sorted(self._running)

    @property
    def open(self) -> dict[str, list[str]]:
        """What has not ended yet, with what each needs: {run: inputs}, inputs first."""
        return {run: inputs for run, inputs in self._inputs.items() if run not in self._ended}

    def token(self, run: str) -> object:
        """What `start` returned for a run that has been started."""
        return self._tokens[run]

    def step(self, timeout: float | None = None) -> list[Finished]:
        """Start what can start, wait for one run to end (or `timeout` seconds), and say what has ended by that."""
        for kind, slots in self._slots.items():
            while self._ready[kind] and sum(self._kind(run) == kind for run in self._running) < slots:
                *_, run = heapq.heappop(self._ready[kind])
                self._running.add(run)
                inputs = [self._tokens[source] for source in self._inputs[run] if source in self._tokens]
                self._tokens[run] = self._start(run, inputs, partial(self._report, run))
        if not self._running:
            return []
        try:
            run, error = self._events.get(timeout=timeout)
        except queue.Empty:
            return []
        self._running.discard(run)
        if error is not None:
            self._ended[run] = Finished(run, FAILED, error)
            return [
                self._ended[run],
                *(gone for reader in self._readers.get(run, []) for gone in self._skip(reader, run)),
            ]
        self._ended[run] = Finished(run, DONE)
        for reader in self._readers.get(run, []):
            if reader in self._needs and reader not in self._ended:
                self._needs[reader].discard(run)
                if not self._needs[reader]:
                    self._push(reader)
        return [self._ended[run]]

    def _report(self, run: str, error: BaseException | None) -> None:
        self._events.put((run, error))

    def _push(self, run: str) -> None:
        heapq.heappush(self._ready[self._kind(run)], (*self._order[run], run))

    def _state(self, run: str) -> str | None:
        return self._ended[run].state if run in self._ended else None

    def _skip(self, run: str, blame: str) -> list[Finished]:
        """A run whose input failed, and all that reads it in turn."""
        if run in self._ended:
            return []
        self._ended[run] = Finished(run, SKIPPED, blame=blame)
        return [
            self._ended[run],
            *(gone for reader in self._readers.get(run, []) for gone in self._skip(reader, blame)),
        ]

    def _prioritise(self, runs: list[str], cost: Mapping[str, float]) -> None:
        """Seconds from the start of a run to the end of the longest chain that reads it (negated for the heap)."""
        places = {run: place for place, run in enumerate(runs, start=len(self._order))}
        for run in reversed(runs):  # readers come after their inputs
            readers = [reader for reader in self._readers.get(run, []) if reader in self._order]
            behind = max((-self._order[reader][0] for reader in readers), default=0)
            self._order[run] = (-(cost.get(run, 1.0) + behind), places[run])
