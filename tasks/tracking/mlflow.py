"""One MLflow run per stage run, found again by its identity: never twice, resumed after a kill, if need be late.
Everything can be written from the published files, so nothing is lost while MLflow is down."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.identity import manifest
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.tracking.tracker import Dataset, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_URI = "sqlite:///mlflow.db"
HOST = "host"  # tag: where a run is open; machines that share MLflow do not see each other's locks
FLUSH_SECONDS = 5.0
PATIENCE_SECONDS = 30.0  # at the end of a stage run, for a server that does not answer
_BATCH = 1000  # metrics per request, MLflow's limit
_PARAMS = 100  # parameters per request, MLflow's limit


def tracking_uri(found: Settings) -> str:
    """MLflow's address: MLFLOW_TRACKING_URI, else `runtime.tracking`; SQLite paths count from the repository's root."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or str(found.runtime.get("tracking") or DEFAULT_URI)
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.removeprefix(prefix).startswith("/"):
        return f"{prefix}{found.root / uri.removeprefix(prefix)}"
    return uri


def connect(found: Settings) -> "MlflowClient":
    """A client whose database exists (several processes creating it at once fail) and which gives up within seconds."""
    import logging

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = tracking_uri(found)
    with lock(found.root):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


def lock(root: Path) -> Any:
    """Held while something is looked for in MLflow and created if it is not there."""
    from filelock import FileLock

    path = root / ".locks" / "mlflow.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def experiment(client: "MlflowClient", root: Path, name: str) -> str:
    """The id of an experiment, created if there is none; artifacts lie in mlartifacts/ when the database is local."""
    with lock(root):
        known = client.get_experiment_by_name(name)
        if known is not None:
            return known.experiment_id
        local = str(client.tracking_uri).startswith("sqlite:")
        return client.create_experiment(name, artifact_location=(root / "mlartifacts").as_uri() if local else None)


def stage_experiment(client: "MlflowClient", found: Settings) -> str:
    """The experiment that holds every stage run of a scale."""
    return experiment(client, found.root, f"stage runs ({found.scale})")


def open_run(
    client: "MlflowClient", found: Settings, identity: Mapping[str, Any], started: float | None = None
) -> tuple[str, bool]:
    """The MLflow run of a stage run by its identity: (run id, whether it is finished); created if there is none.

    Args:
        started: seconds since the epoch, of a new run; default: now.
    """
    wanted = manifest.digest_of(identity)
    where = stage_experiment(client, found)
    stage_run = f"{identity['stage']}/{identity['name']}"
    with lock(found.root):
        runs = client.search_runs([where], f"tags.identity = '{wanted}'", order_by=["attributes.start_time ASC"])
        if runs:
            run = runs[0]
            return run.info.run_id, run.info.status == "FINISHED"
        tags = {"identity": wanted, "stage": identity["stage"], "stage_run": stage_run, "scale": identity["scale"]}
        commit = git_commit(found.root)
        tags |= {"git_commit": commit} if commit else {}
        run = client.create_run(where, round(1000 * (started or time.time())), tags, stage_run)
    log_params(client, run.info.run_id, flatten(identity))
    return run.info.run_id, False


def deliver(client: "MlflowClient", found: Settings, stage: str, name: str, tracker: Tracker | None = None) -> str:
    """Bring a published stage run's MLflow run up to date from its files and finish it; returns its run id."""
    out = Paths(found.root, found.scale, stage, name).out
    published = manifest.read_manifest(out)
    recorded = {one.name: one for one in read_datasets(found, stage, name)} | (tracker.datasets if tracker else {})
    record = _record(found, stage, name, published["identity"])
    ended = datetime.fromisoformat(record["finished"]).timestamp() if record else None
    started = ended - record["seconds"] if record else None
    run_id, finished = open_run(client, found, published["identity"], started)
    if finished:
        return run_id
    history = out / "history.jsonl"
    lines = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
    log_history(client, run_id, lines, last_step(client, run_id, lines))
    curves = {key for line in lines for key in line}
    figures = flatten(json.loads((out / "metrics.json").read_text()))
    # A figure of the whole run that is called like a curve (the mean loss) is no point of it.
    log_metrics(client, run_id, {f"result.{key}" if key in curves else key: one for key, one in figures.items()})
    log_metrics(client, run_id, {f"speed.{key}": one for key, one in record.get("speed", {}).items()})
    log_tags(client, run_id, {f"environment.{key}": one for key, one in record.get("environment", {}).items()})
    with lock(found.root):  # two sweeps that end at once may both be the first with a data set
        log_datasets(client, run_id, recorded.values())
    client.set_terminated(run_id, "FINISHED", ended and round(1000 * ended))
    return run_id


def _record(found: Settings, stage: str, name: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What was noted when a published output was computed on this machine; empty where it was not."""
    path = Paths(found.root, found.scale, stage, name).record
    record = json.loads(path.read_text()) if path.exists() else {}
    return record if record.get("identity") == manifest.digest_of(identity) else {}


def read_datasets(found: Settings, stage: str, name: str) -> list[Dataset]:
    """The data sets among a stage run's inputs, from the plan and their manifests."""
    entry = found.entry(stage, name)
    runs = dict.fromkeys(one for slot in ("data", "benchmark") for one in _listed(entry.get(slot)))
    datasets = []
    for run in runs:
        folder = found.root / "runs" / found.scale / run
        published = manifest.read_manifest(folder)
        rows = json.loads((folder / "metrics.json").read_text())
        count = next((rows[key] for key in ("samples", "questions", "rows") if isinstance(rows.get(key), int)), 0)
        datasets.append(Dataset(run.partition("/")[2], published["content"], count))
    return datasets


def log_history(client: "MlflowClient", run_id: str, lines: list[dict[str, float]], after: float) -> None:
    """Write the curves' points past a step, in batches."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [
        Metric(key, float(value), now, int(line["step"]))
        for line in lines
        if line["step"] > after
        for key, value in line.items()
        if key != "step"
    ]
    for start in range(0, len(points), _BATCH):
        client.log_batch(run_id, metrics=points[start : start + _BATCH])


def last_step(client: "MlflowClient", run_id: str, lines: list[dict[str, float]]) -> float:
    """The last step that MLflow has, -inf for none."""
    key = next((key for line in lines[:1] for key in line if key != "step"), None)
    points = client.get_metric_history(run_id, key) if key else []
    return max((point.step for point in points), default=float("-inf"))


def log_metrics(client: "MlflowClient", run_id: str, metrics: Mapping[str, Any]) -> None:
    """Write final metrics; what is not a number is left to the files."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    points = [Metric(_key(key), float(value), now, 0) for key, value in numbers.items()]
    for start in range(0, len(points), _BATCH):
        client.log_batch(run_id, metrics=points[start : start + _BATCH])


def log_params(client: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    """Write parameters; they can never change, so this is for new runs only."""
    from mlflow.entities import Param

    entries = [Param(_key(key), str(value)[:6000]) for key, value in params.items()]
    for start in range(0, len(entries), _PARAMS):
        client.log_batch(run_id, params=entries[start : start + _PARAMS])


def log_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, Any]) -> None:
    """Write tags in one request."""
    from mlflow.entities import RunTag

    if tags:
        client.log_batch(run_id, tags=[RunTag(_key(key), str(value)) for key, value in tags.items()])


def log_datasets(client: "MlflowClient", run_id: str, datasets: Any) -> None:
    """Link the data sets that were read."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Entity(
                name=one.name,
                digest=one.digest[:32],
                source_type="dvc",
                source=json.dumps({"digest": one.digest}),
                profile=json.dumps({"num_rows": one.rows}),
            ),
            [InputTag("mlflow.data.context", "input")],
        )
        for one in datasets
    ]
    if inputs:
        client.log_inputs(run_id, inputs)


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, one in value.items():
        if isinstance(one, Mapping):
            flat |= flatten(one, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = one
    return flat


def git_commit(root: Path) -> str:
    """The commit that is checked out, or "" outside git."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


class Live(threading.Thread):
    """Streams one stage run's curves to MLflow while it trains. Its failure is one warning, never the training's.

    Args:
        identity: of the stage run.
        tracker: where the curves come from.
        started: seconds since the epoch.
    """

    def __init__(self, found: Settings, identity: Mapping[str, Any], tracker: Tracker, started: float) -> None:
        super().__init__(name="mlflow", daemon=True)
        self._found, self._identity, self._tracker, self._began = found, identity, tracker, started
        self._over = threading.Event()
        self._importing = True
        self._published = False

    def run(self) -> None:
        try:
            import mlflow  # noqa: F401  seconds; a stage run that is over by then is left to the flow

            self._importing = False
            if self._over.is_set():
                return
            client = connect(self._found)
            run_id, finished = open_run(client, self._found, self._identity, self._began)
            if finished:  # computed again, e.g. after its output was damaged: MLflow has it already
                return
            client.update_run(run_id, status="RUNNING")  # a killed one goes on
            client.set_tag(run_id, HOST, socket.gethostname())
            after = last_step(client, run_id, self._tracker.lines)
            while True:
                over = self._over.wait(FLUSH_SECONDS)
                lines = self._tracker.lines
                log_history(client, run_id, lines, after)
                after = max([after, *(line["step"] for line in lines)])
                if over:
                    break
            if self._published:
                deliver(client, self._found, self._identity["stage"], self._identity["name"], self._tracker)
            else:
                client.set_terminated(run_id, "FAILED")
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            print(
                f"warning: MLflow ({tracking_uri(self._found)}) does not take this run: {reason[0][:300]}. "
                "history.jsonl has everything; the next flow delivers it",
                file=sys.stderr,
                flush=True,
            )

    def finish(self, published: bool) -> None:
        """Deliver the rest, but do not wait for a dead server for long."""
        self._published = published
        self._over.set()
        if not self._importing:
            self.join(PATIENCE_SECONDS)


def _key(name: str) -> str:
    # MLflow allows letters, digits, and _ - . / : and spaces.
    return "".join(c if c.isalnum() or c in "_-./: " else "-" for c in name)


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []
