"""What a flow records in MLflow: a parent run per roadmap or sweep, a child per design, tags that link to stage runs.
Recording the same results again changes nothing. MLflow that is down costs a warning, never a result."""

import contextlib
import json
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from flows.designs.design import Design
from flows.designs.plan import Plan, design_runs, read_plan
from tasks.identity import manifest, settings
from tasks.identity.paths import Paths
from tasks.tracking.tracker import OWED

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PARENT = "mlflow.parentRunId"


class Tracking:
    """MLflow for one flow; after the first failure it warns once and records nothing more.

    Args:
        warn: called with the warning.
    """

    def __init__(self, root: Path, warn: Any = print) -> None:
        self.root = root
        self._owed_before = (root / OWED).exists()
        self._delivered: int | None = None  # the note's time of change when all was looked for
        self._warn = warn
        self._client: MlflowClient | None = None
        self._down = False

    def owes(self, results: Mapping[str, Any] | None = None) -> bool:
        """Whether anything may be missing in MLflow: a second for what would take five, importing MLflow included."""
        from tasks.tracking import mlflow

        uri = mlflow.tracking_uri(settings.load(self.root))
        gone = uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()
        return self._owed_before or gone or (results is not None and not self._note(uri, results).exists())

    def settle(self, results: Mapping[str, Any] | None = None) -> None:
        """Note that MLflow has everything, unless it was down."""
        from tasks.tracking import mlflow

        if self._down:
            return
        if self._owed_since() == self._delivered:  # nothing was published since
            (self.root / OWED).unlink(missing_ok=True)
        if results is not None:
            note = self._note(mlflow.tracking_uri(settings.load(self.root)), results)
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()

    def _note(self, uri: str, results: Mapping[str, Any]) -> Path:
        return self.root / ".work" / "recorded" / manifest.digest_of({"uri": uri, **results})

    def deliver(self, plan: Plan) -> None:
        """Bring to MLflow every published stage run of a plan and of plan.yaml (what another flow or `dvc repro` left
        owing) that is not there yet, and close what was killed."""
        from tasks.tracking import mlflow

        def work(client: "MlflowClient") -> None:
            since = self._owed_since()
            # This plan too: plan.yaml may have let go of a sweep's trials.
            whole = read_plan(self.root).merge(plan)
            found = settings.Settings(self.root, settings.load(self.root).params, whole.entries)
            known = _finished(client, mlflow.stage_experiment(client, found))
            for run in whole.runs():
                stage, _, name = run.partition("/")
                paths = Paths(found.root, found.scale, stage, name)
                if not (paths.out / manifest.MANIFEST).exists():
                    continue
                if manifest.digest_of(manifest.read_manifest(paths.out)["identity"]) in known:
                    continue
                try:
                    with FileLock(paths.lock, timeout=0):
                        mlflow.deliver(client, found, stage, name)
                except Timeout:
                    pass  # its own process delivers it
                except manifest.Damaged:
                    since = None  # the data that it read is gone: owed until that is back
            self._close_killed(client, found)
            self._delivered = since

        self._try(work)

    def _owed_since(self) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            return (self.root / OWED).stat().st_mtime_ns
        return None

    def parent(
        self, kind: str, title: str, identity: Mapping[str, Any], params: Mapping[str, Any], study: str | None = None
    ) -> str | None:
        """The parent run of a roadmap or sweep, found by its identity or created; None while MLflow is down.

        Args:
            study: of a sweep, which has an experiment of its own; its parent run is open again until it finishes.
        """
        from tasks.tracking import mlflow

        def work(client: "MlflowClient") -> str:
            found = settings.load(self.root)
            title_of_all = f"{kind} {study} ({found.scale})" if study else f"{kind} ({found.scale})"
            where = mlflow.experiment(client, self.root, title_of_all)
            wanted = manifest.digest_of(dict(identity))
            with mlflow.lock(self.root):
                runs = client.search_runs([where], f"tags.identity = '{wanted}'")
                if runs:
                    if study:
                        client.update_run(runs[0].info.run_id, status="RUNNING")
                        client.set_tag(runs[0].info.run_id, mlflow.HOST, socket.gethostname())
                    return runs[0].info.run_id
                tags = {"identity": wanted, "kind": kind, "git_commit": mlflow.git_commit(self.root)}
                tags |= {"study": study, mlflow.HOST: socket.gethostname()} if study else {}
                run = client.create_run(where, run_name=title, tags=tags)
            mlflow.log_params(client, run.info.run_id, params)
            return run.info.run_id

        return self._try(work)

    def child(self, parent: str | None, design: Design, extra: Mapping[str, Any] | None = None) -> str | None:
        """A design's run below its parent: parts as parameters, the score's metrics, its stage runs' ids as tags."""
        from tasks.tracking import mlflow

        def work(client: "MlflowClient") -> str | None:
            found = settings.load(self.root)
            experiment_id = client.get_run(parent).info.experiment_id
            score = Paths(found.root, found.scale, "score", design.name).out
            if not (score / manifest.MANIFEST).exists():
                return None  # of an earlier session, and removed since (`spatialllm gc`); recorded then
            content = manifest.read_manifest(score)["content"]
            query = f"tags.`{_PARENT}` = '{parent}' and tags.design = '{design.name}' and tags.score = '{content}'"
            runs = client.search_runs([experiment_id], query)
            if runs and runs[0].info.status == "FINISHED":
                return runs[0].info.run_id
            tags = {_PARENT: parent, "design": design.name, "score": content, "row": str(design.row or "")}
            for stage, run in design_runs(design).items():
                name = run.partition("/")[2]
                tags[f"stage_run.{stage}"] = mlflow.deliver(client, found, stage, name)
            run_id = runs[0].info.run_id if runs else None
            if run_id is None:
                run_id = client.create_run(experiment_id, run_name=design.name, tags=tags).info.run_id
                mlflow.log_params(client, run_id, {**design_params(design), **(extra or {})})
            metrics = json.loads((score / "metrics.json").read_text())
            mlflow.log_metrics(client, run_id, mlflow.flatten(metrics))
            client.set_terminated(run_id, "FINISHED")
            return run_id

        return self._try(work) if parent else None

    def finish(
        self, parent: str | None, metrics: Mapping[str, Any], files: Iterable[Path] = (), status: str = "FINISHED"
    ) -> None:
        """Close a parent run with its metrics and the files that go with it (the report, the plan).

        Args:
            status: FINISHED, FAILED or KILLED, in MLflow's words.
        """
        from tasks.tracking import mlflow

        def work(client: "MlflowClient") -> None:
            for path in files:
                client.log_artifact(parent, str(path))
            mlflow.log_metrics(client, parent, metrics)
            client.set_terminated(parent, status)

        if parent:
            self._try(work)

    def picture(self, parent: str | None, files: Iterable[Path]) -> None:
        """Attach pictures to a parent run; those of an earlier session are replaced."""

        def work(client: "MlflowClient") -> None:
            for path in files:
                client.log_artifact(parent, str(path), "plots")

        if parent:
            self._try(work)

    def tree(self, parent: str | None) -> dict[str, Any] | None:
        """A parent run as MLflow has it: its metrics, its designs, and the stage runs that these share.

        Returns:
            {"run", "status", "metrics", "designs": [{"run", "design", "status", "metrics", "stage_runs": {stage: run
            id}}], "stage_runs": {run id: {"name", "status", "seconds"}}}; None while MLflow is down.
        """

        def work(client: "MlflowClient") -> dict[str, Any]:
            top = client.get_run(parent)
            children = _pages(client, top.info.experiment_id, f"tags.`{_PARENT}` = '{parent}'")
            designs = [
                {
                    "run": run.info.run_id,
                    "design": run.data.tags["design"],
                    "status": run.info.status,
                    "metrics": {key: value for key, value in sorted(run.data.metrics.items()) if "." not in key},
                    "stage_runs": _stage_runs(run),
                }
                for run in sorted(children, key=lambda run: run.data.tags["design"])
            ]
            shared = sorted({one for design in designs for one in design["stage_runs"].values()})
            return {
                "run": parent,
                "status": top.info.status,
                "metrics": dict(sorted(top.data.metrics.items())),
                "designs": designs,
                "stage_runs": {one: _shape(client.get_run(one)) for one in shared},
            }

        return self._try(work) if parent else None

    def register(self, design: Design, plan: Plan) -> None:
        """Enter a sweep's best design into the model registry, with its lineage."""
        from flows.tracking import model_registry
        from tasks.tracking import mlflow

        def work(client: "MlflowClient") -> str | None:
            found = settings.Settings(self.root, settings.load(self.root).params, plan.entries)
            if not (Paths(self.root, found.scale, "instruct", design.name).out / manifest.MANIFEST).exists():
                return None  # of an earlier session, and removed since; registered then
            run_id = mlflow.deliver(client, found, "instruct", design.name)
            metrics = json.loads((Paths(self.root, found.scale, "score", design.name).out / "metrics.json").read_text())
            numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
            made_of = model_registry.lineage(self.root, plan, design)
            return model_registry.register(client, f"spatialllm-{found.scale}", run_id, made_of, numbers)

        self._try(work)

    def is_finished(self, run_id: str | None) -> bool:
        """Whether a run is there and was closed before."""
        return bool(run_id) and self._try(lambda client: client.get_run(run_id).info.status) == "FINISHED"

    def _close_killed(self, client: "MlflowClient", found: settings.Settings) -> None:
        """Runs left open by a killed stage run whose claim nobody holds now; if it is computed again it goes on."""
        from tasks.tracking import mlflow

        for run in _pages(client, mlflow.stage_experiment(client, found), "attributes.status = 'RUNNING'"):
            if _elsewhere(run):
                continue
            stage, _, name = run.data.tags.get("stage_run", "/").partition("/")
            try:
                with FileLock(Paths(found.root, found.scale, stage, name).lock, timeout=0):
                    client.set_terminated(run.info.run_id, "KILLED")
            except Timeout:
                continue
        self._close_sweeps(client)

    def _close_sweeps(self, client: "MlflowClient") -> None:
        """Parents and children of sweeps that were killed: whoever sweeps has the study's lock."""
        for one in client.search_experiments():
            open_runs = _pages(client, one.experiment_id, "attributes.status = 'RUNNING' and tags.kind = 'sweep'")
            for run in open_runs:
                if _elsewhere(run):
                    continue
                try:
                    with FileLock(self.root / ".locks" / f"sweep.{run.data.tags.get('study')}.lock", timeout=0):
                        query = f"attributes.status = 'RUNNING' and tags.`{_PARENT}` = '{run.info.run_id}'"
                        for child in _pages(client, one.experiment_id, query):
                            client.set_terminated(child.info.run_id, "KILLED")
                        client.set_terminated(run.info.run_id, "KILLED")
                except Timeout:
                    continue

    def _try(self, work: Any) -> Any:
        if self._down:
            return None
        from tasks.tracking import mlflow

        try:
            if self._client is None:
                self._client = mlflow.connect(settings.load(self.root))
            return work(self._client)
        except Exception as error:
            self._down = True
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            self._warn(f"MLflow does not take this ({reason}); results are complete, the next flow delivers them")
            return None


def deliver_owed(root: Path, plan: Plan, warn: Any) -> None:
    """Bring to MLflow what it may not have; arguments as for `Tracking`."""
    tracking = Tracking(root, warn)
    if tracking.owes():
        tracking.deliver(plan)
        tracking.settle()


def design_params(design: Design) -> dict[str, str]:
    """A design's parts as MLflow parameters."""
    parts = {
        "encoders": "+".join(design.encoders) or "blind",
        "llm": design.llm,
        "stage0": design.stage0 or "none",
        "stage1": "+".join(design.stage1) or "none",
        "stage2": "+".join(design.stage2),
    }
    return {**parts, **dict(design.settings)}


def _stage_runs(run: "Run") -> dict[str, str]:
    prefix = "stage_run."
    return {key.removeprefix(prefix): one for key, one in sorted(run.data.tags.items()) if key.startswith(prefix)}


def _elsewhere(run: "Run") -> bool:
    """Whether another machine has opened it: whether it goes on there cannot be told from here."""
    from tasks.tracking import mlflow

    return run.data.tags.get(mlflow.HOST, socket.gethostname()) != socket.gethostname()


def _shape(run: "Run") -> dict[str, Any]:
    seconds = (run.info.end_time - run.info.start_time) / 1000 if run.info.end_time else None
    return {"name": run.info.run_name, "status": run.info.status, "seconds": seconds}


def _finished(client: "MlflowClient", experiment_id: str) -> set[str]:
    """Identities of every finished stage run, so that what is there is not asked for one by one."""
    runs = _pages(client, experiment_id, "attributes.status = 'FINISHED'")
    return {run.data.tags.get("identity", "") for run in runs}


def _pages(client: "MlflowClient", experiment_id: str, query: str) -> list["Run"]:
    runs, token = [], None
    while True:
        page = client.search_runs([experiment_id], query, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs
