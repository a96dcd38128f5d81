"""Looking at stage runs: which are there, which run, who holds a claim or a lock, and all about one of them.
Reads only; `end_process` is the exception and is asked for by name."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_registry.errors import InputError, nearest
from flows.designs.design import parse
from flows.designs.plan import Plan, plan_of, read_plan
from flows.execution.plan_file import others_work
from flows.store.dvc_store import is_current
from tasks.identity import manifest
from tasks.identity import settings as config
from tasks.identity.files import read_json
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.stage import locks, process
from tasks.stage.claim import holder_of
from tasks.stage.record import record_of

_WATCH_SECONDS = 2
_END_SECONDS = 30  # a killed process may have to write out what the kernel holds of it


def status_of(root: Path) -> list[dict[str, Any]]:
    """Every stage run of plan.yaml: {"run", "state": "there" | "running" | "missing" | "outdated", progress...}.

    One that params.yaml says nothing of is "undefined", with a key "why": plan.yaml may be of another scale.
    """
    settings = config.load(root)
    rows = []
    known: dict[str, bool] = {}
    for run in read_plan(root).runs():
        stage, _, name = run.partition("/")
        paths = Paths(root, settings.scale, stage, name)
        holder = holder_of(paths)
        if why := _undefined(settings, run):
            rows.append({"run": run, "state": "undefined", "why": why})
            continue
        state: dict[str, Any] = {"state": _state(settings, paths, run, holder, False, known)}
        state |= {k: holder[k] for k in ("pid", "host", "done", "total", "remaining_s") if holder and k in holder}
        if record := record_of(settings, run):
            state["seconds"] = record["seconds"]
        rows.append({"run": run, **state})
    return rows


def watched(root: Path) -> Iterator[list[dict[str, Any]]]:
    """`status_of` every few seconds, for as long as a stage run runs or a flow is about to start one."""
    while True:
        rows = status_of(root)
        if not (others_work(root) or any(row["state"] == "running" for row in rows)):
            return
        yield rows
        time.sleep(_WATCH_SECONDS)


def info_of(root: Path, name: str) -> dict[str, Any]:
    """All about a stage run "stage/name"; a design's name stands for its score, also where it has left plan.yaml."""
    planned = plan = read_plan(root)
    run = name if "/" in name else f"score/{name}"
    stage, _, short = run.partition("/")
    if run not in planned.runs():
        with contextlib.suppress(InputError):  # a sweep's trial, perhaps
            plan = planned.merge(plan_of([parse(short)]))
        if run not in plan.runs():
            raise InputError(f"{config.PLAN_FILE}: no stage run {name!r}, {nearest(run, planned.runs())}")
    settings = Settings(root, config.load(root).params, plan.entries)
    paths = Paths(root, settings.scale, stage, short)
    about: dict[str, Any] = {
        "run": run,
        "output": str(paths.out.relative_to(root)),
        "state": _state(settings, paths, run, holder_of(paths), True, {}),
        "version": settings.version(stage),
        "seed": settings.seed(stage, short),
        "parts": plan.entry(run).get("parts") or {},
        "params": settings.section(stage, short),
        "reads": plan.needs(run),
        "read_by": [other for other in plan.runs() if run in plan.needs(other)],
        "designs": [s.partition("/")[2] for s in plan.runs() if s.startswith("score/") and run in plan.closure([s])],
        "reproduce": ("" if run in planned.runs() else f"spatialllm keep {short} && ")
        + f"dvc repro {run.replace('/', '@', 1)}",
        "log": str(paths.log.relative_to(root)),
    }
    with contextlib.suppress(manifest.Damaged):
        published = manifest.read_manifest(paths.out)
        about["identity"] = manifest.digest_of(published["identity"])
        about["content"] = published["content"]
        about["files"] = {key: value["bytes"] for key, value in published["files"].items()}
    if metrics := read_json(paths.out / "metrics.json", dict, {}):
        about["metrics"] = metrics
    if record := record_of(settings, run):
        about["computed"] = record
    return about


def _undefined(settings: Settings, run: str) -> str | None:
    """Why params.yaml does not say what a stage run, or one that it reads, is at this scale; None where it does."""
    for needed in Plan(settings.plan).closure([run]):
        stage, _, name = needed.partition("/")
        try:
            settings.section(stage, name)
        except InputError as error:
            return str(error)
    return None


def _state(
    settings: Settings,
    paths: Paths,
    run: str,
    holder: dict[str, Any] | None,
    contents: bool,
    known: dict[str, bool],
) -> str:
    if holder is not None:
        return "running"
    if is_current(settings, run, contents, known):
        return "there"
    return "outdated" if paths.out.exists() else "missing"


def claims(root: Path) -> list[dict[str, Any]]:
    """What is held now, claims of stage runs and locks: {"run", "scale", "pid", "host", "silent_s"}, None for what is
    not known.

    `silent_s`: seconds since the holder's last sign of life. A lock has its name for `run` ("dvc", "plan", "gpu.0") and
    no scale; those that say that a flow works, for which nobody waits, are not among them.
    """
    held = []
    for path in sorted((root / ".locks").glob("*.lock")):
        name = path.name.removesuffix(".lock")
        scale, _, rest = name.partition(".")
        stage, _, short = rest.partition(".")
        if scale in config.SCALES and short:
            holder = holder_of(Paths(root, scale, stage, short))
            name = f"{stage}/{short}"
        else:
            scale = ""
            holder = None if name.startswith("flow.") or locks.is_free(path) else locks.holder(path) or None
        if holder is not None:
            silent = round(time.time() - holder["updated"]) if "updated" in holder else None
            who = {key: holder.get(key) for key in ("pid", "host")}
            held.append({"run": name, "scale": scale, **who, "silent_s": silent})
    return held


def end_process(root: Path, name: str) -> None:
    """Kill the process that holds a stage run's claim or a lock, and return once that is free.

    Args:
        name: "stage/name", or a lock's, as `claims` has them.

    Raises:
        InputError: nobody holds it, or its holder is out of reach or does not end.
    """
    stage, _, short = name.partition("/")
    lock = Paths(root, config.load(root).scale, stage, short).lock if short else root / ".locks" / f"{name}.lock"
    if locks.is_free(lock):
        held = [claim["run"] for claim in claims(root)]
        raise InputError(f"{name}: nobody holds it" + (f", {nearest(name, held)}" if held else ""))
    holder = locks.holder(lock)
    process.end(holder, lock)
    deadline = time.monotonic() + _END_SECONDS
    while not locks.is_free(lock) and locks.holder(lock).get("pid") == holder["pid"]:  # another may have waited for it
        if time.monotonic() > deadline:
            raise InputError(f"{name}: {process.in_words(holder)} was killed but has not ended after {_END_SECONDS} s")
        time.sleep(0.05)
