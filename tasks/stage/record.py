"""The record of a stage run: when, where and how long it was computed, all that may differ between equal outputs."""

import resource
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from data_registry.errors import InputError
from tasks.identity import manifest
from tasks.identity.files import read_json, write_json
from tasks.identity.identity import identify
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.stage.early_stop import Took
from tasks.stage.environment import environment


def processor_s() -> float:
    """Processor seconds of this process and of those that it waited for."""
    used = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@dataclass(frozen=True)
class Stopwatch:
    """Time since it was made.

    Attributes:
        started: the clock's time, seconds since 1970.
        worked: processor seconds of this process by then.
    """

    started: float = field(default_factory=time.time)
    worked: float = field(default_factory=processor_s)

    def took(self) -> Took:
        """Seconds of the clock and of the processors until now."""
        return {
            "seconds": round(time.time() - self.started, 2),
            "processor_s": round(processor_s() - self.worked, 2),
        }


def write_record(
    paths: Paths, identity: dict[str, Any], took: Took, before: Took, speed: dict[str, float] | None
) -> None:
    """Write the record of a published stage run.

    Args:
        took: this stage run's own part.
        before: what the stage runs took whose training it went on with; empty where it began.
        speed: the machine's figures over the training, if it was one.
    """
    record = {
        "identity": manifest.digest_of(identity),
        **took,
        **({"earlier": before} if before else {}),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": socket.gethostname(),
        "environment": environment(),
        **({"speed": speed} if speed else {}),
    }
    write_json(paths.record, record)


def read_record(paths: Paths, identity: str | None = None) -> dict[str, Any]:
    """The record of a stage run; empty where there is none or it is damaged: it says nothing that a result needs.

    Args:
        identity: the digest that it must be of; None takes that of any.
    """
    record = read_json(paths.record, dict, {})
    times = [record.get("seconds"), record.get("processor_s", 0.0), *_values(record.get("earlier", {}))]
    whole = all(_is_time(value) for value in times)
    return record if whole and identity in (None, record.get("identity")) else {}


def _values(times: Any) -> list[Any]:
    return list(times.values()) if isinstance(times, dict) else [None]


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def record_of(settings: Settings, run: str) -> dict[str, Any] | None:
    """The record of "stage/name", if it was computed on this machine as params.yaml and the plan ask for it now.

    A record is written when something is computed, while outputs come and go: after `dvc exp run -S ...`, a checkout or
    an edited parameter it may be of another identity than what is asked for. Where an input is missing, or the plan
    does not have the stage run (a sweep's trial), the output that lies there decides, and without one the record is
    taken at its word.
    """
    stage, _, name = run.partition("/")
    record = read_record(Paths(settings.root, settings.scale, stage, name))
    asked = _asked_for(settings, run) if "identity" in record else None
    return record if record and asked in (None, record.get("identity")) else None


def _asked_for(settings: Settings, run: str) -> str | None:
    """The digest of the identity that is asked for now, as far as that is known."""
    stage, _, name = run.partition("/")
    try:
        if name in settings.plan.get(stage, {}):
            return manifest.digest_of(identify(settings, stage, name)[0])
    except InputError:  # an input is missing, or params.yaml lacks a key of it, which who computes it is told
        pass
    try:
        return manifest.digest_of(
            manifest.read_manifest(Paths(settings.root, settings.scale, stage, name).out)["identity"]
        )
    except manifest.Damaged:
        return None
