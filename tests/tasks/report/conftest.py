"""A study of five rows with its report."""

import json

import pytest

from tasks.report import build_report
from tests.tasks.report.study import BLIND, ROADMAP, entry, write_benchmark, write_score


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The five roadmap rows, a blind design, baselines and probes, at tiny scale; row 8 far above row 1."""
    root = tmp_path_factory.mktemp("study")
    questions = write_benchmark(root)
    skills = {1: 0.50, 3: 0.52, 4: 0.55, 5: 0.66, 8: 0.72}
    entries = [entry(row) for row in ROADMAP]
    answers = {e.row: write_score(root, questions, e.name, skills[e.row], seed=e.row) for e in entries}
    answers["blind"] = write_score(root, questions, BLIND, 0.48, seed=99)
    slices = {"average": 0.5, "distance": 0.51, "orientation": 0.49, "relation": 0.5}
    extras = {
        "baselines/spatialvqa": {"majority": slices, "lookup": slices, "shortcut_2d": slices},
        "probe/clip": {"category_accuracy": 0.912, "azimuth_median_error_deg": 61.4},
        "probe/dinov2": {"category_accuracy": 0.861, "azimuth_median_error_deg": 31.9},
    }
    for place, metrics in extras.items():
        (root / "runs/tiny" / place).mkdir(parents=True)
        (root / "runs/tiny" / place / "metrics.json").write_text(json.dumps(metrics))
    return root, entries, questions, answers


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    root, entries, _, _ = study
    out = tmp_path_factory.mktemp("reports") / "roadmap"
    counts = {"planned": 27, "executed": 25, "restored": 2}
    results = build_report(root, "tiny", entries, out, blind=BLIND, stage_counts=counts, seconds=1263.4)
    return results, out
