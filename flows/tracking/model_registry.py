"""The best design of a sweep in MLflow's model registry, with its lineage down to data digests and the git commit.
Its weights stay in DVC: the registered version says which, and how to bring them back."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.designs.design import Design
from flows.designs.plan import Plan
from tasks.identity import manifest, settings
from tasks.identity.paths import Paths

if TYPE_CHECKING:
    from mlflow import MlflowClient


def lineage(root: Path, plan: Plan, design: Design) -> dict[str, Any]:
    """What a design's model is made of: every stage run behind it with its identity and the digest of its contents."""
    from tasks.tracking import mlflow

    found = settings.load(root)
    runs = {}
    for run in plan.closure([f"instruct/{design.name}"]):
        stage, _, name = run.partition("/")
        published = manifest.read_manifest(Paths(root, found.scale, stage, name).out)
        runs[run] = {"identity": manifest.digest_of(published["identity"]), "content": published["content"]}
    return {
        "design": design.name,
        "scale": found.scale,
        "git_commit": mlflow.git_commit(root),
        "reproduce": f"dvc repro instruct@{design.name}",
        "stage_runs": runs,
    }


def register(
    client: "MlflowClient", name: str, run_id: str, made_of: Mapping[str, Any], metrics: Mapping[str, Any]
) -> str:
    """A version of a registered model for this lineage, created if there is none; returns its number.

    Args:
        name: of the registered model.
        run_id: the MLflow run of the design's stage 2; its artifact `model/lineage.json` is the version's source.
    """
    from mlflow.exceptions import MlflowException

    model = f"instruct/{made_of['design']}"
    content = made_of["stage_runs"][model]["content"]
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get("content") == content:
            return version.version
    client.log_dict(run_id, dict(made_of), "model/lineage.json")
    data = {run: one["content"] for run, one in made_of["stage_runs"].items() if run.startswith(("data/", "scenes/"))}
    tags = {
        "design": made_of["design"],
        "content": content,
        "git_commit": made_of["git_commit"],
        "reproduce": made_of["reproduce"],
        **{f"data.{run.replace('/', '.')}": one for run, one in data.items()},
        **{f"metric.{key}": str(value) for key, value in metrics.items()},
    }
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    return client.create_model_version(name, source, run_id=run_id, tags=tags).version
