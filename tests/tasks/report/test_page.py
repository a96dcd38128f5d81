"""The page: it stands alone, says what does not hold, and can be read in a real Chromium."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from data_registry.paper import CLASSES
from tasks.report import build_report
from tests.tasks.report.study import BLIND, write_score


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
    assert all(target.startswith(("data:image/", "#")) for target in targets), "inside the page"
    assert "<script" not in html
    assert html.count('<article class="example">') == 12
    assert "the red &lt;car&gt;" in html, "text from data is escaped"
    assert "<car>" not in html
    assert "61.4°" in html
    assert "91.2 %" in html
    ids = re.findall(r"\bid=\"([^\"]*)\"", html)
    assert len(set(ids)) == len(ids)


def test_the_page_says_how_many_resamples_its_intervals_are_of(study, tmp_path):
    root, entries, _, _ = study
    results = build_report(root, "tiny", entries[:1], tmp_path, resamples=1234)
    assert results["resamples"] == 1234
    assert "1,234 bootstrap" in (tmp_path / "report.html").read_text()


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
        "[...document.querySelectorAll('svg.wide [id*=-bar-plain-], svg.wide [id*=-bar-informed-]')]"
        ".map(bar => bar.getBoundingClientRect().width)"
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
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_it_can_be_read_on_any_screen(browser, report, tmp_path, width, dark):
    """Neither blank nor wider than the window, by day and by night, with bars in both colours."""
    browser.look(width, 2400, dark)
    browser.open((report[1] / "report.html").as_uri())
    assert browser.read("document.documentElement.scrollWidth") <= width
    shown = browser.read("[...document.querySelectorAll('svg.figure')].map(one => one.getBoundingClientRect().width)")
    assert [size > 0 for size in shown] == [width > 640, width < 640] * 2, "each figure in the form that fits"
    pixels = np.asarray(Image.open(browser.picture(tmp_path / "page.png")).convert("RGB")).astype(int)
    assert pixels.shape[1] == width
    assert (pixels.mean() < 80) == dark
    blue, orange = ([86, 169, 220], [240, 168, 48]) if dark else ([0, 114, 178], [224, 138, 0])
    for colour in (blue, orange):
        assert (np.abs(pixels - colour).max(axis=2) < 12).sum() > 500, f"bars in {colour} are missing"
