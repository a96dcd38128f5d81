"""What a design's model is made of, down to data digests and the git commit, as an entry for a model registry.
Its weights stay in DVC: the registered version says which, and how to bring them back."""

import json
from pathlib import Path
from typing import Any

from flows.designs.design import Design
from flows.designs.plan import Plan
from tasks.identity import manifest, settings
from tasks.identity.paths import Paths
from tasks.tracking.stage_runs import git_commit
from tasks.tracking.tracker import Model


def lineage(root: Path, plan: Plan, design: Design) -> dict[str, Any]:
    """Every stage run behind a design's model with its identity and the digest of its contents."""
    scale = settings.load(root).scale
    runs = {}
    for run in plan.closure([f"instruct/{design.name}"]):
        stage, _, name = run.partition("/")
        published = manifest.read_manifest(Paths(root, scale, stage, name).out)
        runs[run] = {"identity": manifest.digest_of(published["identity"]), "content": published["content"]}
    return {
        "design": design.name,
        "scale": scale,
        "git_commit": git_commit(root),
        "reproduce": f"dvc repro instruct@{design.name}",
        "stage_runs": runs,
    }


def model_of(root: Path, plan: Plan, design: Design) -> Model:
    """A scored design for the model registry, tagged with its score, its data and how to reproduce it."""
    made_of = lineage(root, plan, design)
    metrics = json.loads((Paths(root, made_of["scale"], "score", design.name).out / "metrics.json").read_text())
    runs = made_of["stage_runs"]
    data = {run: of["content"] for run, of in runs.items() if run.startswith(("data/", "scenes/"))}
    tags = {
        **{key: made_of[key] for key in ("design", "git_commit", "reproduce")},
        **{f"data.{run.replace('/', '.')}": content for run, content in data.items()},
        **{f"metric.{key}": str(value) for key, value in metrics.items() if isinstance(value, int | float)},
    }
    return Model(f"spatialllm-{made_of['scale']}", runs[f"instruct/{design.name}"]["content"], made_of, tags)
