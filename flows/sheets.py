"""Which stage run a contact sheet shows, by the name that a person types."""

from pathlib import Path

from data_registry import benchmark, omni3d, sheet
from data_registry.errors import InputError, nearest
from data_registry.shards import Images
from flows.plan import Plan, read_plan
from tasks import settings

STAGES = ("scenes", "annotate", "benchmark", "data")


def entries(root: Path, name: str, count: int) -> tuple[list[sheet.Entry], str]:
    """The pictures of a set of scenes, a benchmark or a data set, and a line that says what they are.

    Raises:
        InputError: no such stage run in plan.yaml, or it is not computed yet.
    """
    plan, runs = read_plan(root), root / "runs" / settings.load(root).scale
    stage = next((one for one in STAGES if name in plan.entries[one]), None)
    if stage is None:
        known = [known for one in STAGES for known in plan.entries[one]]
        raise InputError(f"plan.yaml: nothing to show is called {name!r}; {nearest(name, known)}")
    folder = _computed(runs, f"{stage}/{name}")
    if stage in ("scenes", "annotate"):
        note = f"The first of {len(Images(folder))} pictures of {stage}/{name}. {sheet.LEGEND}"
        return sheet.of_scenes(folder, count), note
    scenes = folder if any(folder.glob("images-*.parquet")) else _computed(runs, _scenes(plan, stage, name))
    if stage == "data":
        found = sheet.of_conversations(folder / "conversations.parquet", scenes, count)
        return found, f"The first conversations of {name} that have a picture."
    questions = benchmark.read(folder / "questions.parquet")
    found = sheet.of_benchmark(questions, omni3d.read(scenes / "annotations.json"), Images(scenes), count)
    return found, f"The first pictures of {len(questions)} questions; the right option is bold. {sheet.LEGEND}"


def _scenes(plan: Plan, stage: str, name: str) -> str:
    return plan.entries[stage][name]["scenes"]


def _computed(runs: Path, run: str) -> Path:
    folder = runs / run
    if not (folder / "MANIFEST.json").exists():
        stage, _, name = run.partition("/")
        raise InputError(f"{folder}: not computed yet; `python -m tasks.{stage} {name}` or `make roadmap` does it")
    return folder
