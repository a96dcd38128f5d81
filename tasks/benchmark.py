"""Stage "benchmark": questions about the test scenes, with proof that no image of them is in the training scenes.
`python -m tasks.benchmark NAME`, where NAME is one of `data_registry.benchmark.table.BENCHMARKS` (spatialvqa)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from data_registry import ranges
from data_registry.benchmark import spatialvqa, variants
from data_registry.benchmark.table import builder
from data_registry.errors import InputError
from data_registry.questions.balance import many_small_objects
from data_registry.questions.geometry import Margins
from data_registry.readers import omni3d
from data_registry.scene import Scene
from data_registry.storage.shards import Images
from data_registry.viewing import sheet
from tasks.identity.files import write_json
from tasks.sources.streams import open_images
from tasks.stage.harness import StageRun, main


@dataclass(frozen=True)
class Params:
    """params.yaml: benchmark.

    Attributes:
        seed: of the choice among all questions that the scenes support.
        questions: how many of each class.
        per_image: most questions of one image.
        margins: how clear a fact must be.
        variants: also write variants.parquet (CircularEval, FlipEval), datasheet.json and contact.html.
        sheet: pictures of the contact sheet.
    """

    seed: ranges.Seed
    questions: spatialvqa.Quotas = field(default_factory=spatialvqa.Quotas)
    per_image: ranges.Count = 3
    margins: Margins = field(default_factory=Margins)
    variants: bool = False
    sheet: ranges.Natural = 60


def compute(run: StageRun) -> dict[str, Any]:
    """Write questions.parquet; returns counts, also of what was dropped and why."""
    p = run.parse(Params)
    test, train = run.input("scenes"), run.input("train")
    read: Counter[str] = Counter()
    drops: Counter[str] = Counter()
    scenes = list(omni3d.read(test / "annotations.json", read))
    with many_small_objects():
        questions = builder(run.name)(scenes, p.questions, p.per_image, p.margins, p.seed, drops)

    used = sorted({q.image for q in questions})
    train_images = open_images(run.runtime, train)
    if shared := spatialvqa.shared_images(
        _encoded(open_images(run.runtime, test), used), _encoded(train_images, train_images)
    ):
        (ours, theirs), *_ = shared
        raise InputError(
            f"{test}: {len(shared)} of its images are also in {train}, e.g. {ours} is {theirs}; "
            "give the splits different seeds (params.yaml: scenes)"
        )
    spatialvqa.write(run.out / "questions.parquet", questions)
    counted = _write_variants(run, p, questions, scenes) if p.variants else {}
    run.progress(len(questions), len(questions))
    return {
        "questions": len(questions),
        "images": len(used),
        "scenes": len(scenes),
        "images_shared_with_training": 0,
        "training_images_compared": len(train_images),
        "asked_for": asdict(p.questions),
        "types": dict(sorted(Counter(q.type for q in questions).items())),
        "answers": dict(sorted(Counter("AB"[q.answer] for q in questions).items())),
        "read": dict(sorted(read.items())),
        "dropped": dict(sorted(drops.items())),
        **counted,
    }


def _write_variants(
    run: StageRun, p: Params, questions: list[spatialvqa.Question], scenes: list[Scene]
) -> dict[str, Any]:
    """What stands beside the questions; returns how many variants there are of each kind."""
    made = variants.build(questions, scenes, p.margins)
    variants.write(run.out / variants.FILE, made)
    facts = variants.datasheet(questions, made, {scene.image: scene.source for scene in scenes})
    write_json(run.out / "datasheet.json", facts)
    folder = run.input("scenes")
    sheet.write_benchmark(run.out / "contact.html", run.out, folder, open_images(run.runtime, folder), p.sheet)
    return {"variants": facts["variants"]}


def _encoded(images: Images, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for key in keys:
        yield key, images.encoded(key)


if __name__ == "__main__":
    main("benchmark", compute)
