"""The files of a scored study, as the stages write them, without a stage."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from data_registry.paper import CLASSES, TABLE_2
from data_registry.storage import shards
from tasks.report import Entry

TYPES = {
    "distance": ["closer_to_camera", "closer_to", "distance_order"],
    "orientation": ["facing", "same_direction", "front_side"],
    "relation": ["left_of", "in_front_of", "above"],
}


BLIND = "blind_llama3-8b_mix665k+3di-ft1m"


ROADMAP = [row for row in TABLE_2 if row.roadmap]


def entry(row) -> Entry:
    fields = ["+".join(row.encoders), row.llm, row.stage0, "+".join(row.stage1), "+".join(row.stage2)]
    design = {
        "encoders": list(row.encoders),
        "llm": row.llm,
        "stage0": row.stage0 or None,
        "stage1": list(row.stage1),
        "stage2": list(row.stage2),
    }
    return Entry("_".join(filter(None, fields)), design, row.row)


def write_benchmark(root: Path, per_class=(60, 45, 75), images=70) -> pd.DataFrame:
    """A benchmark with its pictures and annotations, in the files that the stages write."""
    rng = np.random.default_rng(1)
    rows = []
    for name, count in zip(CLASSES, per_class):
        for index in range(count):
            image = f"test/{rng.integers(images):06d}.jpg"
            options = ["the red <car>", "the mug & spoon"] if index % 3 else ["left", "right", "behind", "in front"]
            rows.append(
                {
                    "id": f"{rng.integers(16**8):08x}",
                    "image": image,
                    "question": f"Which is {name} number {index}, the <car> or the mug?",
                    "options": options,
                    "answer": int(rng.integers(len(options))),
                    "type": TYPES[name][index % 3],
                    "class": name,
                    "names": ["car", "mug"],
                    "objects": [1, 2],
                    "boxes": [[10.0, 20.0, 40.0, 60.0], [50.0, 40.0, 80.0, 70.0]],
                }
            )
    questions = pd.DataFrame(rows)
    folder = root / "runs/tiny/benchmark/spatialvqa"
    folder.mkdir(parents=True)
    questions.to_parquet(folder / "questions.parquet")

    scenes = root / "runs/tiny/scenes/test"
    scenes.mkdir(parents=True)
    names = [f"test/{index:06d}.jpg" for index in range(images)]
    with shards.Writer(scenes, max_rows=images // 2) as writer:
        for index, name in enumerate(names):
            buffer = io.BytesIO()
            shade = np.linspace(0, 255, 96 * 96 * 3).reshape(96, 96, 3) * (0.5 + index / images / 2)
            Image.fromarray(shade.astype(np.uint8)).save(buffer, "JPEG")
            writer.add(name, buffer.getvalue(), 96, 96)
    return questions


def write_score(root: Path, questions: pd.DataFrame, name: str, skill: float, seed: int) -> pd.DataFrame:
    """A score run whose answers are right with probability about `skill`; in an order of its own."""
    rng = np.random.default_rng(seed)
    count = questions["options"].map(len).to_numpy()
    wrong = (questions["answer"].to_numpy() + 1 + rng.integers(0, count - 1)) % count
    prediction = np.where(rng.random(len(questions)) < skill, questions["answer"], wrong)
    answers = questions[["id", "type", "class", "answer"]].assign(
        prediction=prediction, correct=prediction == questions["answer"], logprobs=[[0.0]] * len(questions)
    )
    folder = root / "runs/tiny/score" / name
    folder.mkdir(parents=True)
    answers.sample(frac=1, random_state=seed).to_parquet(folder / "predictions.parquet")
    by_class = answers.groupby("class")["correct"].mean().to_dict()
    (folder / "metrics.json").write_text(json.dumps({"average": float(answers["correct"].mean())} | by_class))
    return answers
