"""The report: its numbers are those of the files, its page stands alone, contradictions are named."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from data_registry.errors import InputError
from data_registry.paper import CLASSES, TABLE_2
from data_registry.storage import shards
from tasks.report import Entry, build_report, readme
from tasks.report.terminal import table

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


def test_a_failed_check_is_shown_as_failed(study, tmp_path):
    root, entries, questions, _ = study
    copy = tmp_path / "flat"
    shutil.copytree(root, copy)
    shutil.rmtree(copy / "runs/tiny/score" / entries[-1].name)
    write_score(copy, questions, entries[-1].name, 0.5, seed=77)
    results = build_report(copy, "tiny", entries, tmp_path / "out", blind=BLIND)
    assert not next(c for c in results["checks"] if "10 points" in c["claim"])["passed"]
    assert "does not hold" in (tmp_path / "out/report.html").read_text()


def test_the_headline_claims_no_step_that_the_interval_does_not_show(study, report, tmp_path):
    root, entries, _, _ = study
    shown = build_report(root, "tiny", entries[:2], tmp_path)["paired"]["difference"]["average"]["interval95"]
    assert shown[0] <= 0 <= shown[1]
    assert "no difference shown</h1>" in (tmp_path / "report.html").read_text()
    assert report[0]["paired"]["difference"]["average"]["interval95"][0] > 0
    assert "<h1>From " in (report[1] / "report.html").read_text()


def test_the_page_stands_alone(report):
    html = (report[1] / "report.html").read_text()
    fetched = re.findall(r"""(?:src|href|xlink:href)\s*=\s*["']([^"']*)|url\(([^)]*)\)|@import""", html)
    targets = [a or b for a, b in fetched]
    assert targets, "the example pictures are inside"
    assert all(target.startswith("data:image/") for target in targets)
    assert "<script" not in html
    assert html.count('<article class="example">') == 12
    assert "the red &lt;car&gt;" in html, "text from data is escaped"
    assert "<car>" not in html
    assert "61.4°" in html
    assert "91.2 %" in html


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


def test_examples_do_not_depend_on_answers(study):
    from tasks.report.data import read_questions
    from tasks.report.examples import choose

    questions = read_questions(study[0], "tiny")
    chosen = choose(questions, 12)
    assert chosen["class"].value_counts().to_dict() == dict.fromkeys(CLASSES, 4)
    assert chosen["image"].is_unique
    assert all(chosen[chosen["class"] == name]["type"].nunique() == 3 for name in CLASSES)
    shuffled = questions.sample(frac=1, random_state=3).drop(columns="answer")
    assert list(choose(shuffled, 12).index) == list(chosen.index)


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


def test_the_terminal_and_the_readme_print_the_same_numbers(report, tmp_path):
    results, out = report
    shutil.copytree(out, tmp_path / "reports/roadmap")
    console = Console(width=80, file=io.StringIO())
    console.print(table(results))
    printed = console.file.getvalue()
    assert max(map(len, printed.splitlines())) <= 80
    page = tmp_path / "README.md"
    begin, end = readme.markers("results")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    assert readme.update(page, tmp_path / "reports")
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    for row in results["designs"]:
        shown = f"{row['accuracy']['average']:.1f}"
        assert shown in printed
        assert f"**{shown}**" in text
    assert not readme.update(page, tmp_path / "reports"), "a second time changes nothing"


def test_a_page_shows_the_seeds_that_were_run(report, tmp_path):
    (tmp_path / "seeds").mkdir()
    assert readme.section("seeds", tmp_path) == "\n"
    shutil.copy(report[1] / "results.json", tmp_path / "seeds/seed-1.json")
    assert "| # | seed 1 |" in readme.section("seeds", tmp_path)


def test_a_readme_without_markers_is_refused(report, tmp_path):
    shutil.copytree(report[1], tmp_path / "reports/roadmap")
    (tmp_path / "README.md").write_text("no place for results")
    with pytest.raises(InputError, match=r"README\.md: needs the two lines"):
        readme.update(tmp_path / "README.md", tmp_path / "reports")


@pytest.mark.browser
def test_what_a_reader_sees(browser, report):
    """The page in a real Chromium: bars, table, twelve examples; it fetches nothing and logs no error."""
    results, folder = report
    page = (folder / "report.html").as_uri()
    browser.look(1280, 2400)
    browser.open(page)
    assert browser.requests == [page], "the page fetches nothing"
    assert browser.errors == []

    bars = browser.read(
        "[...document.querySelectorAll('section[aria-labelledby=roadmap] svg[role=img] rect')]"
        ".filter(bar => bar.matches('.plain, .informed')).map(bar => bar.getBoundingClientRect().width)"
    )
    averages = [row["accuracy"]["average"] for row in results["designs"]]
    assert np.argsort(bars, kind="stable").tolist() == np.argsort(averages, kind="stable").tolist()

    lines = browser.read(
        "[...document.querySelectorAll('section[aria-labelledby=table] tbody tr')].map(line => line.innerText)"
    )
    for row, shown in zip(results["designs"], lines):
        for name in ("average", *CLASSES):
            assert f"{row['accuracy'][name]:.1f}" in shown

    examples = browser.read(
        "Promise.all([...document.querySelectorAll('.example')].map(async example => {"
        "  const picture = new Image(); picture.src = example.querySelector('image').href.baseVal;"
        "  await picture.decode();"
        "  return {pixels: picture.naturalWidth, options: example.querySelectorAll('ol li').length,"
        "          answers: example.querySelectorAll('table tr').length}; }))"
    )
    assert len(examples) == 12
    assert {one["pixels"] for one in examples} == {96}
    assert all(one["options"] >= 2 and one["answers"] >= len(results["designs"]) for one in examples)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (420, True)])
def test_it_can_be_read_on_any_screen(browser, report, tmp_path, width, dark):
    """Neither blank nor wider than the window, by day and by night, with bars in both colours."""
    browser.look(width, 2400, dark)
    browser.open((report[1] / "report.html").as_uri())
    assert browser.read("document.documentElement.scrollWidth") <= width
    pixels = np.asarray(Image.open(browser.picture(tmp_path / "page.png")).convert("RGB")).astype(int)
    assert pixels.shape[1] == width
    assert (pixels.mean() < 80) == dark
    blue, orange = ([86, 169, 220], [240, 168, 48]) if dark else ([0, 114, 178], [224, 138, 0])
    for colour in (blue, orange):
        assert (np.abs(pixels - colour).max(axis=2) < 12).sum() > 500, f"bars in {colour} are missing"


def test_a_report_of_other_designs_has_no_times_of_the_one_before(study, tmp_path):
    root, entries, _, _ = study
    counts = {"planned": 27, "executed": 25, "restored": 2}
    build_report(root, "tiny", entries, tmp_path, stage_counts=counts, seconds=60.0)
    again = build_report(root, "tiny", entries, tmp_path)
    assert (again["stage_runs"], again["seconds"]) == (counts, 60.0)
    fewer = build_report(root, "tiny", entries[:2], tmp_path)
    assert (fewer["stage_runs"], fewer["seconds"]) == (None, None)
