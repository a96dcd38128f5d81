"""Scoring: a design's accuracy on SpatialVQA, by the likelihood of the option letters.
`python -m tasks.score NAME` writes predictions.parquet and metrics.json (fractions of 1)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_registry import ranges
from data_registry.benchmark import spatialvqa, variants
from data_registry.conversations import multiple_choice
from data_registry.paper import CLASSES
from tasks.stage.harness import Metrics, StageRun, main
from tasks.training import image_lookup, machine, model_files


@dataclass(frozen=True)
class Params:
    """params.yaml: score.

    Attributes:
        bf16: arithmetic of the forward pass; of answers in free words on a GPU alone.
        bootstrap: resamples for the 95 % intervals.
        generate: questions that are also answered in free words, as a cross-check; 0 for none.
        seed: of the resamples.
        variants: also ask every question in all orders of its options and of the mirrored picture; the benchmark has
            to have been built with variants.
    """

    bf16: bool
    bootstrap: ranges.Count
    generate: ranges.Natural
    seed: ranges.Seed
    variants: bool = False


def compute(run: StageRun) -> Metrics:
    """Answer every question of the benchmark with the design's model."""
    params = run.parse(Params)
    machine.prepare(run)
    from model.scoring import Asked, generate_answers, in_bf16, letter_logprobs, parse_letter

    model, tokenizer = model_files.load_model(run.input("instruct"), machine.device_of(run.runtime))
    encoders = model_files.load_encoders(run)
    images = image_lookup.images_of(run, encoders, params.bf16)
    questions = spatialvqa.read(run.input("benchmark") / "questions.parquet")
    asked = [Asked(q.id, q.image, multiple_choice(q.question, q.options), len(q.options)) for q in questions]
    encoder = model_files.sample_encoder(model, tokenizer, model.config.template, 1 << 20, True)
    logprobs = letter_logprobs(model, encoder, images, asked, tokenizer.pad_token_id, bf16=params.bf16)
    predictions = [int(np.argmax(row)) for row in logprobs]
    _write(run, questions, logprobs, predictions)
    metrics = accuracies(questions, predictions, params.bootstrap, params.seed)
    if params.variants:
        metrics["variants"] = _variants(run, params, model, tokenizer, encoders, images, questions, predictions)
    if params.generate:
        some = range(0, len(asked), max(1, len(asked) // params.generate))
        put, bf16 = [asked[k] for k in some], params.bf16 and in_bf16(model.device)
        answers = generate_answers(model, tokenizer, encoder, images, put, max_new_tokens=16, bf16=bf16)
        parsed = [parse_letter(answer, questions[k].options) for k, answer in zip(some, answers, strict=True)]
        metrics["generated"] = {
            "questions": len(some),
            "accuracy": float(np.mean([p == questions[k].answer for p, k in zip(parsed, some, strict=True)])),
            "unparsable": float(np.mean([p is None for p in parsed])),
            "same_as_letters": float(np.mean([p == predictions[k] for p, k in zip(parsed, some, strict=True)])),
        }
    return metrics


def accuracies(
    questions: Sequence[spatialvqa.Question], predictions: Sequence[int], bootstrap: int, seed: int
) -> Metrics:
    """Micro average, classes and types, with bootstrap 95 % intervals of the average and the classes."""
    correct = np.array([q.answer == p for q, p in zip(questions, predictions, strict=True)], dtype=float)
    groups: dict[str, list[int]] = defaultdict(list)
    types: dict[str, list[int]] = defaultdict(list)
    for index, question in enumerate(questions):
        groups["average"].append(index)
        groups[question.class_].append(index)
        types[question.type].append(index)
    rng = np.random.default_rng(seed)
    metrics: Metrics = {"questions": {}, "interval95": {}}
    for name in ("average", *CLASSES):
        values = correct[groups[name]]
        means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(bootstrap)]
        metrics[name] = float(values.mean())
        metrics["interval95"][name] = [float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))]
        metrics["questions"]["all" if name == "average" else name] = len(values)
    metrics["types"] = {name: float(correct[members].mean()) for name, members in sorted(types.items())}
    return metrics


def consistency(
    questions: Sequence[spatialvqa.Question],
    predictions: Sequence[int],
    asked: Sequence[variants.Variant],
    answered: Sequence[int],
) -> Metrics:
    """CircularEval, FlipEval and both: the share of questions that are right in every form, overall and by class."""
    by_kind = variants.consistent(questions, predictions, asked, answered)
    metrics: Metrics = {}
    for kind, right in by_kind.items():
        by_class = {c: [r for r, q in zip(right, questions, strict=True) if q.class_ == c] for c in CLASSES}
        metrics[kind] = {"average": float(np.mean(right))} | {c: float(np.mean(v)) for c, v in by_class.items() if v}
    return metrics


def _variants(
    run: StageRun, params: Params, model, tokenizer, encoders, images, questions, predictions: list[int]
) -> Metrics:
    """Ask the variants, those of mirrored pictures from pixels: no features are kept of them."""
    from model.scoring import Asked, letter_logprobs
    from tasks.sources.streams import open_images
    from tasks.training.features import MirroredImages

    asked = variants.read(run.input("benchmark") / variants.FILE)
    encoder = model_files.sample_encoder(model, tokenizer, model.config.template, 1 << 20, True)
    mirror = None
    if encoders:
        size = max(encoder_.spec.image_size for encoder_, _ in encoders)
        mirror = MirroredImages(open_images(run.runtime, run.input("scenes")), size)
    answered = [0] * len(asked)
    for mirrored, lookup in ((False, images), (True, mirror)):
        members = [k for k, variant in enumerate(asked) if variant.mirrored == mirrored]
        put = [
            Asked(f"{k}", asked[k].image, multiple_choice(asked[k].question, asked[k].options), len(asked[k].options))
            for k in members
        ]
        rows = letter_logprobs(model, encoder, lookup, put, tokenizer.pad_token_id, bf16=params.bf16)
        for k, row in zip(members, rows, strict=True):
            answered[k] = int(np.argmax(row))
    _write_variants(run, asked, answered)
    return consistency(questions, predictions, asked, answered)


def _write_variants(run: StageRun, asked: Sequence[variants.Variant], answered: list[int]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {
        "id": [variant.id for variant in asked],
        "kind": [variant.kind for variant in asked],
        "options": [list(variant.options) for variant in asked],
        "answer": pa.array([variant.answer for variant in asked], pa.int32()),
        "prediction": pa.array(answered, pa.int32()),
    }
    pq.write_table(pa.table(rows), run.out / variants.FILE)


def _write(
    run: StageRun, questions: Sequence[spatialvqa.Question], logprobs: list[list[float]], predictions: list[int]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {
        "id": [q.id for q in questions],
        "type": [q.type for q in questions],
        "class": [q.class_ for q in questions],
        "answer": pa.array([q.answer for q in questions], pa.int32()),
        "prediction": pa.array(predictions, pa.int32()),
        "correct": [q.answer == p for q, p in zip(questions, predictions, strict=True)],
        "logprobs": pa.array(logprobs, pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(rows), run.out / "predictions.parquet")


if __name__ == "__main__":
    main("score", compute)
