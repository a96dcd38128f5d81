"""Times of a graph of stage runs: until all is done on so many slots, and its longest chain."""

import heapq
from collections.abc import Callable, Mapping


def makespan(
    needs: Mapping[str, list[str]],
    seconds: Mapping[str, float],
    slots: int | Mapping[str, int],
    kind: Callable[[str], str] = lambda run: "",
) -> float:
    """Seconds until every run of a graph has ended.

    Args:
        needs: {run: runs it reads}, inputs first; what is not a key counts as there.
        slots: most runs at a time, by kind.
        kind: of a run.
    """
    readers: dict[str, list[str]] = {run: [] for run in needs}
    waiting: dict[str, int] = {}
    for run, inputs in needs.items():
        inside = [read for read in dict.fromkeys(inputs) if read in readers]
        waiting[run] = len(inside)
        for read in inside:
            readers[read].append(run)
    behind: dict[str, float] = {}
    for run in reversed(list(needs)):
        behind[run] = seconds[run] + max((behind[reader] for reader in readers[run]), default=0.0)
    free = {"": slots} if isinstance(slots, int) else dict(slots)
    ready: dict[str, list[tuple[float, str]]] = {pool: [] for pool in free}
    for run in needs:
        if not waiting[run]:
            heapq.heappush(ready[kind(run)], (-behind[run], run))
    running: list[tuple[float, str]] = []
    now = 0.0
    while running or any(ready.values()):
        for pool, queue in ready.items():
            while queue and free[pool]:
                free[pool] -= 1
                _, run = heapq.heappop(queue)
                heapq.heappush(running, (now + seconds[run], run))
        now, ended = heapq.heappop(running)
        free[kind(ended)] += 1
        for reader in readers[ended]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready[kind(reader)], (-behind[reader], reader))
    return now


def critical_path(needs: Mapping[str, list[str]], seconds: Mapping[str, float]) -> list[str]:
    """The chain of a graph that takes longest; what is not a key counts as there.

    Args:
        needs: {run: runs it reads}, inputs first.
    """
    until: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for run, inputs in needs.items():
        last = max((read for read in inputs if read in until), key=lambda read: until[read], default=None)
        before[run] = last
        until[run] = seconds[run] + (until[last] if last else 0.0)
    chain: list[str] = []
    end = max(until, key=lambda run: until[run], default=None)
    while end is not None:
        chain.append(end)
        end = before[end]
    return chain[::-1]
