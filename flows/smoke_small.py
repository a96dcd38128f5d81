"""The small scale in two minutes on a CPU: EfficientNet-Lite0 and SmolLM2-135M with their real weights, a handful of
rendered scenes, a few steps of stages 1 and 2, and one question about a scene that neither saw. For `make smoke-small`.

It runs the stages' own code in a project of its own (.cache/smoke-small), whose params.yaml is this one's small
section with fewer scenes and steps. It shows that all parts work together; so few steps teach no geometry."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from data_registry.errors import InputError
from data_registry.readers import omni3d
from data_registry.scene import Scene, required
from flows.designs.design import parse
from flows.designs.plan import plan_of, write_plan
from tasks import align, data, foundation, instruct, scenes
from tasks.identity import settings
from tasks.stage.harness import Metrics, StageRun, execute

DESIGN = "efficientnet-lite0_smollm2-135m_cc558k_3di-ft1m"
FOLDER = Path(".cache/smoke-small")
COMPUTE: dict[str, Callable[[StageRun], Metrics]] = {
    "scenes": scenes.compute,
    "data": data.compute,
    "foundation": foundation.compute,
    "align": align.compute,
    "instruct": instruct.compute,
}


def shrunk(params: dict[str, Any]) -> dict[str, Any]:
    """params.yaml at small scale with few scenes, small batches and, by them, about four steps in each stage."""
    made = {key: params[key] for key in ("seed", "versions")} | {"scale": "small"}
    for stage in COMPUTE:
        made[stage] = {"small": params[stage]["small"]}
    made["runtime"] = {**params["runtime"], "device": "cpu", "log_steps": 1, "checkpoint_steps": 0}
    for split, images in (("train", 16), ("test", 8)):
        made["scenes"]["small"]["each"][split]["images"] = images
    # As few pictures as here tell no words from each other.
    made["align"]["small"] |= {"global_batch": 4, "turns": 2, "start": "random"}
    made["instruct"]["small"] |= {"global_batch": 2, "turns": 2, "fraction": 0.5, "epochs": 0.25}
    return made


def question(scene: Scene) -> tuple[str, tuple[str, str], int] | None:
    """Which of two objects is closer, its options and the index of the right one; None where no pair is clear."""
    names = [obj.name for obj in scene.objects]
    known = [obj for obj in scene.objects if obj.center is not None and names.count(obj.name) == 1]
    known.sort(key=lambda obj: float((required(obj.center) ** 2).sum()))
    if len(known) < 2:
        return None
    pair = sorted((known[0], known[-1]), key=lambda obj: obj.name)
    options = (f"the {pair[0].name}", f"the {pair[1].name}")
    return f"Which is closer to the viewer, {options[0]} or {options[1]}?", options, pair.index(known[0])


def main() -> None:
    """Run it; prints a line per stage, the curve's ends, the question, the answers and the truth."""
    started = time.time()
    root = Path.cwd()
    made = shrunk(settings.load(root).params)
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / settings.PARAMS_FILE).write_text(yaml.safe_dump(made, sort_keys=False))
    design = parse(DESIGN)
    plan = plan_of([design])
    wanted = [run for run in plan.closure([f"instruct/{DESIGN}", "scenes/test"]) if run.partition("/")[0] in COMPUTE]
    write_plan(folder, plan)
    os.chdir(folder)  # features are cached beside the runs
    for run in wanted:
        stage, _, name = run.partition("/")
        execute(stage, name, COMPUTE[stage], folder)
    out = folder / "runs" / "small"
    for stage, name in (("align", "_".join(DESIGN.split("_")[:3])), ("instruct", DESIGN)):
        history = [json.loads(line) for line in (out / stage / name / "history.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in history if "loss" in line]
        print(f"{stage}: loss {losses[0]:.3f} at the first of {len(losses)} steps, {losses[-1]:.3f} at the last")
    _answer(out)
    print(f"{time.time() - started:.0f} s in all")


def _answer(out: Path) -> None:
    from PIL import Image

    from data_registry.storage.shards import Images
    from tasks.use.ask import ask

    images = Images(out / "scenes" / "test")
    for scene in omni3d.read(out / "scenes" / "test" / "annotations.json"):
        asked = question(scene)
        if asked is not None:
            break
    else:
        raise InputError(f"{out}/scenes/test: no scene with two objects of different names")
    text, options, right = asked
    picture = out / "asked.png"
    Image.fromarray(images[scene.image]).save(picture)
    chosen = ask(out / "instruct" / DESIGN, picture, f"{text} A. {options[0]} B. {options[1]}")
    in_words = ask(out / "instruct" / DESIGN, picture, text)
    shares = ", ".join(f"{o} {p:.0%}" for o, p in zip(chosen.options, chosen.probabilities, strict=True))
    print(f"\n{picture}\nQ: {text}\nA by option letters: {chosen.text} ({shares})\nA in words: {in_words.text}")
    print(f"Truth: {options[right]}")


if __name__ == "__main__":
    main()
