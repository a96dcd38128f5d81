"""plan.yaml as flows change it: designs are added and stay; the trials of a sweep are in it while the sweep runs.
Afterwards they leave it; DVC's run-cache still has them, and `spatialllm keep DESIGN` brings any back uncomputed."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

from flows.designs.check import check
from flows.designs.design import Design, listed_designs, parse
from flows.designs.plan import Plan, plan_of, read_plan, write_plan
from flows.execution.stopping import no_questions, pause
from flows.store.views import write_tables, write_views
from tasks.identity import settings
from tasks.identity.files import read_state, write_json
from tasks.stage import locks

_own: set[str] = set()  # names of the locks of the flows of this process
_TRIALS = "*.trials.json"  # in .optuna/: per study, the designs that only its sweep wanted in plan.yaml


def add_to_plan(root: Path, plan: Plan, study: str | None = None, again: bool = False) -> Plan:
    """Add stage runs, and those of the designs that params.yaml keeps, to plan.yaml; returns all of it.

    Args:
        study: the sweep that wants them only for as long as it runs; None: they are to stay.
        again: they are there and tried again, so that a sweep's trials among them stay what they are.

    Raises:
        InputError: params.yaml lacks what a stage run asks for; nothing is written then.
    """
    config = settings.load(root)
    params = config.params
    wanted = plan_of(listed_designs(params)).merge(plan)
    check(settings.Settings(root, params, wanted.entries))
    with _plan_lock(root):
        before = read_plan(root)
        if study is None:
            _forget(root, [] if again else plan.entries["score"])
        else:
            _note(root, study, [name for name in plan.entries["score"] if name not in before.entries["score"]])
        merged = before.merge(wanted)
        write_plan(root, merged)
        write_views(root, config.scale, merged)
    return merged


def not_planned(root: Path) -> list[str]:
    """Designs that params.yaml keeps (`designs`) and plan.yaml lacks: DVC reads plan.yaml alone and does not run them,
    until a flow or `spatialllm keep` has brought them in."""
    if not (root / settings.PLAN_FILE).exists():
        return []
    known = settings.load(root)
    return [design.name for design in listed_designs(known.params) if design.name not in known.plan.get("score", {})]


def remove_from_plan(root: Path, runs: Iterable[str]) -> None:
    """Take stage runs out of plan.yaml again that were added in vain."""
    with _plan_lock(root):
        plan, gone = read_plan(root), set(runs)
        staying = plan.only(run for run in plan.runs() if run not in gone)
        write_plan(root, staying)
        write_views(root, settings.load(root).scale, staying)


@contextlib.contextmanager
def in_flow(root: Path) -> Iterator[None]:
    """Held by every flow while it works, so that no other takes its stage runs out of plan.yaml.

    Nothing can be asked meanwhile: a question between progress bars would be answered by nobody.
    """
    # Not by the process's number alone: two containers on one folder may each have one of that number.
    lock = root / ".locks" / f"flow.{os.getpid()}-{uuid4().hex[:12]}.lock"
    _own.add(lock.name)
    try:
        with locks.hold(lock, "begin"), no_questions():
            yield
    finally:
        _own.discard(lock.name)
        lock.unlink(missing_ok=True)


def release_trials(root: Path, best: Iterable[Design] = ()) -> list[str]:
    """Take the trials of sweeps out of plan.yaml, but for the best; returns the designs that left.

    While another flow works nothing is taken out: the next flow that ends does it.
    """
    from flows.store.dvc_store import Store

    config = settings.load(root)
    scale, staying = config.scale, {design.name for design in (*best, *listed_designs(config.params))}
    with _plan_lock(root):
        if others_work(root):
            return []
        trials = {name for path in (root / ".optuna").glob(_TRIALS) for name in _read(path)} - staying
        plan = read_plan(root)
        left = sorted(trials & plan.entries["score"].keys())
        if left:
            designs = plan_of(parse(name) for name in plan.entries["score"] if name not in trials)
            staying_plan = designs.merge(plan.only(f"annotate/{name}" for name in plan.entries["annotate"]))
            gone = sorted(set(plan.runs()) - set(staying_plan.runs()))
            write_plan(root, staying_plan)
            write_views(root, scale, staying_plan)
            write_tables(root, scale, staying_plan)
            Store(root).forget(gone)
        for path in (root / ".optuna").glob(_TRIALS):
            path.unlink()
    return left


def others_work(root: Path) -> bool:
    """Whether a flow works here, of another process."""
    flows = (root / ".locks").glob("flow.*.lock")
    return any(not locks.is_free(lock) for lock in flows if lock.name not in _own)


def _note(root: Path, study: str, names: list[str]) -> None:
    if names:
        path = root / ".optuna" / _TRIALS.replace("*", study)
        path.parent.mkdir(exist_ok=True)
        known = _read(path) if path.exists() else []
        _write(path, [*known, *names])


def _forget(root: Path, names: Iterable[str]) -> None:
    for path in (root / ".optuna").glob(_TRIALS):
        listed = _read(path)
        _write(path, [name for name in listed if name not in set(names)])


def _read(path: Path) -> list[str]:
    remedy = "remove it (the trials that it listed then stay in plan.yaml, until you delete that to begin it anew)"
    return read_state(path, list, remedy)


def _write(path: Path, names: list[str]) -> None:
    write_json(path, list(dict.fromkeys(names)))


def _plan_lock(root: Path) -> contextlib.AbstractContextManager[None]:
    return locks.hold(root / ".locks" / "plan.lock", f"change {settings.PLAN_FILE}", pause=pause)
