"""Which stage run a contact sheet shows, by the name that a person types."""

from functools import partial
from pathlib import Path

from data_registry.benchmark import spatialvqa
from data_registry.errors import InputError, nearest
from data_registry.readers import omni3d
from data_registry.storage.shards import has_images
from data_registry.viewing import sheet
from flows.designs.plan import Plan, read_plan
from tasks.identity import settings
from tasks.sources.streams import open_images

STAGES = ("scenes", "annotate", "benchmark", "data")


def entries(root: Path, name: str, count: int) -> tuple[list[sheet.Entry], str]:
    """The pictures of a set of scenes, a benchmark or a data set, and a line that says what they are.

    Raises:
        InputError: no such stage run in plan.yaml, or it is not computed yet.
    """
    plan, config = read_plan(root), settings.load(root)
    runs, opened = root / "runs" / config.scale, partial(open_images, config.runtime)
    stage = next((stage for stage in STAGES if name in plan.entries[stage]), None)
    if stage is None:
        known = [known for stage in STAGES for known in plan.entries[stage]]
        raise InputError(f"plan.yaml: nothing to show is called {name!r}; {nearest(name, known)}")
    folder = _computed(runs, f"{stage}/{name}")
    if stage in ("scenes", "annotate"):
        images = opened(folder)
        note = f"The first of {len(images)} pictures of {stage}/{name}. {sheet.LEGEND}"
        return sheet.of_scenes(folder, images, count), note
    scenes = folder if has_images(folder) else _computed(runs, _scenes(plan, stage, name))
    images = opened(scenes)
    if stage == "data":
        shown = sheet.of_conversations(folder / "conversations.parquet", scenes, images, count)
        return shown, f"The first conversations of {name} that have a picture."
    questions = spatialvqa.read(folder / "questions.parquet")
    shown = sheet.of_benchmark(questions, omni3d.read(scenes / "annotations.json"), images, count)
    return shown, f"The first pictures of {len(questions)} questions; the right option is bold. {sheet.LEGEND}"


def _scenes(plan: Plan, stage: str, name: str) -> str:
    return plan.entries[stage][name]["scenes"]


def _computed(runs: Path, run: str) -> Path:
    folder = runs / run
    if not (folder / "MANIFEST.json").exists():
        stage, _, name = run.partition("/")
        raise InputError(f"{folder}: not computed yet; `python -m tasks.{stage} {name}` or `make roadmap` does it")
    return folder
