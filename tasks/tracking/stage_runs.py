"""A published stage run as every tracker gets it: from its files alone, so that nothing is lost while one is down."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.identity import manifest
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.tracking.recorder import Dataset
from tasks.tracking.tracker import Spec, Tracker, place


def group_of(scale: str) -> str:
    """What every stage run of a scale is listed under."""
    return f"stage runs ({scale})"


def spec_of(settings: Settings, identity: Mapping[str, Any], started: float | None = None) -> Spec:
    """The run of a stage run, known by its identity; `started` in seconds since the epoch, None: now."""
    stage_run = f"{identity['stage']}/{identity['name']}"
    tags = {"stage": identity["stage"], "stage_run": stage_run, "scale": identity["scale"], **place(settings.root)}
    tags |= {"git_commit": commit} if (commit := git_commit(settings.root)) else {}
    wanted = {"identity": manifest.digest_of(identity)}
    return Spec(group_of(settings.scale), stage_run, wanted, flatten(identity), tags, started=started)


def deliver(tracker: Tracker, settings: Settings, stage: str, name: str, read: Iterable[Dataset] = ()) -> str:
    """Bring the run of a published stage run up to date and finish it; returns its id.

    Args:
        read: data sets that the stage run itself has recorded, where it is its own process that delivers.
    """
    out = Paths(settings.root, settings.scale, stage, name).out
    published = manifest.read_manifest(out)
    datasets = {dataset.name: dataset for dataset in [*read_datasets(settings, stage, name), *read]}
    record = _record(settings, stage, name, published["identity"])
    ended = datetime.fromisoformat(record["finished"]).timestamp() if record else None
    started = ended - record["seconds"] if record else None
    run_id, finished = tracker.open(spec_of(settings, published["identity"], started))
    if finished:
        return run_id
    history = out / "history.jsonl"
    lines = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
    curves = {key for line in lines for key in line}
    figures = flatten(json.loads((out / "metrics.json").read_text()))
    # A figure of the whole run that is called like a curve (the mean loss) is no point of it.
    metrics = {f"result.{key}" if key in curves else key: value for key, value in figures.items()}
    metrics |= {f"speed.{key}": value for key, value in record.get("speed", {}).items()}
    tags = {f"environment.{key}": value for key, value in record.get("environment", {}).items()}
    tracker.log(run_id, metrics, lines, tags)
    tracker.link(run_id, datasets.values())
    tracker.finish(run_id, ended=ended)
    return run_id


def _record(settings: Settings, stage: str, name: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What was written down when a published output was computed on this machine; empty where it was not."""
    path = Paths(settings.root, settings.scale, stage, name).record
    record = json.loads(path.read_text()) if path.exists() else {}
    return record if record.get("identity") == manifest.digest_of(identity) else {}


def read_datasets(settings: Settings, stage: str, name: str) -> list[Dataset]:
    """The data sets among a stage run's inputs, from the plan and their manifests."""
    entry = settings.entry(stage, name)
    runs = dict.fromkeys(run for slot in ("data", "benchmark") for run in _listed(entry.get(slot)))
    datasets = []
    for run in runs:
        folder = settings.root / "runs" / settings.scale / run
        published = manifest.read_manifest(folder)
        rows = json.loads((folder / "metrics.json").read_text())
        count = next((rows[key] for key in ("samples", "questions", "rows") if isinstance(rows.get(key), int)), 0)
        datasets.append(Dataset(run.partition("/")[2], published["content"], count))
    return datasets


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            flat |= flatten(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat


def git_commit(root: Path) -> str:
    """The commit that is checked out, or "" outside git."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []
