"""Stage `foundation`: a pretrained model to start from. At tiny scale it is trained here; else a package or the hub has
it.
`python -m tasks.foundation NAME` writes a transformers folder, or source.json where the model is on the hub."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tasks.pretraining.hub import HubParams
from tasks.stage.harness import StageRun, main

if TYPE_CHECKING:
    pass


def compute(run: StageRun) -> dict[str, Any]:
    """Train the model, or note where the hub has it."""
    return _note_source(run) if "repo" in run.params else _module(run.name, run.params).compute(run)


def params_kind(name: str, params: dict[str, Any]) -> type:
    """What the parameters of a model are read as: by where it comes from, and what it is."""
    return HubParams if "repo" in params else _module(name, params).Params


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
