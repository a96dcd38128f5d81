"""Memory of an accelerator, from sizes alone: the least that a design's stage 2 needs, and what a training at paper
scale takes. A sweep skips what cannot fit (`sweep.device_gb`), before anything of it is computed."""

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_registry.errors import InputError
from flows.costs.cost import published
from flows.designs.design import Design
from model import paper_scale
from model.zoo import ENCODERS
from tasks.identity import settings as config
from tasks.identity.settings import Settings, gpus_per_run
from tasks.stages import spec
from tasks.training.machine import ROWS


def memory_gb(root: Path, design: Design) -> float:
    """GB of one accelerator that stage 2 of a design needs at least: weights, gradients and optimizer states.

    Model states as in `model.paper_scale.model_states_gib`, of the encoders and the LLM, whose parameters stage 2
    trains, or adapters on them. Activations come on top, so a design that does not fit by this count cannot fit.

    Raises:
        InputError: a foundation model of unknown size.
    """
    settings = config.load(root)
    section: dict[str, Any] = {**settings.params["instruct"][settings.scale], **design.overrides}
    llm = parameters(settings, design.llm)
    total = llm + sum(parameters(settings, name) for name in design.encoders)
    rank = int(section.get("lora", 0))
    trained = paper_scale.lora_parameters(_architecture(settings, design.llm), rank) if rank else llm
    return _states_gib(settings, section, total, trained) * paper_scale.GIB / 1e9


def training_gib(settings: Settings, run: str) -> float | None:
    """GiB of each A100 that "stage/name" takes: model states and a pass over `runtime.batch_per_device` rows, with
    gradient checkpointing; None for what does not train at paper scale."""
    stage, _, name = run.partition("/")
    if settings.scale != paper_scale.SCALE or not spec(stage).trains_on:
        return None
    section, parts = settings.section(stage, name), settings.entry(stage, name)["parts"]
    encoders, llm = parts["encoders"], parts["llm"]
    if not llm:
        vision = sum(map(paper_scale.encoder_parameters, encoders))
        return _states_gib(settings, section, vision, vision)
    rank = int(section.get("lora", 0))
    sizes = paper_scale.sizes(encoders, llm)
    trained = sizes.trained(stage, paper_scale.lora_parameters(paper_scale.architecture(llm), rank) if rank else 0)
    share = int(section["global_batch"]) // gpus_per_run(settings.runtime, settings.scale)
    rows = min(int(settings.runtime.get("batch_per_device") or ROWS), share)
    text = max(published(name)[1] for name in parts[spec(stage).trains_on])
    passing = paper_scale.activations_gib(llm, rows * (paper_scale.grid_of(encoders) ** 2 + text), rows * text)
    return _states_gib(settings, section, sizes.total, trained) + passing


def _states_gib(settings: Settings, section: Mapping[str, Any], total: int, trained: int) -> float:
    ranks = gpus_per_run(settings.runtime, settings.scale)
    return paper_scale.model_states_gib(total, trained, int(section.get("zero_stage", 0)), ranks)


def memory_check(root: Path, device_gb: float | None) -> Callable[[Design], str | None]:
    """Says why a design cannot fit into `device_gb`; None (always, without a limit) where it may."""
    if device_gb is None:
        return lambda design: None

    def fits(design: Design) -> str | None:
        needed = memory_gb(root, design)
        return f"needs at least {needed:.3g} GB of {device_gb:g}" if needed > device_gb else None

    return fits


def parameters(settings: Settings, model: str) -> int:
    """Number of parameters of a foundation model: of its files where they are there, else of its architecture."""
    folder = _foundation(settings, model)
    files = sorted(folder.rglob("*.safetensors"))
    if files:
        return sum(_elements(path) for path in files)
    if settings.scale == "paper":
        return paper_scale.encoder_parameters(model) if model in ENCODERS else paper_scale.llm_parameters(model)
    raise InputError(f"{folder}: no weights, so the memory of a design cannot be told; `dvc repro foundation@{model}`")


def _architecture(settings: Settings, llm: str) -> dict[str, Any]:
    file = _foundation(settings, llm) / "config.json"
    return json.loads(file.read_text()) if file.exists() else paper_scale.architecture(llm)


def _foundation(settings: Settings, model: str) -> Path:
    return settings.root / "runs" / settings.scale / "foundation" / model


def _elements(path: Path) -> int:
    """Number of values in a safetensors file, from its header."""
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sum(math.prod(tensor["shape"]) for key, tensor in header.items() if key != "__metadata__")
