"""An Optuna study on disk: a journal file, or the database that OPTUNA_STORAGE names; one process at a time owns it.
Here too: samplers by name, and a study's designs as rows of its report."""

import contextlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from data_registry.errors import InputError, nearest
from flows.design import Design, parse
from flows.lease import LEASE_S, Taken, shared_leases

if TYPE_CHECKING:
    import optuna

    from flows.space import Space

SAMPLERS = ("prefix", "tpe", "random", "grid")
DIRECTIONS = {"accuracy": "maximize", "hours": "minimize"}
# User attributes of a trial: its design, what it costs alone, why it does not fit, that its process died over it.
DESIGN, HOURS, UNFIT, LOST = "design", "hours", "unfit", "lost"
_TERMS = "terms"  # of a study: what all of its values have in common


@dataclass
class Trial:
    """One design of a study.

    Attributes:
        value: its accuracy on all of its data; None where it failed or was stopped at an earlier rung.
        rungs: its accuracy at each rung of a halving.
        hours: accelerator hours that it costs alone.
        failed: why there is no value: "failed", "stopped" or what kept it out.
    """

    number: int
    design: Design
    value: float | None
    failed: str | None = None
    rungs: tuple[float, ...] = ()
    hours: float | None = None


def check_sampler(name: str) -> str:
    """The name, if there is such a sampler."""
    if name not in SAMPLERS:
        raise InputError(f"sampler {name!r} is unknown, {nearest(name, SAMPLERS)}")
    return name


def make_sampler(
    name: str, space: "Space", left: Callable[[Design], float], alone: Callable[[Design], float], seed: int
) -> "optuna.samplers.BaseSampler":
    """A sampler by name. A grid's designs are enqueued in turn, so its sampler is never asked.

    Args:
        left, alone: accelerator hours of a design, now and with nothing there (`flows.bill`).
    """
    import optuna

    if name == "prefix":
        from flows.sampler import PrefixSampler

        return PrefixSampler(space, left, alone, seed)
    samplers = optuna.samplers
    return samplers.TPESampler(seed=seed) if name == "tpe" else samplers.RandomSampler(seed=seed)


@contextlib.contextmanager
def open_study(root: Path, name: str, objectives: Sequence[str] = ("accuracy",)) -> Iterator["optuna.Study"]:
    """The study of this name, created if there is none; held against other processes, and against other machines where
    they share both studies (OPTUNA_STORAGE) and leases (SPATIALLLM_LEASES).

    Raises:
        InputError: another process has it open, it has other objectives, or no file can have this name.
    """
    import optuna
    from optuna.exceptions import StorageInternalError

    if not re.fullmatch(r"[\w+=-][\w+=. -]*", name):
        raise InputError(f"study {name!r}: its files are named after it: letters, digits, and . + - = _ within")

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (root / ".locks").mkdir(exist_ok=True)
    directions = [DIRECTIONS[one] for one in objectives]
    leases = shared_leases() if os.environ.get("OPTUNA_STORAGE") else None
    try:
        with (
            FileLock(root / ".locks" / f"sweep.{name}.lock", timeout=0),
            leases.hold(f"sweep {name}", wait=False) if leases else contextlib.nullcontext(),
        ):
            try:
                study = optuna.create_study(
                    study_name=name, storage=_storage(root, name), directions=directions, load_if_exists=True
                )
            except (StorageInternalError, ImportError) as error:
                raise InputError(f"OPTUNA_STORAGE: the study's database does not answer: {error}") from error
            if [one.name.lower() for one in study.directions] != directions:
                raise InputError(
                    f"study {name}: has other objectives than params.yaml: sweep.objectives; use --study for a new one"
                )
            yield study
    except Timeout as error:
        raise InputError(f"sweep {name}: another process is running it; use --study for a second one") from error
    except Taken as error:
        raise InputError(
            f"sweep {name}: another machine is running it, or did so less than {LEASE_S:.0f} s ago and was killed; "
            "use --study for a second one"
        ) from error


def agree_on(study: "optuna.Study", terms: Mapping[str, Any]) -> None:
    """Note what makes the values of a study comparable (scale, space, metric, ...) with a new one.

    Raises:
        InputError: it was begun with other terms; names the first that differs.
    """
    known = study.user_attrs.get(_TERMS)
    if known is None or not study.get_trials(deepcopy=False):
        study.set_user_attr(_TERMS, dict(terms))
        return
    for term, value in terms.items():
        if known.get(term) != value:
            other = f"another {term}" if isinstance(value, dict) else f"{term} {known.get(term)!r}, now {value!r}"
            raise InputError(f"study {study.study_name}: was begun with {other}; use --study for a new one")


def trials_of(study: "optuna.Study") -> list[Trial]:
    """Every design that was answered, best first; one that is answered again counts once."""
    from optuna.trial import TrialState

    best: dict[str, Trial] = {}
    for trial in study.get_trials(deepcopy=False):
        name = trial.user_attrs.get(DESIGN)
        if not name or (name in best and best[name].value is not None) or not trial.state.is_finished():
            continue
        why = {TrialState.FAIL: "failed", TrialState.PRUNED: trial.user_attrs.get(UNFIT, "stopped")}.get(trial.state)
        value = trial.values[0] if trial.state == TrialState.COMPLETE else None
        rungs = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
        best[name] = Trial(trial.number, parse(name), value, why, rungs, trial.user_attrs.get(HOURS))

    def place(trial: Trial) -> tuple:
        rungs = [-value for value in reversed(trial.rungs)]
        return trial.value is None, -(trial.value or 0.0), -len(rungs), rungs, trial.number

    return sorted(best.values(), key=place)  # of those that were stopped, who came further first


def importances_of(study: "optuna.Study") -> dict[str, float]:
    """How much each part decides whether a design is among the best (PED-ANOVA, 1 in all); {} with too few designs."""
    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.values[0] for trial in complete}) < 4:
        return {}
    # With a target of one's own PED-ANOVA looks at the lowest values and warns of it: the best designs are those of the
    # lowest error.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return get_param_importances(study, target=lambda trial: -trial.values[0])


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The Pareto front of accuracy and hours: designs than which none is both as good and cheaper, cheapest first."""
    found: list[Trial] = []
    known = [trial for trial in trials if trial.value is not None and trial.hours is not None]
    for trial in sorted(known, key=lambda t: (t.hours, -t.value, t.number)):
        if not found or trial.value > found[-1].value:
            found.append(trial)
    return found


def rows_of(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Designs of a study for machines."""
    on_front = {trial.number for trial in front(trials)}
    return [
        {
            "design": t.design.name,
            "trial": t.number,
            "value": t.value,
            "failed": t.failed == "failed",
            "hours": t.hours,
            "on_front": t.number in on_front,
            **({"rungs": list(t.rungs)} if t.rungs else {}),
            **({"why": t.failed} if t.failed else {}),
        }
        for t in trials
    ]


def _storage(root: Path, name: str) -> "optuna.storages.BaseStorage":
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if os.environ.get("OPTUNA_STORAGE"):
        return RDBStorage(os.environ["OPTUNA_STORAGE"])
    folder = root / ".optuna"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.log"
    # Optuna's own lock file outlives a killed process; ours has just shown that there is none.
    (folder / f"{name}.log.lock").unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
