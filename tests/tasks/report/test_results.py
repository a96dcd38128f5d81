"""The numbers are those of the files; contradictions between files are named."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from data_registry.errors import InputError
from data_registry.paper import TABLE_2
from tasks.report import Entry, build_report, readme
from tests.tasks.report.study import BLIND, entry, write_score


def test_the_numbers_are_those_of_the_files(study, report):
    _, entries, _, answers = study
    results, out = report
    assert json.loads((out / "results.json").read_text()) == results
    assert results["scale"] == "tiny"
    assert results["benchmark"] == {"questions": 180, "distance": 60, "orientation": 45, "relation": 75}
    assert results["stage_runs"] == {"planned": 27, "executed": 25, "restored": 2}
    assert results["seconds"] == 1263.4
    assert [row["row"] for row in results["designs"]] == [1, 3, 4, 5, 8]
    for row, design in zip(results["designs"], entries):
        of_row = answers[design.row]
        assert row["name"] == design.name
        assert row["design"] == design.design
        assert row["accuracy"]["average"] == pytest.approx(100 * of_row["correct"].mean(), abs=0.005)
        for name, value in of_row.groupby("class")["correct"].mean().items():
            assert row["accuracy"][name] == pytest.approx(100 * value, abs=0.005)
        for name, value in of_row.groupby("type")["correct"].mean().items():
            assert row["types"][name] == pytest.approx(100 * value, abs=0.005)
        low, high = row["interval95"]
        assert low < row["accuracy"]["average"] < high
        assert row["paper_average"] == TABLE_2[design.row - 1].accuracy.average


def test_intervals_are_about_the_normal_ones(report):
    """180 nearly independent questions: the bootstrap must come near 1.96 standard errors."""
    for row in report[0]["designs"]:
        p = row["accuracy"]["average"] / 100
        expected = 2 * 196 * np.sqrt(p * (1 - p) / 180)
        low, high = row["interval95"]
        assert high - low == pytest.approx(expected, rel=0.25)


def test_gains_are_paired_differences(study, report):
    _, _, _, answers = study
    rows = {row["row"]: row for row in report[0]["designs"]}
    assert rows[1]["gain"] is None
    assert rows[3]["gain"]["over"] == 1
    assert rows[8]["gain"]["over"] == 5
    assert rows[8]["gain"]["paper"] == 3.0
    merged = answers[8].set_index("id")["correct"].astype(int) - answers[1].set_index("id")["correct"].astype(int)
    gap = report[0]["paired"]["difference"]["average"]
    assert gap["points"] == pytest.approx(100 * merged.mean(), abs=0.005)
    assert gap["interval95"][0] < gap["points"] < gap["interval95"][1]
    assert report[0]["paired"]["paper"] == 15.0


def test_side_branches_are_compared_with_the_road(study, tmp_path):
    """Rows 6, 7 and 9, 10 are no steps of the roadmap: each is compared with the roadmap row before it."""
    root, _, questions, _ = study
    copy = tmp_path / "all"
    shutil.copytree(root, copy)
    entries = [entry(row) for row in TABLE_2]
    for e in entries:
        if not (copy / "runs/tiny/score" / e.name).exists():
            write_score(copy, questions, e.name, 0.5, seed=e.row)
    results = build_report(copy, "tiny", entries, tmp_path / "out")
    over = {row["row"]: row["gain"] and row["gain"]["over"] for row in results["designs"]}
    assert over == {1: None, 2: 1, 3: 1, 4: 3, 5: 4, 6: 5, 7: 5, 8: 5, 9: 8, 10: 8}


def test_checks_state_what_they_saw(report):
    checks = {check["claim"]: check for check in report[0]["checks"]}
    assert len(checks) == 7
    gap = next(c for claim, c in checks.items() if "10 points" in claim)
    assert gap["passed"]
    assert "interval" in gap["figures"]


def test_writing_it_again_gives_the_same_bytes(study, report, tmp_path):
    """A report is a function of the files; the figures of the run that computed them stay."""
    root, entries, _, _ = study
    out = tmp_path / "roadmap"
    shutil.copytree(report[1], out)
    build_report(root, "tiny", entries, out, blind=BLIND)
    for name in ("report.html", "results.json"):
        assert (out / name).read_bytes() == (report[1] / name).read_bytes()
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "results.json"]


def test_a_report_that_a_merge_broke_is_written_anew(study, tmp_path):
    root, entries, _, _ = study
    (tmp_path / "results.json").write_text("<<<<<<< HEAD\n{}\n")
    again = build_report(root, "tiny", entries[:2], tmp_path)
    assert again["seconds"] is None
    assert json.loads((tmp_path / "results.json").read_text()) == again


def test_a_design_without_score_is_named(study, tmp_path):
    root, entries, _, _ = study
    ghost = Entry("mae_vicuna-7b_cc558k_mix665k", {"encoders": ["mae"], "llm": "vicuna-7b"}, None)
    results = build_report(root, "tiny", [*entries, ghost], tmp_path)
    assert results["missing"] == [ghost.name]
    assert results["blind"] is None
    assert ghost.name in (tmp_path / "report.html").read_text()
    (tmp_path / "roadmap").mkdir()
    shutil.copy(tmp_path / "results.json", tmp_path / "roadmap")
    assert f"Not scored yet: `{ghost.name}`" in readme.section("results", tmp_path)


def test_a_score_of_other_parameters_counts_as_missing(study, tmp_path):
    root, entries, _, _ = study
    old = {entries[0].name, BLIND}
    results = build_report(root, "tiny", entries, tmp_path, blind=BLIND, is_current=lambda name: name not in old)
    assert results["missing"] == [entries[0].name]
    assert [row["name"] for row in results["designs"]] == [entry.name for entry in entries[1:]]
    assert results["blind"] is None


def test_nothing_scored_is_an_error(study, tmp_path):
    with pytest.raises(InputError, match=r"score.*none of the 1 designs.*spatialllm roadmap"):
        build_report(study[0], "tiny", [Entry("nothing")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["another benchmark", "altered metrics", "no picture"])
def test_files_that_contradict_each_other_are_refused(study, tmp_path, fault):
    root, entries, _, _ = study
    copy = tmp_path / "study"
    shutil.copytree(root, copy)
    score = copy / "runs/tiny/score" / entries[0].name
    if fault == "another benchmark":
        answers = pd.read_parquet(score / "predictions.parquet")
        answers.iloc[:-3].to_parquet(score / "predictions.parquet")
        message = r"predictions\.parquet: answers 177 questions, 3 of them"
    elif fault == "altered metrics":
        (score / "metrics.json").write_text('{"average": 0.99}')
        message = r"metrics\.json: average is 0\.99, its predictions give 0\."
    else:
        (copy / "runs/tiny/scenes/test/images-00001.parquet").unlink()
        message = r"scenes/test: no image with key test/"
    with pytest.raises(InputError, match=message):
        build_report(copy, "tiny", entries, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_page_shows_the_seeds_that_were_run(report, tmp_path):
    (tmp_path / "seeds").mkdir()
    assert readme.section("seeds", tmp_path) == "\n"
    shutil.copy(report[1] / "results.json", tmp_path / "seeds/seed-1.json")
    assert "| # | seed 1 |" in readme.section("seeds", tmp_path)


def test_a_report_of_other_designs_has_no_times_of_the_one_before(study, tmp_path):
    root, entries, _, _ = study
    counts = {"planned": 27, "executed": 25, "restored": 2}
    build_report(root, "tiny", entries, tmp_path, stage_counts=counts, seconds=60.0)
    again = build_report(root, "tiny", entries, tmp_path)
    assert (again["stage_runs"], again["seconds"]) == (counts, 60.0)
    fewer = build_report(root, "tiny", entries[:2], tmp_path)
    assert (fewer["stage_runs"], fewer["seconds"]) == (None, None)
