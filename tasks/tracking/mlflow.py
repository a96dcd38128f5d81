"""MLflow as a tracker: groups are its experiments, links its inputs, tags and registered models."""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tasks.identity.addresses import masked
from tasks.identity.settings import Settings
from tasks.stage import locks
from tasks.tracking import database
from tasks.tracking.recorder import Dataset
from tasks.tracking.tracker import HOST, ROOT, Model, Recorded, Spec, Status, Tracker
from tasks.tracking.views import SHARED, view_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DEFAULT_URI = "sqlite:///mlflow.db"
PARENT = "mlflow.parentRunId"
_LINK = "stage_run."  # tags that name the stage runs of a design
_BATCH = 1000  # metrics per request, MLflow's limit
_PARAMS = 100  # parameters per request, MLflow's limit
_PAGE = 1000


def tracking_uri(settings: Settings) -> str:
    """MLflow's address: MLFLOW_TRACKING_URI, else `runtime.tracking`; SQLite paths count from the repository's root."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or str(settings.runtime.get("tracking") or DEFAULT_URI)
    if database.path_of(uri) is None:
        return uri
    return database.uri_of(settings.root / unquote(uri.removeprefix(database.PREFIX)))


class MlflowTracker(Tracker):
    """MLflow at the address that MLFLOW_TRACKING_URI or params.yaml names.

    Attributes:
        address: MLflow's tracking URI.
        client: its client, once connected.
    """

    client: "MlflowClient"

    def __init__(self, settings: Settings) -> None:
        self._root = settings.root
        self.address = tracking_uri(settings)
        self.database = database.path_of(self.address)
        self._experiments: dict[str, str] = {}
        self._last_steps: dict[str, float] = {}

    def connect(self) -> None:
        """As for `Tracker`; a server that does not answer is given up within seconds.

        Raises:
            Unusable: the local database cannot be mended.
        """
        import logging

        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        if self.database is not None:
            database.prepare(self.database)
        self.client = MlflowClient(tracking_uri=self.address, registry_uri=self.address)
        self.client.search_experiments(max_results=1)

    def open(self, spec: Spec, resume: bool = False) -> tuple[str, bool]:
        experiment = self._experiment(spec.group)
        conditions = [f"tags.`{key}` = '{value}'" for key, value in self._identity(spec).items()]
        oldest_first = ["attributes.start_time ASC"]
        with self._lock():
            runs = self.client.search_runs([experiment], " and ".join(conditions), order_by=oldest_first)
            if runs:
                run = runs[0].info
                if resume:
                    self.client.update_run(run.run_id, status="RUNNING")
                    self.log(run.run_id, tags={key: spec.tags[key] for key in (HOST, ROOT) if key in spec.tags})
                return run.run_id, run.status == "FINISHED"
            tags = {**spec.tags, **self._identity(spec)}
            started = round(1000 * (spec.started or time.time()))
            run_id = self.client.create_run(experiment, started, tags, spec.name).info.run_id
        self._log_params(run_id, spec.params)
        return run_id, False

    def log(
        self,
        run_id: str,
        metrics: Mapping[str, Any] | None = None,
        curves: Sequence[Mapping[str, float]] = (),
        tags: Mapping[str, Any] | None = None,
        files: Iterable[Path] = (),
        folder: str = "",
    ) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        after = self._last_step(run_id, curves)
        numbers = {k: v for k, v in (metrics or {}).items() if isinstance(v, int | float) and not isinstance(v, bool)}
        points = [
            Metric(_key(key), float(value), now, int(line["step"]))
            for line in curves
            if line["step"] > after
            for key, value in line.items()
            if key != "step"
        ] + [Metric(_key(key), float(value), now, 0) for key, value in numbers.items()]
        for start in range(0, len(points), _BATCH):
            self.client.log_batch(run_id, metrics=points[start : start + _BATCH])
        if curves:
            self._last_steps[run_id] = max(after, curves[-1]["step"])
        if tags:
            self.client.log_batch(run_id, tags=[RunTag(_key(key), str(value)) for key, value in tags.items()])
        for path in files:
            self.client.log_artifact(run_id, str(path), folder or None)

    def finish(self, run_id: str, status: Status = "FINISHED", ended: float | None = None) -> None:
        self.client.set_terminated(run_id, status, None if ended is None else round(1000 * ended))

    def link(
        self,
        run_id: str,
        datasets: Iterable[Dataset] = (),
        stage_runs: Mapping[str, str] | None = None,
        model: Model | None = None,
    ) -> None:
        inputs = [_input(dataset) for dataset in datasets]
        if inputs:
            with self._lock():  # two sweeps that end at once may both be the first with a data set
                self.client.log_inputs(run_id, inputs)
        if stage_runs:
            self.log(run_id, tags={f"{_LINK}{stage}": linked for stage, linked in stage_runs.items()})
        if model:
            self._register(run_id, model)

    def find(
        self,
        group: str | None = None,
        status: Status | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
    ) -> list[Recorded]:
        conditions = [f"tags.`{key}` = '{value}'" for key, value in (tags or {}).items()]
        conditions += [f"attributes.status = '{status}'"] if status else []
        conditions += [f"tags.`{PARENT}` = '{parent}'"] if parent else []
        names = {group: self._experiment(group)} if group else self._all_experiments()
        recorded: list[Recorded] = []
        for name, experiment in names.items():
            recorded += [_recorded(run, name) for run in self._pages(experiment, " and ".join(conditions))]
        return recorded

    def read(self, run_id: str) -> Recorded:
        return _recorded(self.client.get_run(run_id), "")

    def remedy(self, error: Exception) -> str | None:
        if isinstance(error, database.Unusable):
            return str(error)
        if isinstance(error, ModuleNotFoundError):
            return f"install {error.name}, which the address {masked(self.address)} asks for"
        text = str(error)
        if "Invalid Host" in text or "DNS rebinding" in text:
            return "start MLflow's server with --allowed-hosts"
        if any(f"error code {code}" in text or f"code {code} " in text for code in (401, 403)):
            return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user who may write there"
        if "error code 404" in text or "UnsupportedModelRegistryStoreURI" in type(error).__name__:
            return f"MLFLOW_TRACKING_URI ({masked(self.address)}) is no MLflow server: correct it"
        if self.refuses_run(error):
            return "bring MLflow's server to the version that this project uses; it refuses a value of this run"
        return None

    def refuses_run(self, error: Exception) -> bool:
        return getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE"

    def _identity(self, spec: Spec) -> dict[str, str]:
        return {**spec.identity, **({PARENT: spec.parent} if spec.parent else {})}

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Held while something is looked for and made if it is not there."""
        if self.database is not None:
            with database.lock_of(self.database):
                yield
            return
        with locks.hold(self._root / ".locks" / "mlflow.lock", "look something up in MLflow and make it"):
            yield

    def _experiment(self, name: str) -> str:
        """The id of an experiment, made if there is none, with the view of its runs that answers its question."""
        if name not in self._experiments:
            with self._lock():
                known = self.client.get_experiment_by_name(name)
                if known is None:
                    place = database.artifacts_of(self.database) if self.database is not None else None
                    tags = {SHARED: json.dumps(view_of(name))}
                    self._experiments[name] = self.client.create_experiment(name, place, tags)
                else:
                    self._experiments[name] = known.experiment_id
        return self._experiments[name]

    def _all_experiments(self) -> dict[str, str]:
        names: dict[str, str] = {}
        token = None
        while True:
            page = self.client.search_experiments(max_results=_PAGE, page_token=token)
            names |= {experiment.name: experiment.experiment_id for experiment in page}
            token = page.token
            if not token:
                return names

    def _pages(self, experiment: str, query: str) -> Iterator["Run"]:
        token = None
        while True:
            page = self.client.search_runs([experiment], query, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _last_step(self, run_id: str, curves: Sequence[Mapping[str, float]]) -> float:
        """The last step that MLflow has of a run's curves, -inf for none."""
        if run_id not in self._last_steps:
            key = next((key for line in curves[:1] for key in line if key != "step"), None)
            points = self.client.get_metric_history(run_id, _key(key)) if key else []
            last = max((point.step for point in points), default=float("-inf"))
            if not key:
                return last
            self._last_steps[run_id] = last
        return self._last_steps[run_id]

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """They can never change, so this is for new runs only."""
        from mlflow.entities import Param

        entries = [Param(_key(key), str(value)[:6000]) for key, value in params.items()]
        for start in range(0, len(entries), _PARAMS):
            self.client.log_batch(run_id, params=entries[start : start + _PARAMS])

    def _register(self, run_id: str, model: Model) -> None:
        """A version of a registered model for these weights, made if there is none."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(model.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        for version in self.client.search_model_versions(f"name = '{model.name}'"):
            if version.tags.get("content") == model.content:
                return
        self.client.log_dict(run_id, dict(model.lineage), "model/lineage.json")
        source = f"{self.client.get_run(run_id).info.artifact_uri}/model"
        tags = {**model.tags, "content": model.content}
        self.client.create_model_version(model.name, source, run_id=run_id, tags=tags)


def _input(dataset: Dataset) -> Any:
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    entity = Entity(
        name=dataset.name,
        digest=dataset.digest[:32],
        source_type="dvc",
        source=json.dumps({"digest": dataset.digest}),
        profile=json.dumps({"num_rows": dataset.rows}),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "input")])


def _recorded(run: "Run", group: str) -> Recorded:
    ended = run.info.end_time / 1000 if run.info.end_time else None
    return Recorded(
        run.info.run_id,
        group,
        run.info.run_name,
        run.info.status,
        run.data.tags,
        run.data.metrics,
        run.info.start_time / 1000,
        ended,
        {key.removeprefix(_LINK): linked for key, linked in sorted(run.data.tags.items()) if key.startswith(_LINK)},
    )


def _key(name: str) -> str:
    # MLflow allows letters, digits, and _ - . / : and spaces.
    return "".join(c if c.isalnum() or c in "_-./: " else "-" for c in name)
