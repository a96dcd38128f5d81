"""The stages data, benchmark and baselines under the harness: from scenes to files, counts and clear refusals."""

import html
import json
from pathlib import Path

import pytest
import yaml

from data_registry import conversations
from data_registry.benchmark import spatialvqa, variants
from data_registry.errors import InputError
from data_registry.storage.shards import Images
from tasks import baselines, data, scenes
from tasks import benchmark as benchmark_stage
from tasks.stage import harness

SETS = ("cc558k", "mix665k", "3di-pb-oi1m", "3di-pb-in166k", "3di-ft1m")
CAPTIONS = {"3di-pb-oi1m": ["object_distance", "pair_distance", "depth_order"], "3di-pb-in166k": ["object_azimuth"]}
QUESTIONS = {"distance": 24, "orientation": 19, "relation": 24}


def configure(root: Path, **changes) -> None:
    """Write params.yaml and plan.yaml; `changes` replace sections of params.yaml."""
    each = {name: {"recipe": {"types": CAPTIONS[name]}} if name in CAPTIONS else {} for name in SETS}
    params = {
        "scale": "tiny",
        "seed": 0,
        "runtime": {"threads": 1, "workers": 1},
        "versions": dict.fromkeys(("scenes", "data", "benchmark", "baselines"), 1),
        "scenes": {
            "common": {"size": 48, "quality": 90},
            "each": {"train": {"images": 90, "seed": 1}, "test": {"images": 120, "seed": 2}},
        },
        "data": {"common": {"seed": 3}, "each": each},
        "benchmark": {"seed": 4, "questions": QUESTIONS, "per_image": 4},
        "baselines": {"seed": 5},
    } | changes
    params = {k: {"tiny": v} if k in ("scenes", "data", "benchmark", "baselines") else v for k, v in params.items()}
    plan = {
        "scenes": {split: {"parts": {"split": split}} for split in ("train", "test")},
        "data": {name: {"parts": {"dataset": name}, "scenes": "scenes/train"} for name in SETS},
        "benchmark": {"spatialvqa": {"parts": {}, "scenes": "scenes/test", "train": "scenes/train"}},
        "baselines": {
            "spatialvqa": {"parts": {}, "benchmark": "benchmark/spatialvqa", "data": ["data/mix665k", "data/3di-ft1m"]}
        },
    }
    root.mkdir(exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    (root / "plan.yaml").write_text(yaml.safe_dump({"plan": plan}))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A repository's root with every data stage computed once."""
    root = tmp_path_factory.mktemp("data_stages")
    configure(root)
    for split in ("train", "test"):
        harness.execute("scenes", split, scenes.compute, root)
    for name in SETS:
        assert harness.execute("data", name, data.compute, root)
    assert harness.execute("benchmark", "spatialvqa", benchmark_stage.compute, root)
    assert harness.execute("baselines", "spatialvqa", baselines.compute, root)
    return root


def metrics(root: Path, run: str) -> dict:
    return json.loads((root / "runs" / "tiny" / run / "metrics.json").read_text())


@pytest.mark.parametrize("name", SETS)
def test_a_data_set_is_written_with_its_counts(root, name):
    path = root / "runs" / "tiny" / "data" / name / "conversations.parquet"
    records = list(conversations.read(path))
    counted = metrics(root, f"data/{name}")
    assert counted["samples"] == len(records) > 60
    assert counted["turns"] == sum(len(r["types"]) for r in records) == sum(counted["types"].values())
    assert counted["scenes"] == counted["read"]["images"] == 90
    dropped_scenes = sum(n for reason, n in counted["dropped"].items() if reason.startswith("image:"))
    assert len(records) + dropped_scenes == 90, "every scene is used or counted as dropped"
    train = Images(root / "runs" / "tiny" / "scenes" / "train")
    assert all(r["image"] in train for r in records if r["image"] is not None)
    assert len({r["id"] for r in records}) == len(records)


def test_the_same_seed_gives_the_same_bytes(root, tmp_path):
    files = []
    for k in range(2):
        run = harness.StageRun(
            "tiny", "data", "3di-ft1m", {"seed": 3}, {}, 3, tmp_path / str(k), tmp_path,
            {"scenes": root / "runs" / "tiny" / "scenes" / "train"},
        )  # fmt: skip
        run.out.mkdir()
        data.compute(run)
        files.append((run.out / "conversations.parquet").read_bytes())
    published = root / "runs" / "tiny" / "data" / "3di-ft1m" / "conversations.parquet"
    assert files[0] == files[1] == published.read_bytes()


def test_the_benchmark_has_its_quotas_and_only_test_images(root):
    questions = spatialvqa.read(root / "runs" / "tiny" / "benchmark" / "spatialvqa" / "questions.parquet")
    assert {c: sum(q.class_ == c for q in questions) for c in QUESTIONS} == QUESTIONS
    test = Images(root / "runs" / "tiny" / "scenes" / "test")
    assert all(q.image in test for q in questions)
    counted = metrics(root, "benchmark/spatialvqa")
    assert counted["training_images_compared"] == 90
    assert counted["images_shared_with_training"] == 0


def test_variants_stand_beside_the_questions_and_change_nothing(root, tmp_path):
    """CircularEval, FlipEval, a datasheet and a contact sheet where asked for; the questions stay the same."""
    published = root / "runs" / "tiny" / "benchmark" / "spatialvqa"
    assert {path.name for path in published.iterdir()} == {"questions.parquet", "metrics.json", "MANIFEST.json"}
    params = {"seed": 4, "questions": QUESTIONS, "per_image": 4, "variants": True, "sheet": 5}
    run = harness.StageRun(
        "tiny", "benchmark", "spatialvqa", params, {}, 4, tmp_path, tmp_path,
        {"scenes": root / "runs" / "tiny" / "scenes" / "test", "train": root / "runs" / "tiny" / "scenes" / "train"},
    )  # fmt: skip
    counted = benchmark_stage.compute(run)
    assert (tmp_path / "questions.parquet").read_bytes() == (published / "questions.parquet").read_bytes()
    questions = spatialvqa.read(tmp_path / "questions.parquet")
    assert counted["variants"] == {"circular": len(questions), "flip": len(questions)}
    assert {one.id for one in variants.read(tmp_path / variants.FILE)} == {q.id for q in questions}
    sheet = json.loads((tmp_path / "datasheet.json").read_text())
    assert sheet["classes"] == QUESTIONS
    assert sheet["sources"] == {"rendered": len(questions)}
    page = (tmp_path / "contact.html").read_text()
    assert page.count("<img ") == 5
    first = questions[0]
    assert html.escape(first.question) in page
    assert f'class="right">{"AB"[first.answer]}. {html.escape(first.options[first.answer])}<' in page


def test_baselines_are_fractions_by_class_and_type(root):
    found = metrics(root, "baselines/spatialvqa")
    for key in ("majority", "lookup", "shortcut_2d", "chance"):
        assert set(found[key]) == {"average", "distance", "orientation", "relation", "types"}
        assert all(0 <= found[key][s] <= 1 for s in ("average", *QUESTIONS))
    assert found["chance"]["average"] == 0.5
    assert found["majority"]["average"] < 0.55
    assert found["shortcut_2d"]["types"]["closer_to_viewer"] > 0.6, "what stands lower in the picture is mostly closer"
    assert found["lookup_learnt_from"] > 100


def test_scenes_in_both_splits_are_refused(root, tmp_path):
    run = harness.StageRun(
        "tiny", "benchmark", "spatialvqa", {"seed": 4, "questions": {"distance": 8, "orientation": 8, "relation": 8}},
        {}, 4, tmp_path, tmp_path, dict.fromkeys(("scenes", "train"), root / "runs" / "tiny" / "scenes" / "test"),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"its images are also in .*give the splits different seeds"):
        benchmark_stage.compute(run)
    assert not (tmp_path / "questions.parquet").exists()


def test_too_few_test_scenes_publish_nothing(root, tmp_path):
    run = harness.StageRun(
        "tiny", "benchmark", "spatialvqa", {"seed": 4}, {}, 4, tmp_path, tmp_path,
        {"scenes": root / "runs" / "tiny" / "scenes" / "test", "train": root / "runs" / "tiny" / "scenes" / "train"},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"120 test scenes give .* more test scenes are needed"):
        benchmark_stage.compute(run)
    assert not list(tmp_path.iterdir())


def test_a_class_without_questions_is_refused(tmp_path):
    params = {"seed": 4, "questions": {"orientation": 0}}
    run = harness.StageRun("tiny", "benchmark", "spatialvqa", params, {}, 4, tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"benchmark\.tiny\.questions\.orientation: 0: must be 1 or more"):
        benchmark_stage.compute(run)


@pytest.mark.parametrize(("section", "message"), [
    ({"seed": 3, "margin": {}}, r"data\.tiny\.margin: unknown key, did you mean margins\?"),
    ({"seed": 3, "margins": {"axis": 3}}, r"margins\.axis: unknown key, did you mean axis_deg\?"),
    ({"seed": 3, "recipe": {"turn": [1, 2]}}, r"3di-ft1m\.recipe\.turn: unknown key, did you mean turns\?"),
    ({"seed": 3, "images": 1000}, r"has 90 scenes, but .* asks for images: 1000"),
])  # fmt: skip
def test_wrong_parameters_name_the_key_and_the_nearest(root, tmp_path, section, message):
    run = harness.StageRun(
        "tiny", "data", "3di-ft1m", section, {}, 3, tmp_path, tmp_path,
        {"scenes": root / "runs" / "tiny" / "scenes" / "train"},
    )  # fmt: skip
    with pytest.raises(InputError, match=message):
        data.compute(run)


def test_an_unknown_data_set_names_the_nearest(tmp_path):
    run = harness.StageRun("tiny", "data", "3di-ft", {"seed": 3}, {}, 3, tmp_path, tmp_path)
    with pytest.raises(InputError, match="did you mean 3di-ft1m"):
        data.compute(run)


def test_data_stages_do_not_import_torch():
    """Each stage is a process of its own; torch alone would double their time."""
    import subprocess
    import sys

    code = "import sys, tasks.data, tasks.benchmark, tasks.baselines; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)
