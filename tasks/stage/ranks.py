"""A stage run in several processes: one claim, one outcome. The first process (rank 0) claims, checks and publishes;
the others wait for its word, take part in the training, and end as it does."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from tasks.stage.parent_watch import PARENT

EXIT_PASSING = 75  # EX_TEMPFAIL: a connection, a time limit, a killed process, which may pass
_PATIENCE = timedelta(days=30)  # of those who wait: the first may itself wait for another's claim, or train for weeks
_FAREWELL = timedelta(seconds=30)


class FirstFailed(RuntimeError):
    """Rank 0 failed and has said why.

    Attributes:
        code: its exit code.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"process 0 of this stage run ended with exit code {code}; its own message says why")


class Ranks:
    """This process among those of a stage run, as a launcher's variables say (torchrun's, deepspeed's).

    Args:
        run: "stage/name".

    Attributes:
        rank: 0 for the first, and for a process on its own.
    """

    def __init__(self, run: str) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self._world = int(os.environ.get("WORLD_SIZE", "1"))
        self._store: Any = None
        self._begun = False
        if self._world > 1:
            # Not a process group: training makes its own, for its device, and waiting for a claim knows no time limit.
            from torch.distributed import PrefixStore
            from torch.distributed.rendezvous import rendezvous

            store, *_ = next(rendezvous("env://"))
            self._store = PrefixStore(run, store)

    def begin(self, identity: dict[str, Any]) -> None:
        """Rank 0: the stage run is claimed and its inputs are whole; all compute now."""
        self._begun = True
        self._tell("begin", identity=identity)

    def end(self, code: int) -> None:
        """Rank 0: how it ended, by exit code; 0 without `begin` where there was nothing to compute."""
        if not self._begun:
            self._tell("begin", code=code)
        self._tell("end", code=code)
        if self._store is not None and code == 0:
            # Rank 0 may hold the store; a rank that died since is its launcher's to report, the output is published.
            with contextlib.suppress(RuntimeError):
                self._store.wait([f"heard {rank}" for rank in range(1, self._world)], _FAREWELL)

    def wait_for_begin(self) -> dict[str, Any] | None:
        """Another rank: the identity that all compute, or None where the output is there already.

        Raises:
            FirstFailed: rank 0 failed before.
        """
        said = self._hear("begin")
        if "identity" in said:
            return said["identity"]
        self.wait_for_end()
        return None

    def wait_for_end(self) -> None:
        """Another rank: rank 0 has published; FirstFailed where it has not."""
        code = self._hear("end")["code"]
        self._store.set(f"heard {self.rank}", "")
        if code:
            raise FirstFailed(code)

    def _tell(self, key: str, **said: Any) -> None:
        if self._store is not None:
            self._store.set(key, json.dumps(said))

    def _hear(self, key: str) -> dict[str, Any]:
        self._store.wait([key], _PATIENCE)
        return json.loads(self._store.get(key))


def launched() -> int:
    """How many processes a launcher started, of which this is one; 0 without a launcher."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else 0


def launch(name: str, processes: int) -> int:
    """Run this very command (`python -m tasks.align NAME`) in several processes on this machine; returns its exit code.

    One that fails or is killed ends the others, and all end with this process, however it dies. They listen on the
    loopback address alone.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    from tasks.stage.loopback import arguments

    os.environ[PARENT] = str(os.getpid())  # whom they watch; this process watches its own
    spec = sys.modules["__main__"].__spec__
    command = [sys.argv[0]] if spec is None else ["-m", spec.name]
    try:
        run(parse_args([*arguments(processes), *command, name]))
    except ChildFailedError as error:
        return outcome(failure.exitcode for failure in error.failures.values())
    return 0


def outcome(codes: Iterable[int]) -> int:
    """The exit code that says most of those of processes that failed together.

    What ends one ends the others too: by a broken connection (1), or by SIGTERM from the launcher.
    """
    distinct = set(codes)
    known = sorted(code for code in distinct if code > 1)
    if known:
        return known[0]
    killed = sorted(code for code in distinct if code < 0 and (code != -signal.SIGTERM or len(distinct) == 1))
    if killed:
        print(f"error: a process of this stage run was killed by {signal.Signals(-killed[0]).name}", file=sys.stderr)
        return EXIT_PASSING
    return 1
