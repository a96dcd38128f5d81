"""Twelve questions of the benchmark with their picture and every design's answer, for people to judge by eye.
Drawn without a look at the answers: question ids are hashes, so the smallest ids are a random draw."""

import base64
import io
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from data_registry.paper import CLASSES
from data_registry.storage.shards import Images
from tasks.report.data import Scored

LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Box:
    """An object of the question in the picture: x, y, width, height in pixels."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Answer:
    """What one design answered: the option's letter and text, and whether it is right."""

    design: Scored
    letter: str
    text: str
    correct: bool


@dataclass(frozen=True)
class Example:
    """A question as the page shows it. `picture` is a data URI; `width` and `height` are in pixels."""

    id: str
    question: str
    options: list[tuple[str, str, bool]]
    type: str
    kind: str
    picture: str
    width: int
    height: int
    boxes: list[Box]
    answers: list[Answer]


def choose(questions: pd.DataFrame, count: int) -> pd.DataFrame:
    """`count` questions, as many of each class, each class going round its types, no picture twice."""
    chosen: list[str] = []
    pictures: set[str] = set()
    for index, name in enumerate(CLASSES):
        share = count // len(CLASSES) + (index < count % len(CLASSES))
        of_class = questions[questions["class"] == name].sort_index()
        queue = of_class.assign(turn=of_class.groupby("type").cumcount()).sort_values(["turn", "type"], kind="stable")
        for key, picture in queue["image"].items():
            if share and picture not in pictures:
                chosen.append(key)
                pictures.add(picture)
                share -= 1
    return questions.loc[chosen]


def examples(pictures: Images, questions: pd.DataFrame, designs: list[Scored], count: int = 12) -> list[Example]:
    """The chosen questions with their pictures, those of the test scenes."""
    picked = choose(questions, count)
    shown = []
    for key, row in picked.iterrows():
        position = questions.index.get_loc(key)
        options = list(row["options"])
        picture = pictures.encoded(row["image"])
        with Image.open(io.BytesIO(picture)) as image:
            (width, height), media = image.size, Image.MIME[image.format or ""]
        shown.append(
            Example(
                id=key,
                question=row["question"],
                options=[(LETTERS[i], text, i == row["answer"]) for i, text in enumerate(options)],
                type=row["type"],
                kind=row["class"],
                picture=f"data:{media};base64,{base64.b64encode(picture).decode()}",
                width=width,
                height=height,
                boxes=_boxes(row),
                answers=[_answer(design, position, options) for design in designs],
            )
        )
    return shown


def _answer(design: Scored, position: int, options: list[str]) -> Answer:
    chosen = int(design.prediction[position])
    known = 0 <= chosen < len(options)
    letter, text = (LETTERS[chosen], options[chosen]) if known else ("–", "no readable answer")
    return Answer(design, letter, text, bool(design.correct[position]))


def _boxes(row: pd.Series) -> list[Box]:
    """The boxes of a question's objects, each object once."""
    named = {int(key): (name, box) for key, name, box in zip(row["objects"], row["names"], row["boxes"])}
    return [Box(name, *(float(v) for v in (x1, y1, x2 - x1, y2 - y1))) for name, (x1, y1, x2, y2) in named.values()]
