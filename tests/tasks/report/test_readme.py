"""The measured results in README.md are those of the reports."""

import io
import shutil

import pytest
from rich.console import Console

from data_registry.errors import InputError
from tasks.report import readme
from tasks.report.terminal import table


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


def test_a_readme_without_markers_is_refused(report, tmp_path):
    shutil.copytree(report[1], tmp_path / "reports/roadmap")
    (tmp_path / "README.md").write_text("no place for results")
    with pytest.raises(InputError, match=r"README\.md: needs the two lines"):
        readme.update(tmp_path / "README.md", tmp_path / "reports")


def test_figures_that_a_power_loss_left_empty_are_named(tmp_path):
    (tmp_path / "roadmap").mkdir()
    (tmp_path / "roadmap" / "results.json").touch()
    with pytest.raises(InputError, match=r"results\.json: is empty, as a power loss leaves files; `make roadmap`"):
        readme._roadmap(tmp_path)
