"""Stage `foundation`: a pretrained model to start from. At tiny scale it is trained here; else a package or the hub has
it.
`python -m tasks.foundation NAME` writes a transformers folder, or source.json where the model is on the hub."""

import json
from dataclasses import asdict
from typing import Any

from tasks.identity.parse import parse
from tasks.pretraining.hub import HubParams
from tasks.stage.harness import StageRun, main


def compute(run: StageRun) -> dict[str, Any]:
    """Train the model, or note where the hub has it."""
    return _note_source(run) if "repo" in run.params else _module(run.name, run.params).compute(run)


def read_params(name: str, values: dict[str, Any], where: str) -> Any:
    """The parameters of a model, by where it comes from and what it is; raises as `parse`."""
    return parse(HubParams if "repo" in values else _module(name, values).Params, values, where)


def _module(name: str, params: dict[str, Any]) -> Any:
    from model.zoo import LLMS
    from tasks.pretraining import language, packages, vision

    if "package" in params:
        return packages
    return language if name in LLMS else vision


def _note_source(run: StageRun) -> dict[str, Any]:
    source = asdict(run.parse(HubParams))
    (run.out / "source.json").write_text(json.dumps(source, indent=1) + "\n")
    return source


if __name__ == "__main__":
    main("foundation", compute)
