"""Stage "data": a training set by its name in the paper, as conversations about the training scenes.
`python -m tasks.data NAME`, where NAME is one of data_registry/cards."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from data_registry import conversations, ranges
from data_registry.cards import datasets
from data_registry.cards.kinds import KINDS, Kind, Maker
from data_registry.errors import InputError, nearest
from data_registry.questions.balance import many_small_objects
from data_registry.questions.geometry import Margins
from data_registry.readers import omni3d
from data_registry.scene import Scene
from data_registry.storage import streamed
from tasks.identity.parse import parse
from tasks.sources import given_data, streams
from tasks.sources.left_out import left_out
from tasks.stage.harness import StageRun, main

Records = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Params:
    """params.yaml: data.

    Attributes:
        seed: of this data set; the same in all, since each draws by its own name.
        images: how many of the training scenes, from the first; all where it is null.
        margins: how clear a fact must be.
        recipe: how samples are put together; its keys depend on the data set.
        given: nothing is made of the training scenes; the digest of the sources at `runtime.data.<name>`, LLaVA's JSON
            or annotated scenes with pictures of their own (`tasks.sources.given_data`).
        faults: what becomes of given conversations whose picture does not decode: `stop`, or `count` them and go on.
        stream: the given pictures are shards on S3 and stay there (`tasks.sources.streams`).
    """

    seed: ranges.Seed
    images: ranges.Count | None = None
    margins: Margins = field(default_factory=Margins)
    recipe: dict[str, Any] = field(default_factory=dict)
    given: str | None = None
    faults: Literal["stop", "count"] = "stop"
    stream: bool = False


def compute(run: StageRun) -> dict[str, Any]:
    """Write conversations.parquet; returns counts, also of what was dropped and why."""
    if run.name not in (known := datasets.training_sets()):
        raise InputError(f"plan.yaml: plan.data.{run.name}: unknown data set, {nearest(run.name, known)}")
    p = run.parse(Params)
    if p.given is None:
        if p.stream:
            raise InputError(f"params.yaml: data.{run.scale}: stream is for given pictures, and {run.name} has none")
        return _make(run, p, run.input("scenes") / "annotations.json")
    source = given_data.place(run.runtime, run.name, p.stream)
    at = source.pictures
    pictures = streams.index(at, run.out, run.work, run.progress) if isinstance(at, streamed.Address) else None
    if source.annotations is not None:
        metrics = _make(run, p, source.annotations)
    else:
        if p.images is not None:
            raise InputError(
                f"params.yaml: data.{run.scale}: images: {p.images} counts scenes, and {run.name} is given as "
                "conversations; leave it out, and say how many samples a mix takes (mix)"
            )
        audit = given_data.convert(source, run.name, run.out, p.faults == "count", pictures)
        missing = {"pictures_missing": sorted(set(audit.missing))[:20]} if audit.missing else {}
        dropped = dict(sorted(audit.drops.items()))
        left_out(f"data {run.name}", audit.kept, audit.records, "records", dropped, str(source.conversations))
        parts = {"left_out": dict(audit.left_out)} if audit.left_out else {}
        metrics = {"records": audit.records, "samples": audit.kept, "dropped": dropped, **missing, **parts}
    key = f"{_where(run)}.given"
    used = given_data.used(run.out / "conversations.parquet")
    if pictures is not None:
        return metrics | {"pictures": given_data.match(source, used, pictures, p.given, key)}
    return metrics | {"pictures": given_data.pack(source, used, run.out, p.given, key, run.progress)}


def read_params(name: str, values: dict[str, Any], where: str) -> Params:
    """The parameters of a data set with its recipe, which depends on its kind; raises as `parse`."""
    p = parse(Params, values, where)
    if p.given is None:
        parse(made_by(name)[0], p.recipe, f"{_own_section(name, where)}.recipe")
    return p


def check_sources(run: str, name: str, params: dict[str, Any], runtime: dict[str, Any]) -> None:
    """That the files of a given data set are where params.yaml says; InputError otherwise."""
    if params.get("given") is not None:
        given_data.place(runtime, name, bool(params.get("stream")))


def kind_of(name: str) -> Kind:
    """What a data set is, as its card says."""
    return KINDS[datasets.card(name).kind]


def made_by(name: str) -> tuple[type, Maker]:
    """The class of a data set's recipe, and what makes its records; ValueError where no training reads such sets."""
    if (made := kind_of(name).made) is None:
        raise ValueError(f"{name}: sets of the kind {datasets.card(name).kind} are not made for training")
    return made()


def _where(run: StageRun) -> str:
    return _own_section(run.name, f"params.yaml: data.{run.scale}")


def _own_section(name: str, where: str) -> str:
    """Where the parameters of a data set stand, for messages: its own in params.yaml, or in its card."""
    return f"{name}.yaml: params" if datasets.card(name).params else f"{where}.each.{name}"


def _make(run: StageRun, p: Params, path: Path) -> dict[str, Any]:
    """The data set made of scenes."""
    kind, make = made_by(run.name)
    recipe: Any = parse(kind, p.recipe, f"{_where(run)}.recipe")

    drops: Counter[str] = Counter()
    read: Counter[str] = Counter()
    types: Counter[str] = Counter()
    used = words = 0

    def scenes() -> Iterator[Scene]:
        nonlocal used
        for scene in islice(omni3d.read(path, read), p.images):
            used += 1
            yield scene

    def counted() -> Records:
        nonlocal words
        for item in make(scenes(), run.name, p.seed, recipe, p.margins, drops):
            types.update(item["types"])
            words += sum(len(said["value"].split()) for said in item["conversations"])
            if used % 100 == 0:
                run.progress(used, p.images or read["images"])
            yield item

    with many_small_objects():
        samples = conversations.write(run.out / "conversations.parquet", counted())
    if p.images is not None and used < p.images:
        raise InputError(
            f"{path}: has {used} scenes, but params.yaml: data.{run.scale} asks for images: {p.images}; "
            "lower it, or render more (params.yaml: scenes)"
        )
    without_margins = {reason: n for reason, n in drops.items() if reason.startswith(("image: ", "object: "))}
    reasons = without_margins if samples else drops
    left_out(f"data {run.name}", samples, used, "scenes", {**_reasons(read), **reasons}, str(path))
    run.progress(used, used)
    return {
        "scenes": used,
        "samples": samples,
        "turns": types.total(),
        "words_per_turn": round(words / types.total(), 2),
        "types": dict(sorted(types.items())),
        "read": dict(sorted(read.items())),
        "dropped": dict(sorted(drops.items())),
    }


def _reasons(read: Counter[str]) -> dict[str, int]:
    """Why the reader left out objects."""
    return {f"object: {reason}": n for reason, n in read.items() if reason not in ("images", "objects")}


if __name__ == "__main__":
    main("data", compute)
