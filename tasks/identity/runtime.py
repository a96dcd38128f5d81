"""The `runtime` section of params.yaml: how stage runs are computed on this machine, and where given files lie.
None of it changes a result, so none of it is part of an identity; null stands for the default of every key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from data_registry.ranges import Bounds, Count, Natural, NotNegative, Positive, Share
from tasks.identity.parse import keys, parse


@dataclass(frozen=True)
class ShardCache:
    """Where shards of pictures on S3 are kept, and how many gigabytes of them."""

    folder: str | None = None
    budget_gb: Positive | None = None


@dataclass(frozen=True)
class Place:
    """Where annotations lie, and the folder or S3 address of their pictures."""

    annotations: str | None = None
    pictures: str | None = None
    endpoint: str | None = None
    signed: bool | None = None


@dataclass(frozen=True)
class ScenesPlace(Place):
    """Where given scenes lie, and which reader reads them (`data_registry.readers.table`); null: Omni3D's."""

    reader: str | None = None


@dataclass(frozen=True)
class DataPlace(Place):
    """Where a given data set lies: pictures, and either conversations or annotations."""

    conversations: str | None = None


@dataclass(frozen=True)
class PicturesPlace:
    """Where pictures to annotate lie."""

    pictures: str | None = None


@dataclass(frozen=True)
class Runtime:
    """Keys of params.yaml: runtime, which explains them."""

    slots: Count | None = None
    gpus: Natural | None = None
    gpus_per_run: Count | None = None
    threads: Count | None = None
    workers: Count | None = None
    batch_per_device: Count | None = None
    data_workers: Natural | None = None
    checkpoint_steps: Count | None = None
    log_steps: Count | None = None
    lease_s: Annotated[float, Bounds(least=1)] | None = None
    dollars_per_hour: NotNegative | None = None
    max_failed: Share | None = None
    feature_budget_gb: NotNegative | None = None
    gradient_checkpointing: bool | None = None
    keep_stopped: bool | None = None
    device: Literal["auto", "cpu", "cuda"] | None = None
    tracking: str | None = None
    trackers: list[str] | None = None
    shard_cache: ShardCache | None = None
    scenes: dict[str, ScenesPlace | list[ScenesPlace] | None] | None = None
    data: dict[str, DataPlace | None] | None = None
    annotate: dict[str, PicturesPlace | None] | None = None


def read_runtime(section: Any, where: str) -> dict[str, Any]:
    """The section as it is, checked, without what is null.

    Raises:
        InputError: an unknown key, a value of the wrong kind or out of its bounds; named after `where`.
    """
    values = keys(section, where)
    parse(Runtime, values, where)
    return _without_null(values)


def _without_null(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_null(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }
