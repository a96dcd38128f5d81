"""The report of a sweep: effects that do not credit a part with the company it kept, and a report that shows them."""

import itertools
import json
import random
from statistics import pvariance as variance

import pytest
from rich.console import Console

from flows.cli.tables import trials_table
from flows.costs.prices import DesignCosts
from flows.designs.space import Space
from flows.search.config import Config
from flows.search.report import results as report_of
from flows.search.report.effects import effects
from flows.search.trials import Trial
from tasks.identity import settings
from tasks.report import readme

ORDER = {"llm": ["a", "b"], "data": ["x", "y", "z"], "same": ["only"]}
WORTH = {"a": 0.0, "b": 0.1, "x": 0.0, "y": -0.05, "z": 0.2, "only": 0.0}
GRID = [dict(zip(ORDER, each, strict=True)) for each in itertools.product(*ORDER.values())]


def value(design: dict[str, str]) -> float:
    return 0.5 + sum(WORTH[choice] for choice in design.values())


def effect_of(found: dict, part: str) -> dict[str, float]:
    (choices,) = [one["choices"] for one in found["parts"] if one["name"] == part]
    return {choice["name"]: choice["effect"] for choice in choices}


def test_effects_of_a_full_grid():
    found = effects(GRID, [value(design) for design in GRID], ORDER)
    assert [part["name"] for part in found["parts"]] == ["data", "llm"], "the strongest first, none without a choice"
    assert effect_of(found, "llm") == pytest.approx({"a": 0.0, "b": 0.1})
    assert effect_of(found, "data") == pytest.approx({"x": 0.0, "y": -0.05, "z": 0.2})
    assert found["explained"] == pytest.approx(1)
    assert sum(part["share"] for part in found["parts"]) == pytest.approx(1), "orthogonal, so shares add up"
    assert [pair["share"] for pair in found["pairs"]] == pytest.approx([0.0])


def test_a_part_is_not_credited_with_its_company():
    """A sampler that likes b and z tries them together: the means say that b is worth more than it is."""
    tried = [d for d in GRID for _ in range(9 if (d["llm"] == "b") == (d["data"] == "z") else 1)]
    random.Random(0).shuffle(tried)
    found = effects(tried, [value(design) for design in tried], ORDER)
    (llm,) = [part for part in found["parts"] if part["name"] == "llm"]
    a, b = llm["choices"]
    assert b["mean"] - a["mean"] > 0.2
    assert b["effect"] == pytest.approx(0.1)


def test_parts_that_depend_on_each_other():
    values = [value(d) + 0.2 * (d["llm"] == "b" and d["data"] == "z") for d in GRID]
    (pair,) = effects(GRID, values, ORDER)["pairs"]
    assert pair["share"] == pytest.approx(0.04 * (1 / 2) * (2 / 3) / (6 * variance(values)))
    assert pair["cells"]["b"]["z"] == pytest.approx(1.0)


def test_what_cannot_be_told_apart_is_not_told():
    tried = [d for d in GRID if (d["llm"] == "b") == (d["data"] == "z")] * 2
    found = effects(tried, [value(design) for design in tried], ORDER)
    assert effect_of(found, "llm")["b"] is None


@pytest.mark.parametrize(
    "designs, values", [([], []), (GRID, [0.5] * len(GRID)), (GRID[:3], [value(design) for design in GRID[:3]])]
)
def test_too_little_to_say(designs, values):
    assert effects(designs, values, ORDER) == {"explained": None, "parts": [], "pairs": []}


@pytest.fixture
def study(tmp_path):
    """The 24 designs of a space with trials whose accuracy is decided by stage 2's data above all."""
    (tmp_path / "params.yaml").write_text("scale: tiny\nruntime: {dollars_per_hour: 2}\nversions: {}\n")
    space = Space(encoders=["clip", "clip+dinov2"], stage0=["none"], stage1=["cc558k", "cc558k+3di-pb-oi1m"])
    return tmp_path, space


def accuracy(design) -> float:
    return 0.5 + 0.1 * ("3di-ft1m" in design.stage2) + 0.02 * ("dinov2" in design.encoders)


def report(root, space, trials, rungs=()):
    found = settings.load(root)
    config = Config(space=space)
    results = report_of.results_of(found, "s", "grid", config, trials, list(rungs), DesignCosts(root))
    written = report_of.write(root / "reports", results, trials, space, {"stage2": 0.8, "encoders": 0.2})
    assert json.loads(written[0].read_text()) == results
    return results, written[1].read_text()


def test_the_report_says_what_was_found(study):
    root, space = study
    trials = [Trial(n, d, accuracy(d), None, (), 0.1) for n, d in enumerate(space.designs())]
    trials.sort(key=lambda trial: -trial.value)
    results, page = report(root, space, trials)
    assert (results["designs"], results["size"], results["complete"]) == (16, 16, 16)
    assert results["training_runs"] == {"naive": 32, "shared": 24}
    assert results["hours"]["shared"] < results["hours"]["naive"]
    assert results["dollars"] == pytest.approx(2 * results["hours"]["shared"], rel=1e-2)
    assert [part["name"] for part in results["effects"]["parts"]][:2] == ["stage2", "encoders"]
    assert effect_of(results["effects"], "stage2")["mix665k+3di-ft1m"] == pytest.approx(0.1)
    assert "62.0 % with the best of 16 designs" in page
    assert page.count("data:image/png;base64,") == 5
    assert "Mix665K + 3DI-Ft1M" in page and "+10.0" in page


def test_a_halving_counts_a_training_that_went_on_once(study):
    root, space = study
    designs = list(space.designs())
    designs.sort(key=lambda design: -accuracy(design))
    rungs = ["1of3", "1"]
    trials = [
        Trial(n, d, accuracy(d), None, (accuracy(d) - 0.05, accuracy(d)), 0.1)
        if n < 6
        else Trial(n, d, None, "stopped", (accuracy(d) - 0.05,), None)
        for n, d in enumerate(designs)
    ]
    results, page = report(root, space, trials, rungs)
    assert (results["designs"], results["complete"]) == (16, 6)
    assert results["training_runs"] == {"naive": 32, "shared": 24}
    assert effect_of(results["effects"], "stage2")["mix665k+3di-ft1m"] == pytest.approx(0.1), "all of the first rung"
    assert "at the first rung (1of3 of stage 2)" in page
    assert page.count("stopped at") == 10
    assert "sweep --study s --halving</code>" in page, "without it the study is refused"


def test_a_design_that_failed_at_a_later_rung_is_said_to_have_failed(study):
    root, space = study
    failed = Trial(0, next(space.designs()), None, "failed", (0.5,), None)
    _, page = report(root, space, [failed], ["1of3", "1"])
    assert "<small>failed</small>" in page and "stopped at" not in page
    console = Console(width=120)
    with console.capture() as shown:
        console.print(trials_table([failed]))
    assert "failed" in shown.get() and "stopped at" not in shown.get()


def test_the_readme_tells_of_the_sweep(study, tmp_path):
    root, space = study
    trials = [Trial(n, d, accuracy(d), None, (), 0.1 + n) for n, d in enumerate(space.designs())]
    trials.sort(key=lambda trial: -trial.value)
    report(root, space, trials)
    (root / "reports").rename(root / "sweep-tiny")
    begin, end = readme.markers("sweep")
    text = readme.written(f"a\n{begin}\nold\n{end}\nb\n", root, "README.md")
    assert text.startswith(f"a\n{begin}\n16 designs, trained and scored in 24 training runs instead of 32")
    assert "| stage 2 data | " in text and "Mix665K + 3DI-Ft1M **+10.0**" in text
    assert f"| `{next(space.designs()).name}` | 50.0 % | 0.100 |" in text, "the cheapest is on the front"
    assert text.endswith(f"{end}\nb\n")


def test_a_study_without_an_answer_has_a_report(study):
    root, space = study
    _, page = report(root, space, [Trial(0, next(space.designs()), None, "failed", (), None)])
    assert "No design has an answer yet" in page
