"""What `dvc metrics`, `dvc plots` and `dvc exp show` show: metrics/dvc.yaml, written with plan.yaml.
Not in dvc.yaml: its top-level sections know no foreach, and DVC refuses outs (with `metrics:`) inside other outs."""

from pathlib import Path
from typing import Any

import yaml

from flows.designs.plan import Plan
from tasks.identity.files import write_text
from tasks.identity.paths import Paths
from tasks.stage.curves import FOLDER, table_of, write_table
from tasks.stages import STAGES

FILE = Path(FOLDER) / "dvc.yaml"
_HEADER = "# Written by `spatialllm` with plan.yaml: what `dvc metrics`, `dvc plots` and `dvc exp show` show.\n"


def write_views(root: Path, scale: str, plan: Plan) -> None:
    """Declare the metrics and curves of a plan's stage runs, unless they are."""
    text = _HEADER + yaml.safe_dump(_views(scale, plan), sort_keys=False, width=10_000)
    path = root / FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def write_tables(root: Path, scale: str, plan: Plan) -> None:
    """The tables of all of a plan's trainings that are there, restored ones too; those of others go."""
    wanted = [Paths(root, scale, *run.split("/", 1)) for run in plan.training_runs()]
    tables = {table_of(paths) for paths in wanted if write_table(paths)}
    for table in (root / FOLDER / scale).glob("*/*.tsv"):
        if table not in tables:
            table.unlink(missing_ok=True)


def _views(scale: str, plan: Plan) -> dict[str, Any]:
    """As DVC reads it; paths are relative to the file's folder."""
    metrics, plots = [], []
    for stage, spec in STAGES.items():
        names = list(plan.entries.get(stage, {}))
        if spec.metrics:
            metrics += [f"../runs/{scale}/{stage}/{name}/metrics.json" for name in names]
        if spec.trains_on and names:
            curves = {f"{scale}/{stage}/{name}.tsv": "loss" for name in names}
            plots.append({f"loss of {stage}": {"x": "step", "y": curves, "x_label": "optimizer step"}})
    return {"metrics": metrics, "plots": plots}
