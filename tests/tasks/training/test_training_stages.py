"""Stages 0, 1, 2 and scoring as commands, on random tiny models: every design runs, resumes, and says what is wrong."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data_registry.errors import InputError
from tasks import adapt, align, instruct
from tasks.stage.harness import execute
from tasks.training import model_files
from tests.tasks.training_project import (
    ADAPTED,
    BLIND,
    COMPUTE,
    DESIGN,
    IMAGES,
    NEXT_TOKEN,
    metrics,
    run_chain,
    stage_run,
)


@pytest.mark.parametrize("design", [DESIGN, BLIND, ADAPTED, NEXT_TOKEN])
def test_every_kind_of_design_runs_from_stage_0_to_its_score(root, design):
    run_chain(root, design)
    found = metrics(root, "score", design)
    table = pq.read_table(root / "runs" / "tiny" / "score" / design / "predictions.parquet").to_pylist()
    assert len(table) == 18
    assert found["average"] == pytest.approx(np.mean([row["correct"] for row in table]))
    for row in table:
        assert row["prediction"] == int(np.argmax(row["logprobs"])) and len(row["logprobs"]) == 2
        assert row["correct"] == (row["prediction"] == row["answer"])
    assert found["questions"] == {"all": 18, "distance": 6, "orientation": 6, "relation": 6}
    low, high = found["interval95"]["average"]
    assert low <= found["average"] <= high
    assert found["generated"]["questions"] >= 4
    made = root / "runs" / "tiny" / "instruct" / design
    assert str(root) not in (made / "config.json").read_text(), "a clone elsewhere makes the same files"
    history = made / "history.jsonl"
    assert len(history.read_text().splitlines()) == metrics(root, "instruct", design)["steps"]


def test_adapted_encoder_has_the_foundations_shape_and_other_weights(root):
    from safetensors.torch import load_file

    for name in ("clip_3di-pb-oi1m-clip", "clip_3di-pb-oi1m-ntp_vicuna-7b"):
        execute("adapt", name, adapt.compute, root)
        before = load_file(root / "runs/tiny/foundation/clip/model.safetensors")
        after = load_file(root / f"runs/tiny/adapt/{name}/model.safetensors")
        assert {k: (v.shape, v.dtype) for k, v in before.items()} == {k: (v.shape, v.dtype) for k, v in after.items()}
        changed = {k for k in before if not torch.equal(before[k], after[k])}
        assert changed and all("vision_model" in k and "_proj.weight" in k for k in changed)
        assert (root / f"runs/tiny/adapt/{name}/tokenizer.json").exists()
    assert metrics(root, "adapt", "clip_3di-pb-oi1m-clip")["captions_cut"] == 0


ZERO = """
import dataclasses, json, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from tests.tasks.training_project import COMPUTE, stage_run
for zero in (0, 2):
    run = stage_run(Path({root!r}), "adapt", {name!r}, Path({folder!r}) / str(zero))
    found = COMPUTE["adapt"](dataclasses.replace(run, params={{**run.params, "zero_stage": zero}}))
    print(json.dumps([found["loss"], found["steps"], found["adapted_layers"]]))
"""


@pytest.mark.parametrize("name", ["clip_3di-pb-oi1m-clip", "clip_3di-pb-oi1m-ntp_vicuna-7b"])
def test_stage_0_trains_by_zero_as_at_paper_scale(root, tmp_path, name):
    """In a process of its own: DeepSpeed leaves its state behind."""
    here = Path(__file__)
    code = ZERO.format(paths=[str(here.parents[3])], root=str(root), folder=str(tmp_path), name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    plain, zero = map(json.loads, done.stdout.splitlines()[-2:])
    assert zero == [pytest.approx(plain[0], rel=0.02), *plain[1:]]


def test_connector_of_other_parts_is_refused(root):
    run_chain(root, DESIGN)
    folder = root / "runs/tiny/align/clip+dinov2_vicuna-7b_cc558k"
    model, _ = model_files.load_model(root / "runs" / "tiny" / "instruct" / DESIGN)
    model_files.load_connector(model, folder)
    model.config.grid = 99
    with pytest.raises(InputError, match=r"config\.json: grid is 4, but this design has 99"):
        model_files.load_connector(model, folder)


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"start": "word"}, r"align\.tiny\.start: 'word' is unknown, known: random, words"),
        ({"start": "words"}, "needs connector: normed_mlp2x_gelu and mixing: channel, not mlp2x_gelu and channel"),
        ({"start": "words", "connector": "normed_mlp2x_gelu"}, "none of the captions' words in the features of 12"),
    ],
)
@pytest.mark.parametrize("budget_gb", [0, 1])
def test_a_start_that_cannot_be_had_is_refused(root, tmp_path, keys, message, budget_gb):
    run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path)
    run.params.update(keys)
    run.runtime["feature_budget_gb"] = budget_gb
    with pytest.raises(InputError, match=message):
        align.compute(run)


def test_interrupted_training_goes_on_and_ends_in_the_same_weights(root, tmp_path):
    whole = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path / "whole")
    align.compute(whole)
    broken = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path / "broken")

    class Killed(BaseException):
        pass

    def die(done, total):
        if done == total < IMAGES:  # the last step of training, not the last image
            raise Killed

    broken.report_progress = die
    with pytest.raises(Killed):
        align.compute(broken)
    assert list(broken.work.glob("checkpoint-*/COMPLETE.json"))
    broken.report_progress = lambda done, total: None
    align.compute(broken)
    assert (broken.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()


# Losses of one run each, in fp32, by the stage's version in params.yaml. A change that moves one of them changes what
# the stage computes: raise its version there, then write the new value here.
GOLDEN = {
    ("adapt", "clip_3di-pb-oi1m-clip"): (1, 1.7645),
    ("align", "clip+dinov2_vicuna-7b_cc558k"): (1, 7.6561),
    ("instruct", BLIND): (1, 5.4966),
}


@pytest.mark.parametrize(("stage", "name"), GOLDEN)
def test_a_stage_computes_what_its_version_says(root, tmp_path, stage, name):
    from ruamel.yaml import YAML

    version, loss = GOLDEN[stage, name]
    own = YAML(typ="safe").load((Path(__file__).parents[3] / "params.yaml").read_text())
    assert own["versions"][stage] == version, f"write the loss of version {own['versions'][stage]} of {stage} here"
    run = stage_run(root, stage, name, tmp_path)
    found = COMPUTE[stage](dataclasses.replace(run, params={**run.params, "bf16": False}))["loss"]
    assert found == pytest.approx(loss, abs=2e-3), f"raise versions.{stage} in params.yaml, and note {found} here"


def test_lora_trains_adapters_and_leaves_a_plain_model(root, tmp_path):
    from safetensors.torch import load_file

    run = stage_run(root, "instruct", BLIND, tmp_path)
    params = {**run.params, "optimizer": "adamw", "lora": 4, "lora_alpha": 8, "lora_dropout": 0.05, "lora_lr": 1e-2}
    found = instruct.compute(dataclasses.replace(run, params=params))
    assert found["adapted_layers"] == 14
    model, _ = model_files.load_model(run.out)
    assert found["trained_parameters"] < sum(p.numel() for p in model.parameters()) / 2
    start = load_file(run.inputs["llm"] / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    moved = model.language_model.state_dict()
    assert (moved[name] - start[name].float()).abs().max() > 1e-4
    assert torch.equal(moved["model.embed_tokens.weight"], start["model.embed_tokens.weight"].float())


@pytest.mark.parametrize(
    "stage, name, message",
    [
        ("adapt", "clip_3di-pb-oi1m-clip", "none of its samples has an image"),
        ("adapt", "clip_3di-pb-oi1m-ntp_vicuna-7b", "none of its samples has an image"),
        ("instruct", BLIND, "no samples to train on"),
    ],
)
def test_a_share_without_samples_is_named(root, tmp_path, stage, name, message):
    run = stage_run(root, stage, name, tmp_path)
    with pytest.raises(InputError, match=message):
        COMPUTE[stage](dataclasses.replace(run, params={**run.params, "fraction": 1e-9, "shard_window": 1}))


def test_unknown_objective_and_parameter_are_named(root, tmp_path):
    run = stage_run(root, "adapt", "clip_3di-pb-oi1m-clip", tmp_path)
    with pytest.raises(InputError, match=r"did you mean clip\?"):
        adapt.compute(dataclasses.replace(run, parts={**run.parts, "objective": "clp"}))
    with pytest.raises(InputError, match="dropout"):
        adapt.compute(dataclasses.replace(run, params={**run.params, "droput": 0.1}))
