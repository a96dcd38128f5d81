"""Stage "baselines": what SpatialVQA gives to those who do not look, or look at the picture as if it were flat.
`python -m tasks.baselines spatialvqa`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data_registry import conversations, ranges
from data_registry.benchmark import spatialvqa
from data_registry.benchmark.lookup import NameLookup, majority
from data_registry.benchmark.spatialvqa import Question
from data_registry.paper import CLASSES
from data_registry.questions.types import QUESTION_TYPES
from tasks.stage.harness import StageRun, main


@dataclass(frozen=True)
class Params:
    """params.yaml: baselines. Nothing in them is random; `seed` is there as in every stage."""

    seed: ranges.Seed


def compute(run: StageRun) -> dict[str, Any]:
    """Accuracy of the majority answer, of a lookup of the names and of 2D rules, overall and by class."""
    run.parse(Params)
    questions = spatialvqa.read(run.input("benchmark") / "questions.parquet")
    lookup = NameLookup({name for q in questions for name in q.names})
    learnt = 0
    folders = run.input_list("data")
    for done, folder in enumerate(folders, start=1):
        for item in conversations.read(folder / "conversations.parquet"):
            turns = zip(conversations.pairs(item), item["types"], strict=True)
            learnt += lookup.fit((human, gpt, type_) for (human, gpt), type_ in turns)
        run.progress(done, len(folders))
    most = dict(zip((q.id for q in questions), majority(questions), strict=True))
    return {
        "majority": accuracy(questions, lambda q: most[q.id]),
        "lookup": accuracy(questions, lambda q: lookup.answer(q.type, q.question, q.options)),
        "shortcut_2d": accuracy(questions, lambda q: QUESTION_TYPES[q.type].flat(q)),
        "chance": accuracy(questions, lambda q: q.answer, weight=lambda q: 1 / len(q.options)),
        "lookup_learnt_from": learnt,
    }


def accuracy(
    questions: list[Question],
    answer: Callable[[Question], int],
    weight: Callable[[Question], float] = lambda q: 1.0,
) -> dict[str, Any]:
    """{"average", "distance", "orientation", "relation", "types": {type: ...}} as fractions of 1."""
    right = {q.id: weight(q) * (answer(q) == q.answer) for q in questions}

    def mean(subset: list[Question]) -> float:
        return round(sum(right[q.id] for q in subset) / len(subset), 4)

    by_class = {c: [q for q in questions if q.class_ == c] for c in CLASSES}
    types = {t: mean([q for q in questions if q.type == t]) for t in sorted({q.type for q in questions})}
    return {"average": mean(questions)} | {c: mean(asked) for c, asked in by_class.items() if asked} | {"types": types}


if __name__ == "__main__":
    main("baselines", compute)
