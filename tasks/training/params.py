"""The keys of params.yaml that every training stage has."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Literal

from data_registry import ranges

if TYPE_CHECKING:
    from model.training.recipe import Recipe


@dataclass(frozen=True)
class TrainParams:
    """Keys that every training stage has in params.yaml; `model.training.recipe.Recipe` explains the others.

    Attributes:
        max_length: most tokens of a sequence; a longer sample is an error that names it.
        isolate_turns: whether each turn attends to the image and itself only.
        turns: turns per row, where they are isolated.
        turns_alike: whether every turn weighs the same in the loss, however long its answer is.
        fraction: share of each data set.
        zero_stage: DeepSpeed's ZeRO stage; 0 trains without DeepSpeed.
        mix: by data set the exact number of samples (a whole number) or a fraction of all (`3di-ft1m: 0.25`); a data
            set that is not named is taken by `fraction`.
        shard_window: of how many shards at a time the samples are mixed, for pictures that come shard by shard from S3;
            0: of all.
        faults: what becomes of a sample without an answer or over the limit, or a loss that is not finite: `stop` ends
            the run with an error that names the sample, `count` goes on without it and lists it in faults.jsonl.
            With DeepSpeed a loss that is not finite ends the run in either case.
    """

    lr: ranges.Positive
    muon_lr: ranges.NotNegative
    optimizer: Literal["adamw", "muon+adamw"]
    global_batch: ranges.Count
    epochs: ranges.Positive
    warmup: ranges.Share
    weight_decay: ranges.NotNegative
    max_length: ranges.Count
    isolate_turns: bool
    turns: ranges.Count
    fraction: ranges.Part
    bf16: bool
    zero_stage: Annotated[int, ranges.Bounds(0, 3)]
    turns_alike: bool = field(default=False, kw_only=True)
    mix: dict[str, ranges.Count | ranges.Part] = field(default_factory=dict, kw_only=True)
    shard_window: ranges.Natural = field(default=0, kw_only=True)
    faults: Literal["stop", "count"] = field(default="stop", kw_only=True)

    def recipe(self) -> "Recipe":
        """The part that the model's training knows."""
        from model.training.recipe import Recipe

        return Recipe(
            **{field_.name: getattr(self, field_.name) for field_ in fields(Recipe) if hasattr(self, field_.name)}
        )
