"""The stages of the pipeline, one entry each: what plan, costs, the choice of a GPU and documents know of a stage.
A stage is an entry here, a stage of the same name in dvc.yaml, and its sections and version in params.yaml."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from data_registry.errors import InputError, nearest

LIST = 3  # stage runs that a list in plan.yaml holds: DVC's deps cannot be a list, so dvc.yaml names each place of it

Entry = dict[str, Any]  # of plan.yaml: `parts` (what the stage run is), and by slot the stage runs that it reads


class PlannedDesign(Protocol):
    """What a stage from outside may ask of a design (`flows.designs.design.Design`)."""

    @property
    def name(self) -> str: ...

    @property
    def encoders(self) -> tuple[str, ...]: ...

    @property
    def llm(self) -> str: ...

    @property
    def stage2(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class StageSpec:
    """A stage of the pipeline.

    Attributes:
        summary: what it is, in a line.
        guess_s: seconds of a stage run before any is recorded: on one core, at tiny scale.
        gpu: whether it runs networks, and so takes a GPU where the machine has one.
        trains_on: key of the entry's `parts` with the data sets that it trains on; empty where it trains no design.
        metrics: whether `dvc metrics` and `dvc exp show` show its metrics.json.
        slots: those of plan.yaml's entries that hold one stage run.
        lists: those that hold several, and how many of them dvc.yaml reads; shorter ones repeat their first.
        entries: by a design and its own stage runs ({"align": "align/...", "instruct": ..., "score": ...}) the entries
            that it needs of this stage, {name: entry}; for stages from outside, which the plan knows nothing else of.
        params: a dataclass that its section of params.yaml is read as, so that `plan` and `run` check it before
            anything runs; for stages from outside (`tasks.NAME.Params` is found by itself).
    """

    summary: str
    guess_s: float
    gpu: bool = False
    trains_on: str = ""
    metrics: bool = False
    slots: tuple[str, ...] = ()
    lists: Mapping[str, int] = field(default_factory=dict)
    entries: Callable[[PlannedDesign, Mapping[str, str]], dict[str, Entry]] | None = None
    params: type | None = None


# In the order in which they read each other; what is added from outside comes last and may read all of these.
STAGES: dict[str, StageSpec] = {
    "scenes": StageSpec("scenes, rendered or given, with exact 3D ground truth", 60),
    "data": StageSpec("a training set: conversations about the training scenes, or given ones", 15, slots=("scenes",)),
    "benchmark": StageSpec(
        "SpatialVQA: questions about test scenes that no training set has seen", 10, slots=("scenes", "train")
    ),
    "baselines": StageSpec(
        "what SpatialVQA gives to those who do not look",
        5,
        metrics=True,
        slots=("benchmark",),
        lists={"data": LIST},
    ),
    "foundation": StageSpec("a pretrained model that designs start from", 3600, gpu=True),
    "probe": StageSpec(
        "how much of 3D a frozen encoder knows", 20, gpu=True, metrics=True, slots=("encoder", "train", "test")
    ),
    "adapt": StageSpec(
        "stage 0: LoRA on CLIP, by a contrastive or a next-token loss",
        100,
        gpu=True,
        trains_on="data",
        slots=("llm", "scenes"),
        lists={"encoders": 1, "data": 1},
    ),
    "align": StageSpec(
        "stage 1: only the connector trains, on captions",
        80,
        gpu=True,
        trains_on="stage1",
        slots=("llm", "scenes"),
        lists={"encoders": LIST, "data": LIST},
    ),
    "instruct": StageSpec(
        "stage 2: connector and LLM train on conversations",
        80,
        gpu=True,
        trains_on="stage2",
        slots=("align", "llm", "scenes"),
        lists={"encoders": LIST, "data": LIST},
    ),
    "score": StageSpec(
        "a design's accuracy on SpatialVQA",
        20,
        gpu=True,
        metrics=True,
        slots=("instruct", "llm", "benchmark", "scenes"),
        lists={"encoders": LIST},
    ),
    "pose": StageSpec(
        "the head that reads an object's pose from an encoder's features",
        180,
        gpu=True,
        slots=("encoder", "train", "test"),
    ),
    "annotate": StageSpec("in-the-wild pictures as scenes", 600, gpu=True, slots=("encoder", "pose")),
}


def spec(stage: str) -> StageSpec:
    """The entry of a stage.

    Raises:
        InputError: there is none; it names the nearest.
    """
    if stage not in STAGES:
        raise InputError(
            f"unknown stage {stage!r}, {nearest(stage, STAGES)}; one of your own is an entry of tasks.stages.STAGES, "
            "made in a folder that params.yaml names (extensions)"
        )
    return STAGES[stage]


def spec_of(run: str) -> StageSpec:
    """The entry of the stage of "stage/name"."""
    return spec(run.partition("/")[0])


if __name__ == "__main__":  # `python -m tasks.stages`
    for name, stage in STAGES.items():
        print(f"{name:12}{stage.summary}")
