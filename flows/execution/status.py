"""Looking at stage runs: which are there, which run, who holds a claim, and all about one.
Reads only; `end_owner` is the exception and is asked for by name."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_registry.errors import InputError, nearest
from flows.designs.design import parse
from flows.designs.plan import plan_of, read_plan
from flows.execution.plan_file import others_work
from flows.store.dvc_store import is_current
from tasks.identity import manifest, settings
from tasks.identity.files import read_json
from tasks.identity.paths import Paths
from tasks.stage.claim import end_holder, holder_in_words, holder_of, is_free, read_holder
from tasks.stage.record import read_record

_WATCH_SECONDS = 2
_END_SECONDS = 30  # a killed process may have to write out what the kernel holds of it


def status_of(root: Path) -> list[dict[str, Any]]:
    """Every stage run of plan.yaml: {"run", "state": "there" | "running" | "missing" | "outdated", progress...}."""
    found = settings.load(root)
    rows = []
    known: dict[str, bool] = {}
    for run in read_plan(root).runs():
        stage, _, name = run.partition("/")
        paths = Paths(root, found.scale, stage, name)
        note = holder_of(paths)
        state = {"state": _state(found, paths, run, note, False, known)}
        state |= {k: note[k] for k in ("pid", "host", "done", "total", "remaining_s") if note and k in note}
        if record := read_record(paths):
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
    kept = plan = read_plan(root)
    run = name if "/" in name else f"score/{name}"
    stage, _, short = run.partition("/")
    if run not in kept.runs():
        with contextlib.suppress(InputError):  # a sweep's trial, perhaps
            plan = kept.merge(plan_of([parse(short)]))
        if run not in plan.runs():
            raise InputError(f"{settings.PLAN_FILE}: no stage run {name!r}, {nearest(run, kept.runs())}")
    found = settings.Settings(root, settings.load(root).params, plan.entries)
    paths = Paths(root, found.scale, stage, short)
    about: dict[str, Any] = {
        "run": run,
        "output": str(paths.out.relative_to(root)),
        "state": _state(found, paths, run, holder_of(paths), True, {}),
        "version": found.version(stage),
        "seed": found.seed(stage, short),
        "parts": plan.entry(run).get("parts") or {},
        "params": found.section(stage, short),
        "reads": plan.needs(run),
        "read_by": [other for other in plan.runs() if run in plan.needs(other)],
        "designs": [s.partition("/")[2] for s in plan.runs() if s.startswith("score/") and run in plan.closure([s])],
        "reproduce": ("" if run in kept.runs() else f"spatialllm keep {short} && ")
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
    if record := read_record(paths):
        about["computed"] = record
    return about


def _state(
    found: settings.Settings,
    paths: Paths,
    run: str,
    note: dict[str, Any] | None,
    contents: bool,
    known: dict[str, bool],
) -> str:
    if note is not None:
        return "running"
    if is_current(found, run, contents, known):
        return "there"
    return "outdated" if paths.out.exists() else "missing"


def claims(root: Path) -> list[dict[str, Any]]:
    """The claims that are held now: {"run", "scale", "pid", "host", "silent_s"}, None for what is not known.

    `silent_s`: seconds since the holder's last sign of life.
    """
    held = []
    for lock in sorted((root / ".locks").glob("*.*.*.lock")):
        scale, stage, name = lock.name.removesuffix(".lock").split(".", 2)
        if scale not in settings.SCALES:
            continue  # of a study with a dot in its name
        note = holder_of(Paths(root, scale, stage, name))
        if note is not None:
            silent = round(time.time() - note["updated"]) if "updated" in note else None
            who = {key: note.get(key) for key in ("pid", "host")}
            held.append({"run": f"{stage}/{name}", "scale": scale, **who, "silent_s": silent})
    return held


def end_owner(root: Path, run: str) -> None:
    """Kill the process that holds a stage run's claim, and return once the claim is free.

    Raises:
        InputError: nobody holds it, or its holder is out of reach or does not end.
    """
    stage, _, name = run.partition("/")
    paths = Paths(root, settings.load(root).scale, stage, name)
    if is_free(paths):
        held = [one["run"] for one in claims(root)]
        raise InputError(f"{run}: nobody holds its claim" + (f", {nearest(run, held)}" if held else ""))
    ended = read_holder(paths).get("pid")
    end_holder(paths)
    deadline = time.monotonic() + _END_SECONDS
    while not is_free(paths) and read_holder(paths).get("pid") == ended:  # another one may have waited for it
        if time.monotonic() > deadline:
            raise InputError(f"{run}: {holder_in_words(paths)} was killed but has not ended after {_END_SECONDS} s")
        time.sleep(0.05)
