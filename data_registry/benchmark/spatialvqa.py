"""SpatialVQA: two-option questions about scenes that no training set has seen.
Built from couples of opposite answers, so that neither names, nor wording, nor letters give an answer away."""

import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_registry import ranges
from data_registry.errors import InputError
from data_registry.paper import BENCHMARK, CLASSES
from data_registry.questions.balance import Placed, couples
from data_registry.questions.facts import Claim, Fact, fact, named
from data_registry.questions.geometry import Layout, Margins, layout
from data_registry.questions.phrasing import ask, option_texts, wordings
from data_registry.questions.types import QUESTION_TYPES, claims
from data_registry.scene import Scene

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.int8()),
        ("type", pa.string()),
        ("class", pa.string()),
        ("names", pa.list_(pa.string())),
        ("objects", pa.list_(pa.int64())),
        ("boxes", pa.list_(pa.list_(pa.float32()))),
    ]
)


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many questions of each class (params.yaml: benchmark.*.questions); by default the paper's."""

    distance: ranges.Count = BENCHMARK["distance"]
    orientation: ranges.Count = BENCHMARK["orientation"]
    relation: ranges.Count = BENCHMARK["relation"]


Couple = tuple[Placed[Claim], Placed[Claim]]


class Question(NamedTuple):
    """One question of the benchmark.

    Attributes:
        id: hash of the image, what is asked and the objects: the same whatever else changes.
        answer: index of the right option.
        objects, names, boxes: ids of the objects asked about, what they are called, and their 2D boxes (x1, y1, x2, y2
            in pixels), those of the question first, then those of the options.
    """

    id: str
    image: str
    question: str
    options: tuple[str, str]
    answer: int
    type: str
    class_: str
    names: tuple[str, ...]
    objects: tuple[int, ...]
    boxes: tuple[tuple[float, ...], ...]

    def row(self) -> dict[str, Any]:
        """The question as a row of questions.parquet."""
        values = self._asdict()
        return {"class" if key == "class_" else key: values[key] for key in self._fields}


def build(
    scenes: Sequence[Scene], quotas: Quotas, per_image: int, margins: Margins, seed: int, drops: Counter[str]
) -> list[Question]:
    """The benchmark's questions, in the order of their images.

    Each class gets its quota, shared evenly among its types; each question has a partner on another image with the same
    type, names, options, order of letters and wording, and the opposite answer (but for the last of an odd quota).

    Args:
        per_image: most questions of one image, so that no image weighs too much.

    Raises:
        InputError: the scenes do not yield enough questions; it says how many more are needed.
    """
    rng = random.Random(f"{seed} spatialvqa")
    layouts = [layout(scene, margins, drops) for scene in scenes]
    placed = (Placed(k, claim) for k, scene in enumerate(layouts) for claim in claims(scene, margins, drops))
    queues: dict[str, dict[str, list[Couple]]] = {class_: defaultdict(list) for class_ in CLASSES}
    for couple in couples(placed, rng):
        type_ = couple[0].claim.type
        queues[QUESTION_TYPES[type_].class_][type_].append(couple)

    wanted = {class_: getattr(quotas, class_) for class_ in CLASSES}
    chosen = _choose(queues, wanted, per_image)
    counts = {class_: sum(len(couple) for couple in chosen[class_]) for class_ in CLASSES}
    _check(counts, wanted, len(scenes), per_image)
    questions = []
    for class_ in CLASSES:
        for asked in chosen[class_]:
            phrasing = rng.choice(wordings()[asked[0].claim.type].benchmark)
            swapped = rng.random() < 0.5
            questions += [_question(layouts[k], fact(claim, layouts[k]), phrasing, swapped) for k, claim in asked]
    return sorted(questions, key=lambda q: (q.image, q.id))


def question_id(image: str, fact: Fact) -> str:
    """Sixteen hexadecimal digits that depend on the image, the kind of question and the objects alone."""
    sides = [text for role, text in fact.slots.items() if role.startswith("side")]
    words = [] if fact.options[0].startswith("the ") else list(fact.options)
    asked = "|".join((image, fact.type, *sides, *words, *map(str, fact.objects)))
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def write(path: Path, questions: Iterable[Question]) -> None:
    """Write questions.parquet."""
    pq.write_table(pa.Table.from_pylist([q.row() for q in questions], SCHEMA), path, compression="zstd")


def read(path: Path) -> list[Question]:
    """Questions of a questions.parquet; InputError where it cannot be read or lacks a column."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); build the benchmark again") from error
    if missing := [name for name in SCHEMA.names if name not in table.column_names]:
        raise InputError(f"{path}: no column {missing[0]!r}; build the benchmark again")
    return [Question(*(_tuples(row[name]) for name in SCHEMA.names)) for row in table.to_pylist()]


def shared_images(test: Iterable[tuple[str, bytes]], train: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Pairs (test key, training key) of images with equal content, whatever they are called."""
    known = {hashlib.sha256(content).digest(): key for key, content in test}
    digests = ((hashlib.sha256(content).digest(), key) for key, content in train)
    return [(known[digest], key) for digest, key in digests if digest in known]


def _choose(
    queues: dict[str, dict[str, list[Couple]]], wanted: dict[str, int], per_image: int
) -> dict[str, list[tuple[Placed[Claim], ...]]]:
    """Take couples in turns, class by class and type by type, while their images have room."""
    used: Counter[int] = Counter()
    asked: set[tuple] = set()
    chosen: dict[str, list[tuple[Placed[Claim], ...]]] = {class_: [] for class_ in wanted}
    counts = dict.fromkeys(wanted, 0)
    turns = {class_: sorted(queues[class_]) for class_ in wanted}
    while open_ := [c for c in wanted if counts[c] < wanted[c] and turns[c]]:
        class_ = min(open_, key=lambda c: counts[c] / wanted[c])
        type_ = turns[class_].pop(0)
        while queues[class_][type_]:
            couple: tuple[Placed[Claim], ...] = queues[class_][type_].pop()[: wanted[class_] - counts[class_]]
            # The same objects asked "closer" and "farther", or an object's side asked twice, would be one question.
            about = [(k, class_, frozenset(named(claim))) for k, claim in couple]
            room = Counter(k for k, _ in couple)
            new = len(set(about)) == len(about) and asked.isdisjoint(about)
            if new and all(used[k] + n <= per_image for k, n in room.items()):
                used.update(room)
                asked.update(about)
                chosen[class_].append(couple)
                counts[class_] += len(couple)
                turns[class_].append(type_)
                break
    return chosen


def _check(available: dict[str, int], wanted: dict[str, int], scenes: int, per_image: int) -> None:
    short = [class_ for class_ in wanted if available[class_] < wanted[class_]]
    if not short:
        return
    worst = min(short, key=lambda c: available[c] / wanted[c])
    counts = ", ".join(f"{available[c]} of {wanted[c]} {c}" for c in short)
    if available[worst]:
        more = math.ceil(scenes * wanted[worst] / available[worst]) - scenes
        remedy = f"about {max(more, 1)} more test scenes are needed"
    else:
        remedy = "more test scenes are needed, with two or more nameable objects each"
    raise InputError(
        f"spatialvqa: {scenes} test scenes give {counts} questions, balanced and at most {per_image} an image; "
        f"{remedy} (params.yaml: scenes), or fewer questions, or more of them per image (params.yaml: benchmark)"
    )


def _question(scene: Layout, fact: Fact, phrasing: str, swapped: bool) -> Question:
    boxes = {obj.id: tuple(float(v) for v in obj.bbox) for obj in scene.objects}
    first, second = option_texts(fact)
    return Question(
        question_id(scene.scene.image, fact),
        scene.scene.image,
        ask(fact, phrasing),
        (second, first) if swapped else (first, second),
        int(fact.answer != swapped),
        fact.type,
        QUESTION_TYPES[fact.type].class_,
        fact.names,
        fact.objects,
        tuple(boxes[id_] for id_ in fact.objects),
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
