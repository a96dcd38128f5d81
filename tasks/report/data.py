"""Collects what the report shows: reads the files of scored designs, checks that they agree, computes the results.
Nothing here renders or trains; the same files give the same results."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_registry.errors import InputError
from data_registry.paper import CLASSES, TABLE_2, PaperRow
from tasks.report.statistics import RESAMPLES, SLICES, Bootstrap, percent

BENCHMARK = "spatialvqa"
PAPER = {row.row: row for row in TABLE_2}
BASELINE_ROW, FINAL_ROW = 1, 8


@dataclass(frozen=True)
class Entry:
    """A design to report: its name, its parts, and its row of Table 2 if it has one."""

    name: str
    design: dict[str, Any] = field(default_factory=dict)
    row: int | None = None

    @property
    def paper(self) -> PaperRow | None:
        return PAPER.get(self.row) if self.row else None


@dataclass(frozen=True)
class Scored:
    """A design with its answers, aligned to the benchmark's questions."""

    entry: Entry
    prediction: np.ndarray
    correct: np.ndarray


@dataclass(frozen=True)
class Collected:
    """Everything the page needs: the results, and the questions and answers behind them."""

    results: dict[str, Any]
    questions: pd.DataFrame
    scored: list[Scored]
    blind: Scored | None


def collect(
    root: Path,
    scale: str,
    entries: Sequence[Entry],
    blind: str | None,
    stage_counts: dict[str, int] | None,
    seconds: float | None,
    is_current: Callable[[str], bool] = lambda name: True,
    resamples: int = RESAMPLES,
) -> Collected:
    """Read the score runs of `entries` (in the table's order) and of the `blind` design, and compute the results.

    A design whose score run is missing, or is not current, is named in `results["missing"]`, and the report shows so.
    Raises InputError where no design has been scored, or where a file contradicts the benchmark.
    """
    questions = read_questions(root, scale)
    scored, missing = [], []
    for entry in entries:
        answers = _scored(root, scale, entry, questions) if is_current(entry.name) else None
        if answers is None:
            missing.append(entry.name)
        else:
            scored.append(answers)
    if not scored:
        folder = root / "runs" / scale / "score"
        raise InputError(
            f"{folder}: none of the {len(entries)} designs has been scored with the parameters of this moment; "
            "run `spatialllm roadmap` first"
        )
    unseeing = _scored(root, scale, Entry(blind), questions) if blind and is_current(blind) else None
    bootstrap = Bootstrap.of(questions, resamples)
    baselines = _metrics(root / "runs" / scale / "baselines" / BENCHMARK)
    results = {
        "scale": scale,
        "resamples": resamples,
        "benchmark": {"questions": len(questions)} | {c: int((questions["class"] == c).sum()) for c in CLASSES},
        "designs": _designs(scored, questions, bootstrap),
        "missing": missing,
        "blind": _row(unseeing, questions, bootstrap) if unseeing else None,
        "baselines": {name: _percents(of) for name, of in baselines.items() if isinstance(of, dict)},
        "probes": {p.name: _metrics(p) for p in sorted((root / "runs" / scale / "probe").glob("*")) if p.is_dir()},
        "paired": _paired(scored, bootstrap),
        "stage_runs": stage_counts,
        "seconds": None if seconds is None else round(seconds, 1),
    }
    results["checks"] = _checks(results)
    return Collected(results, questions, scored, unseeing)


def read_questions(root: Path, scale: str) -> pd.DataFrame:
    """The benchmark's questions, indexed by id, in the file's order."""
    path = root / "runs" / scale / "benchmark" / BENCHMARK / "questions.parquet"
    if not path.exists():
        raise InputError(f"{path} is missing: the benchmark has not been built; `spatialllm roadmap` builds it")
    questions = pd.read_parquet(path).set_index("id")
    if not questions.index.is_unique:
        raise InputError(f"{path}: id {questions.index[questions.index.duplicated()][0]} occurs twice; build it anew")
    if unknown := set(questions["class"]) - set(CLASSES):
        raise InputError(f"{path}: class {sorted(unknown)[0]!r} is none of {', '.join(CLASSES)}")
    return questions


def _scored(root: Path, scale: str, entry: Entry, questions: pd.DataFrame) -> Scored | None:
    """The answers of a design, checked against the benchmark and its own metrics; None where it was not scored."""
    path = root / "runs" / scale / "score" / entry.name / "predictions.parquet"
    if not path.exists():
        return None
    answers = pd.read_parquet(path, columns=["id", "prediction"]).set_index("id")
    if not answers.index.is_unique or set(answers.index) != set(questions.index):
        differ = len(set(answers.index) ^ set(questions.index))
        raise InputError(
            f"{path}: answers {len(answers)} questions, {differ} of them not the benchmark's {len(questions)}; "
            f"delete its folder and run `dvc repro` to score it on this benchmark"
        )
    prediction = answers.loc[questions.index, "prediction"].to_numpy()
    correct = prediction == questions["answer"].to_numpy()
    stated = _metrics(path.parent).get("average")
    if stated is None or abs(stated - correct.mean()) > 1e-6:
        raise InputError(
            f"{path.parent / 'metrics.json'}: average is {stated}, its predictions give {correct.mean():.6f}; "
            f"delete its folder and run `dvc repro` to score it again"
        )
    return Scored(entry, prediction, correct)


def _metrics(folder: Path) -> dict[str, Any]:
    """metrics.json of a stage run; empty where the run is not there."""
    path = folder / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _percents(metrics: dict[str, Any]) -> dict[str, Any]:
    """A baseline's fractions as percent, by slice and by type."""
    slices = {name: percent(metrics[name]) for name in SLICES if name in metrics}
    return slices | {"types": {name: percent(value) for name, value in metrics.get("types", {}).items()}}


def _row(scored: Scored, questions: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, Any]:
    types = pd.DataFrame({"type": questions["type"].to_numpy(), "correct": scored.correct}).groupby("type")["correct"]
    intervals = bootstrap.intervals(scored.correct)
    return {
        "name": scored.entry.name,
        "design": scored.entry.design,
        "accuracy": bootstrap.accuracy(scored.correct),
        "interval95": intervals["average"],
        "intervals95": intervals,
        "types": {name: percent(value) for name, value in types.mean().items()},
    }


def _designs(scored: list[Scored], questions: pd.DataFrame, bootstrap: Bootstrap) -> list[dict[str, Any]]:
    rows = []
    for answers in scored:
        entry, paper = answers.entry, answers.entry.paper
        row = {"row": entry.row} | _row(answers, questions, bootstrap)
        row["paper_average"] = paper.accuracy.average if paper else None
        row["paper"] = {s: getattr(paper.accuracy, s) for s in SLICES} if paper else None
        before = _before(answers, scored)
        if before:
            gain = bootstrap.difference(answers.correct, before.correct)["average"]
            over = before.entry.paper
            row["gain"] = gain | {
                "over": before.entry.row or before.entry.name,
                "paper": round(paper.accuracy.average - over.accuracy.average, 1) if paper and over else None,
            }
        else:
            row["gain"] = None
        rows.append(row)
    return rows


def _before(answers: Scored, scored: list[Scored]) -> Scored | None:
    """The design a gain is measured against: the roadmap row before it, else whatever stands before it in the table.

    Rows 2, 6, 7, 9 and 10 are side branches of the paper's roadmap, so row 3 is compared with row 1, not with row 2.
    """
    ahead = scored[: scored.index(answers)]
    if answers.entry.paper:
        ahead = [s for s in ahead if s.entry.paper and s.entry.paper.roadmap] or ahead
    return ahead[-1] if ahead else None


def _paired(scored: list[Scored], bootstrap: Bootstrap) -> dict[str, Any] | None:
    """The last step of the road against its first: row 8 minus row 1, or last minus first where those are not there."""
    by_row = {s.entry.row: s for s in scored}
    final, base = by_row.get(FINAL_ROW, scored[-1]), by_row.get(BASELINE_ROW, scored[0])
    if final is base:
        return None
    ours, theirs = final.entry.paper, base.entry.paper
    return {
        "design": final.entry.name,
        "minus": base.entry.name,
        "rows": [final.entry.row, base.entry.row],
        "difference": bootstrap.difference(final.correct, base.correct),
        "paper": round(ours.accuracy.average - theirs.accuracy.average, 1) if ours and theirs else None,
    }


def _checks(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What a sound run shows, each with the figures it was judged by. A check whose inputs are missing is left out."""
    checks = []

    def check(claim: str, passed: bool, figures: str) -> None:
        checks.append({"claim": claim, "passed": bool(passed), "figures": figures})

    rows = {row["row"]: row for row in results["designs"]}
    base, final, blind = rows.get(BASELINE_ROW), rows.get(FINAL_ROW), results["blind"]
    majority = results["baselines"].get("majority")
    if base and final:
        gap = results["paired"]["difference"]["average"]
        low, high = gap["interval95"]
        figures = f"{gap['points']:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}"
        check(
            "Row 8 is at least 10 points above row 1, and the interval excludes 0",
            gap["points"] >= 10 and low > 0,
            figures,
        )
    if final and blind:
        for name in CLASSES:
            low, unseen = final["intervals95"][name][0], blind["accuracy"][name]
            figures = f"{final['accuracy'][name]:.1f} (interval from {low:.1f}) against {unseen:.1f}"
            check(f"Row 8 sees: {name} is above the blind design by more than its interval", low > unseen, figures)
    if base and blind:
        seen, unseen = base["accuracy"]["average"], blind["accuracy"]["average"]
        check(
            "Row 1 is within 4 points of the blind design", abs(seen - unseen) <= 4, f"{seen:.1f} against {unseen:.1f}"
        )
    if majority:
        guesses = {
            "blind design": blind and blind["accuracy"],
            "lookup of the names": results["baselines"].get("lookup"),
        }
        for who, accuracy in guesses.items():
            if accuracy:
                ours, chance = accuracy["average"], majority["average"]
                claim = f"The benchmark needs eyes: the {who} is at most 3 points above the majority answer"
                check(claim, ours - chance <= 3, f"{ours:.1f} against {chance:.1f}")
    return checks
