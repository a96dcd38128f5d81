"""How MLflow's page of an experiment's runs opens: which runs, which columns, in which order.

MLflow reads such a view from a tag of the experiment when its address has `viewStateShareKey`, as its own button
"Share" writes it (mlflow/mlflow: useSharedExperimentViewState.tsx, 3.17)."""

from typing import Any

KEY = "designs"
SHARED = f"mlflow.sharedViewState.{KEY}"
_PARTS = ("encoders", "llm", "stage0", "stage1", "stage2")
_SCORES = ("average", "distance", "orientation", "relation")


def view_of(experiment: str) -> dict[str, Any]:
    """The view of an experiment by its name: of a roadmap or a sweep the designs, best first; else the latest runs."""
    if experiment.startswith(("roadmap", "sweep")):
        return {
            "searchFilter": "tags.design LIKE '%'",  # parents are folded away, so that designs stand in one order
            "orderByKey": "metrics.`average`",
            "orderByAsc": False,
            "selectedColumns": [*(f"metrics.`{name}`" for name in _SCORES), *(f"params.`{name}`" for name in _PARTS)],
        }
    return {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": ["attributes.`Created`", "attributes.`Duration`", "attributes.`Dataset`", "tags.`stage`"],
    }


def page_of(address: str, experiment_id: str) -> str:
    """The page of an experiment's runs, with its view."""
    return f"{address}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"
