"""CircularEval and FlipEval of a benchmark: who knows an answer gives it in every order of options, and in the mirror.
Variants stand beside questions.parquet, which they do not change; a question counts only if all its variants are right.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_registry.benchmark.spatialvqa import Question, question_id
from data_registry.errors import InputError
from data_registry.questions.facts import Fact, fact
from data_registry.questions.geometry import Margins, layout
from data_registry.questions.phrasing import option_texts
from data_registry.questions.types import claims
from data_registry.scene import Scene

FILE = "variants.parquet"
KINDS = ("circular", "flip")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("kind", pa.string()),
        ("image", pa.string()),
        ("mirrored", pa.bool_()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.int8()),
    ]
)
_MIRROR = {"left": "right", "right": "left", "left side": "right side", "right side": "left side"}


class Variant(NamedTuple):
    """A question of the benchmark put otherwise.

    Attributes:
        id: of the question.
        kind: "circular": another order of the options; "flip": the mirrored picture.
        mirrored: whether the picture is shown in a mirror.
        answer: index of the right option.
    """

    id: str
    kind: Literal["circular", "flip"]
    image: str
    mirrored: bool
    question: str
    options: tuple[str, ...]
    answer: int


def build(questions: Sequence[Question], scenes: Iterable[Scene], margins: Margins) -> list[Variant]:
    """Every other order of each question's options, and each question about the mirrored picture, in their order.

    Args:
        questions: of `benchmark.build`, from these scenes with these margins.

    Raises:
        InputError: a question does not follow from its scene.
    """
    asked: dict[str, set[str]] = defaultdict(set)
    for q in questions:
        asked[q.image].add(q.id)
    facts: dict[str, Fact] = {}
    for scene in scenes:
        if scene.image in asked:
            known = layout(scene, margins, Counter())
            for claim in claims(known, margins, Counter()):
                made = fact(claim, known)
                if (id_ := question_id(scene.image, made)) in asked[scene.image]:
                    facts[id_] = made
    variants = []
    for q in questions:
        variants += circular(q)
        if q.id not in facts:
            raise InputError(f"spatialvqa: question {q.id} does not follow from its scene {q.image}; build it again")
        variants.append(flip(q, facts[q.id]))
    return variants


def circular(q: Question) -> list[Variant]:
    """The question with its options in every other order."""
    every = itertools.permutations(range(len(q.options)))
    return [
        Variant(q.id, "circular", q.image, False, q.question, tuple(q.options[k] for k in order), order.index(q.answer))
        for order in itertools.islice(every, 1, None)
    ]


def flip(q: Question, about: Fact) -> Variant:
    """The question about the mirrored picture, where left is right and all else as it was.

    Where left and right are the two options, or one of them is the side that is asked for, the answer is the other
    option; where one of them is an option beside another word, that option is replaced by its mirror image.

    Args:
        about: the fact that the question words.
    """
    first, second = about.options
    sides = [_MIRROR.get(option) for option in about.options]
    swapped_letters = about.answer != q.answer
    if about.slots.get("side") in _MIRROR or (sides[0] and sides[1]):
        return Variant(q.id, "flip", q.image, True, q.question, q.options, 1 - q.answer)
    if sides[0] or sides[1]:
        mirrored = about._replace(options=(sides[0] or first, sides[1] or second))
        options = option_texts(mirrored)[:: -1 if swapped_letters else 1]
        return Variant(q.id, "flip", q.image, True, q.question, options, q.answer)
    return Variant(q.id, "flip", q.image, True, q.question, q.options, q.answer)


def write(path: Path, variants: Iterable[Variant]) -> None:
    """Write variants.parquet."""
    pq.write_table(pa.Table.from_pylist([v._asdict() for v in variants], SCHEMA), path, compression="zstd")


def read(path: Path) -> list[Variant]:
    """Variants of a variants.parquet; InputError where it cannot be read or lacks a column."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({error}); set variants: true in params.yaml: benchmark, and build "
            "the benchmark again"
        ) from error
    if missing := [name for name in SCHEMA.names if name not in table.column_names]:
        raise InputError(f"{path}: no column {missing[0]!r}; build the benchmark again")
    rows = table.to_pylist()
    return [Variant._make(tuple(v) if isinstance(v := row[n], list) else v for n in SCHEMA.names) for row in rows]


def consistent(
    questions: Sequence[Question], predictions: Sequence[int], variants: Sequence[Variant], answered: Sequence[int]
) -> dict[str, list[bool]]:
    """For each kind, and for both together ("both"), whether each question is right in every form.

    Args:
        predictions: of the questions, indexes of options.
        answered: of the variants, in their order.

    Raises:
        InputError: a question lacks a kind of variant, so that it would count as consistent without being tested.
    """
    right: Mapping[str, dict[str, list[bool]]] = {kind: defaultdict(list) for kind in KINDS}
    for variant, answer in zip(variants, answered, strict=True):
        right[variant.kind][variant.id].append(answer == variant.answer)
    verdicts: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for q, answer in zip(questions, predictions, strict=True):
        for kind in KINDS:
            if not right[kind].get(q.id):
                raise InputError(
                    f"spatialvqa: question {q.id} has no variant of kind {kind}; build the benchmark again"
                )
            verdicts[kind].append(answer == q.answer and all(right[kind][q.id]))
    return verdicts | {"both": [a and b for a, b in zip(*(verdicts[kind] for kind in KINDS), strict=True)]}


def datasheet(questions: Sequence[Question], variants: Sequence[Variant], sources: Mapping[str, str]) -> dict[str, Any]:
    """What a benchmark holds, in counts.

    Args:
        sources: source of each image ("KITTI", ...).
    """

    def counted(values: Iterable[Any]) -> dict[str, int]:
        return {str(key): count for key, count in sorted(Counter(values).items())}

    pairs: dict[tuple, Counter[int]] = defaultdict(Counter)
    for q in questions:
        pairs[(q.type, tuple(sorted(q.names)), frozenset(q.options))][q.answer] += 1
    per_image = Counter(q.image for q in questions)
    return {
        "questions": len(questions),
        "classes": counted(q.class_ for q in questions),
        "types": counted(q.type for q in questions),
        "answers": counted("AB"[q.answer] for q in questions),
        "answers_by_type": {
            type_: counted("AB"[q.answer] for q in questions if q.type == type_)
            for type_ in sorted({q.type for q in questions})
        },
        "images": len(per_image),
        "questions_per_image": counted(per_image.values()),
        "sources": counted(sources[q.image] for q in questions),
        "names": counted(name for q in questions for name in q.names),
        "pairs_of_names": len(pairs),
        "variants": counted(v.kind for v in variants),
    }
