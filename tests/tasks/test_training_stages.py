"""Stages 0, 1, 2 and scoring as commands, on random tiny models: every design runs, resumes, and shares features."""

import dataclasses
import io
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from PIL import Image

from data_registry import benchmark, conversations, shards
from data_registry.errors import InputError
from flows.design import choose
from flows.plan import plan_of, write_plan
from tasks import adapt, align, digest, features, instruct, lmm, score
from tasks.ask import answer, ask, split_options
from tasks.stage import EXIT_PASSING, StageRun, execute, identify

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from tiny_models import make_llm, make_tokenizer

PARAMS = """
scale: tiny
seed: 7
runtime: {threads: 1, device: cpu, batch_per_device: 4, checkpoint_steps: 2, log_steps: 1, feature_budget_gb: 1}
versions: {scenes: 1, data: 1, benchmark: 1, foundation: 1, adapt: 1, align: 1, instruct: 1, score: 1}
scenes: {tiny: {seed: 1}}
data: {tiny: {seed: 1}}
benchmark: {tiny: {seed: 1}}
foundation: {tiny: {seed: 1}}
adapt:
  tiny: {rank: 2, alpha: 4, dropout: 0.1, min_lr: 1e-6, lr: 1e-3, muon_lr: 0, optimizer: adamw, global_batch: 4,
    epochs: 1, warmup: 0.1, weight_decay: 0, max_length: 300, isolate_turns: true, turns: 4, fraction: 1, bf16: true,
    zero_stage: 0}
align:
  tiny: {connector: mlp2x_gelu, mixing: channel, template: plain, lr: 1e-3, muon_lr: 0.01, optimizer: muon+adamw,
    global_batch: 4, epochs: 1, warmup: 0.1, weight_decay: 0, max_length: 300, isolate_turns: true, turns: 4,
    fraction: 1, bf16: true, zero_stage: 0}
instruct:
  tiny: {lr: 1e-3, muon_lr: 0.01, optimizer: muon+adamw, global_batch: 4, epochs: 1, warmup: 0.1, weight_decay: 0,
    max_length: 300, isolate_turns: true, turns: 4, fraction: 1, bf16: true, zero_stage: 0}
score:
  tiny: {seed: 8, bf16: true, bootstrap: 50, generate: 4}
"""
DESIGN = "clip+dinov2_vicuna-7b_cc558k_mix665k"
ADAPTED = "clip+dinov2_vicuna-7b_3di-pb-oi1m-clip_cc558k_mix665k"
NEXT_TOKEN = "clip_vicuna-7b_3di-pb-oi1m-ntp_cc558k_mix665k"
BLIND = "blind_vicuna-7b_mix665k"
IMAGES = 12


def publish(root: Path, stage: str, name: str, fill) -> Path:
    """A stage run of the plan, as its own command would leave it."""
    from tasks import settings

    out = root / "runs" / "tiny" / stage / name
    out.mkdir(parents=True)
    fill(out)
    identity, _ = identify(settings.load(root), stage, name)
    digest.write_manifest(out, identity)
    return out


def fill_scenes(out: Path) -> None:
    rng = np.random.default_rng(0)
    with shards.Writer(out) as writer:
        for k in range(IMAGES):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(buffer, "PNG")
            writer.add(f"{out.name}/{k}.png", buffer.getvalue(), 96, 96)


def fill_data(out: Path) -> None:
    rng = random.Random(1)
    words = ["the red car", "the blue chair", "the green mug"]
    records = []
    for k in range(IMAGES):
        image = None if out.name == "mix665k" and k % 4 == 3 else f"train/{k}.png"
        turns = [conversations.Turn(f"what is there {j} ?", rng.choice(words), "what") for j in range(1 + k % 3)]
        records.append(conversations.record(f"{out.name}/{k}", image, turns))
    conversations.write(out / "conversations.parquet", records)


def fill_benchmark(out: Path) -> None:
    kinds = [("distance", "closer"), ("orientation", "facing"), ("relation", "left")]
    questions = [
        benchmark.Question(
            f"q{k}", f"test/{k % IMAGES}.png", "which is closer ?", ("the car", "the chair"), k % 2, kinds[k % 3][1],
            kinds[k % 3][0], (), (), (),
        )
        for k in range(18)
    ]  # fmt: skip
    benchmark.write(out / "questions.parquet", questions)


def fill_foundation(out: Path) -> None:
    from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    tokenizer = make_tokenizer()
    if out.name == "clip":
        ids = {"vocab_size": len(tokenizer), "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
        config = CLIPConfig(
            vision_config={**size, "image_size": 96, "patch_size": 24},
            text_config={**size, **ids, "max_position_embeddings": 16}, projection_dim=16,
        )  # fmt: skip
        CLIPModel(config).half().save_pretrained(out)
        tokenizer.save_pretrained(out)
    elif out.name == "dinov2":
        config = Dinov2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=96, patch_size=24
        )
        Dinov2Model(config).half().save_pretrained(out)
    else:
        make_llm(len(tokenizer)).half().save_pretrained(out)
        tokenizer.save_pretrained(out)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "params.yaml").write_text(PARAMS)
    plan = plan_of(choose([DESIGN, ADAPTED, NEXT_TOKEN, BLIND]))
    write_plan(root, plan)
    fills = {"scenes": fill_scenes, "data": fill_data, "benchmark": fill_benchmark, "foundation": fill_foundation}
    for run in plan.runs():
        stage, _, name = run.partition("/")
        if stage in fills:
            publish(root, stage, name, fills[stage])
    return root


@pytest.fixture(autouse=True)
def in_root(root, monkeypatch):
    monkeypatch.chdir(root)


COMPUTE = {"adapt": adapt.compute, "align": align.compute, "instruct": instruct.compute, "score": score.compute}


def run_chain(root: Path, design: str) -> None:
    wanted = plan_of(choose([design]))
    for run in wanted.runs():
        stage, _, name = run.partition("/")
        if stage in COMPUTE:
            execute(stage, name, COMPUTE[stage], root)


def metrics(root: Path, stage: str, name: str) -> dict:
    return json.loads((root / "runs" / "tiny" / stage / name / "metrics.json").read_text())


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


def test_connector_of_other_parts_is_refused(root):
    run_chain(root, DESIGN)
    folder = root / "runs/tiny/align/clip+dinov2_vicuna-7b_cc558k"
    model, _ = lmm.load_model(root / "runs" / "tiny" / "instruct" / DESIGN)
    lmm.load_connector(model, folder)
    model.config.grid = 99
    with pytest.raises(InputError, match=r"config\.json: grid is 4, but this design has 99"):
        lmm.load_connector(model, folder)


def test_features_are_computed_once_and_budget_changes_no_result(root, tmp_path):
    execute("align", "clip+dinov2_vicuna-7b_cc558k", align.compute, root)
    cached = sorted((root / ".cache/features").glob("*/features.npy"))
    stamps = [path.stat().st_mtime_ns for path in cached]
    assert len(cached) >= 2
    losses = {}
    for budget in (1, 0):
        run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path / str(budget))
        run.runtime["feature_budget_gb"] = budget
        losses[budget] = align.compute(run)["loss"]
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)
    assert [path.stat().st_mtime_ns for path in cached] == stamps


def test_two_that_need_the_same_features_share_the_work(root, tmp_path):
    """What another process is making comes last."""
    run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path / "run")
    encoders, scenes, cache = lmm.load_encoders(run), run.inputs["scenes"], tmp_path / "cache"
    cache.mkdir()
    first, second = (features._place(encoder, folder, scenes, False, cache) for encoder, folder in encoders)
    ours = threading.Thread(target=features.image_lookup, args=(encoders, scenes, False, 1.0, cache))
    with FileLock(f"{first}.lock"):
        ours.start()
        while not second.exists():
            assert ours.is_alive()
            os.sched_yield()
        assert not first.exists()
    ours.join()
    assert first.exists()


def stage_run(root: Path, stage: str, name: str, folder: Path) -> StageRun:
    """A run of a stage outside of the harness, to look at `compute` alone."""
    from tasks import settings

    found = settings.load(root)
    identity, inputs = identify(found, stage, name)
    (folder / "work").mkdir(parents=True)
    (folder / "out").mkdir()
    return StageRun(
        "tiny", stage, name, identity["params"], identity["parts"], identity["seed"], folder / "out", folder / "work",
        inputs, runtime=dict(found.runtime),
    )  # fmt: skip


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"start": "word"}, r"align\.tiny\.start is 'word'; did you mean words\?"),
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
    own = YAML(typ="safe").load((Path(__file__).parents[2] / "params.yaml").read_text())
    assert own["versions"][stage] == version, f"write the loss of version {own['versions'][stage]} of {stage} here"
    run = stage_run(root, stage, name, tmp_path)
    found = COMPUTE[stage](dataclasses.replace(run, params={**run.params, "bf16": False}))["loss"]
    assert found == pytest.approx(loss, abs=2e-3), f"raise versions.{stage} in params.yaml, and note {found} here"


def test_fractions_are_nested_and_independent_of_order(root, tmp_path):
    run = stage_run(root, "instruct", BLIND, tmp_path)
    ids = {f: [c.id for c in lmm.read_conversations(run, f)] for f in (0.3, 0.6, 1.0)}
    assert set(ids[0.3]) < set(ids[0.6]) < set(ids[1.0])
    assert len(ids[1.0]) == IMAGES
    with pytest.raises(InputError, match=r"instruct\.tiny\.fraction is 0"):
        lmm.read_conversations(run, 0)
    (name,) = {folder.name for folder in run.inputs["data"]}
    half = dataclasses.replace(run, parts={**run.parts, "shares": {name: 0.5}})
    shared = [c.id for c in lmm.read_conversations(half, 0.6)]
    assert shared == ids[0.3], "half of the data set at 0.6 of all is 0.3 of it"
    mixed = [c.id for c in lmm.read_conversations(half, 1.0, {name: IMAGES})]
    assert len(mixed) == IMAGES // 2, "the design's share is of the number that the mix names"
    assert mixed == [c.id for c in lmm.read_conversations(run, 1.0, {name: IMAGES // 2})]


def test_regrouped_turns_are_all_there_once():
    from model.samples import Conversation

    found = [Conversation(f"s{k}", f"i{k % 2}", tuple((f"q{k}{j}" * (j + 1), "a") for j in range(5))) for k in range(6)]
    rows = lmm.regroup(found, 4)
    assert all(len(row.turns) <= 4 for row in rows)
    assert sorted((row.image, t) for row in rows for t in row.turns) == sorted(
        (c.image, t) for c in found for t in c.turns
    )
    assert len(rows) == 8


def test_sample_that_cannot_be_learned_from_is_named(root, tmp_path):
    run = stage_run(root, "instruct", BLIND, tmp_path)
    data = tmp_path / "mix665k"
    shutil.copytree(run.inputs["data"][0], data)
    record = conversations.record("mix665k/odd", None, [conversations.Turn("what ?", "", "what")])
    conversations.write(data / "conversations.parquet", [record])
    run.inputs["data"] = [data]
    with pytest.raises(InputError, match="mix665k/odd: no answer to learn from"):
        instruct.compute(run)


def test_what_cannot_be_learned_from_is_counted_where_that_is_asked_for(root, tmp_path):
    run = stage_run(root, "instruct", BLIND, tmp_path)
    data = tmp_path / "mix665k"
    shutil.copytree(run.inputs["data"][0], data)
    records = [
        conversations.record("mix665k/odd", None, [conversations.Turn("what ?", "", "what")]),
        conversations.record("mix665k/long", None, [conversations.Turn("what ? " * 200, "it", "what")]),
        conversations.record("mix665k/good", None, [conversations.Turn("what ?", "it", "what")] * 4),
        conversations.record("mix665k/half", None, [conversations.Turn("what ?", a, "what") for a in ("", "it")]),
    ]
    conversations.write(data / "conversations.parquet", records)
    run.inputs["data"] = [data]
    found = instruct.compute(dataclasses.replace(run, params={**run.params, "faults": "count"}))
    assert found["faults"] == {"no_answer": 2, "too_long": 1, "not_finite": 0}
    assert found["turns"] == 5, "turns are isolated here, so a fault costs its turn alone"
    lines = [json.loads(line) for line in (run.out / "faults.jsonl").read_text().splitlines()]
    assert {(line["sample"], line["kind"]) for line in lines} == {
        ("mix665k/odd", "no_answer"), ("mix665k/half", "no_answer"), ("mix665k/long", "too_long"),
    }  # fmt: skip
    with pytest.raises(InputError, match=r"faults: 'skip' is unknown"):
        instruct.compute(dataclasses.replace(run, params={**run.params, "faults": "skip"}))


def test_image_that_does_not_decode_is_named_with_its_samples(root, tmp_path):
    run = stage_run(root, "align", "clip+dinov2_vicuna-7b_cc558k", tmp_path)
    run.runtime["feature_budget_gb"] = 0  # pixels are decoded while it trains
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    with shards.Writer(scenes) as writer:
        for k in range(IMAGES):
            buffer = io.BytesIO()
            Image.new("RGB", (96, 96), (k, k, k)).save(buffer, "PNG")
            writer.add(f"train/{k}.png", buffer.getvalue()[: 40 if k == 5 else None], 96, 96)
    run.inputs["scenes"] = scenes
    with pytest.raises(InputError, match=r"image train/5\.png does not decode .*\(samples cc558k/5\)"):
        align.compute(run)


def test_lora_trains_adapters_and_leaves_a_plain_model(root, tmp_path):
    from safetensors.torch import load_file

    run = stage_run(root, "instruct", BLIND, tmp_path)
    params = {**run.params, "optimizer": "adamw", "lora": 4, "lora_alpha": 8, "lora_dropout": 0.05, "lora_lr": 1e-2}
    found = instruct.compute(dataclasses.replace(run, params=params))
    assert found["adapted_layers"] == 14
    model, _ = lmm.load_model(run.out)
    assert found["trained_parameters"] < sum(p.numel() for p in model.parameters()) / 2
    start = load_file(run.inputs["llm"] / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    moved = model.language_model.state_dict()
    assert (moved[name] - start[name].float()).abs().max() > 1e-4
    assert torch.equal(moved["model.embed_tokens.weight"], start["model.embed_tokens.weight"].float())


def test_export_as_llava_and_with_its_processor(root, tmp_path):
    from transformers import AutoModelForCausalLM, AutoProcessor, LlavaForConditionalGeneration

    from tasks.export import export

    run_chain(root, NEXT_TOKEN)  # one encoder, adapted in stage 0
    trained = root / "runs" / "tiny" / "instruct" / NEXT_TOKEN
    export(trained, tmp_path / "own", "spatialllm")
    export(trained, tmp_path / "llava", "llava")
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 90, 3), dtype=np.uint8))
    own, processor = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "own"),
        AutoProcessor.from_pretrained(tmp_path / "own"),
    )
    llava, other = (
        LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava"),
        AutoProcessor.from_pretrained(tmp_path / "llava"),
    )
    content = [{"type": "image"}, {"type": "text", "text": "what is there ?"}]
    text = other.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    ours = processor(images=image, text="what is there ?")
    theirs = other(images=[image], text=[text], add_special_tokens=False, return_tensors="pt")
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    with torch.no_grad():
        expected, found = own.eval()(**ours).logits[0, -1], llava.eval()(**theirs).logits[0, -1]
    torch.testing.assert_close(found[: len(expected)], expected, rtol=0.02, atol=0.02)
    with pytest.raises(InputError, match="is no empty folder"):
        export(trained, tmp_path / "own", "llava")
    with pytest.raises(InputError, match=r"did you mean llava\?"):
        export(trained, tmp_path / "new", "llavas")


def test_unknown_objective_and_parameter_are_named(root, tmp_path):
    run = stage_run(root, "adapt", "clip_3di-pb-oi1m-clip", tmp_path)
    with pytest.raises(InputError, match=r"did you mean clip\?"):
        adapt.compute(dataclasses.replace(run, parts={**run.parts, "objective": "clp"}))
    with pytest.raises(InputError, match="dropout"):
        adapt.compute(dataclasses.replace(run, params={**run.params, "droput": 0.1}))


def test_ask_with_options_and_in_words(root, tmp_path):
    run_chain(root, DESIGN)
    image = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 90, 3), dtype=np.uint8)).save(image)
    folder = root / "runs" / "tiny" / "instruct" / DESIGN
    found = ask(folder, image, "which is closer ? A. the car B. the chair")
    assert found.options == ("the car", "the chair") and found.text in found.options
    assert sum(found.probabilities) == pytest.approx(1)
    assert found.text == found.options[int(np.argmax(found.probabilities))]
    assert ask(folder, image, "what is there ?").options == ()
    assert "A. the car:" in answer(root, DESIGN, image, "which ? A. the car B. the chair")
    with pytest.raises(InputError, match="no such file"):
        ask(folder, tmp_path / "none.png", "what ?")
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:100])
    with pytest.raises(InputError, match=r"broken\.png: does not decode"):
        ask(folder, broken, "what ?")
    with pytest.raises(InputError, match="no trained model here"):
        ask(tmp_path, image, "what ?")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which is closer? A. the car B. the dog", ("Which is closer?", ("the car", "the dog"))),
        ("Which?\nA) x\nB) y\nC) z", ("Which?", ("x", "y", "z"))),
        ("Is there a TV? B. no", ("Is there a TV? B. no", ())),
        ("Where is it?", ("Where is it?", ())),
    ],
)
def test_options_in_a_question(question, expected):
    assert split_options(question) == expected


ALIGN = "clip+dinov2_vicuna-7b_cc558k"
# `python -m tasks.align NAME`, of which the second process dies in the last step.
DYING = """
import os, signal
from tasks import align
from tasks.stage import main

def compute(run):
    def progress(done, total):
        if run.rank == 1 and done == total == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    run.report_progress = progress
    return align.compute(run)

main("align", compute, shared=lambda parts: True)
"""


@pytest.mark.slow
def test_two_processes_train_a_stage_as_one_does_also_after_a_kill(root, tmp_path):
    """Stage 1 with ZeRO-2 and stage 2 by LoRA with ZeRO-3: one claim, one curve, and weights equal to rounding."""
    from ruamel.yaml import YAML
    from safetensors.torch import load_file

    from tasks import settings

    def project(name: str, gpus: int) -> Path:
        folder = tmp_path / name
        for stage in ("scenes", "data", "foundation"):
            shutil.copytree(root / "runs" / "tiny" / stage, folder / "runs" / "tiny" / stage)
        shutil.copy(root / "plan.yaml", folder)
        params = settings.read_yaml(root / "params.yaml")
        params["runtime"] |= {"gpus": gpus, "gpus_per_run": gpus}
        as_at_paper_scale = {"bf16": False, "optimizer": "adamw"}
        params["align"]["tiny"] |= as_at_paper_scale | {"zero_stage": 2}
        params["instruct"]["tiny"] |= as_at_paper_scale | {"zero_stage": 3, "lora": 2, "lora_alpha": 4, "lora_lr": 1e-3}
        YAML(typ="safe").dump(params, folder / "params.yaml")
        (folder / "dying.py").write_text(DYING)
        return folder

    def run(folder: Path, *command: str) -> tuple[int, str]:
        others = ("SPATIALLLM_", "DVC_", "MLFLOW_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        environment = {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        return done.returncode, done.stdout + done.stderr

    one, two, killed = project("one", 0), project("two", 2), project("killed", 2)
    for folder in (one, two):
        for stage, name in (("align", ALIGN), ("instruct", DESIGN)):
            code, said = run(folder, "-m", f"tasks.{stage}", name)
            assert code == 0, said[-4000:]
            assert said.count("computed in") == 1
    code, said = run(killed, "dying.py", ALIGN)
    assert code == EXIT_PASSING, said[-4000:]
    assert not (killed / "runs/tiny/align" / ALIGN).exists()
    assert (killed / ".work/tiny/align" / ALIGN / "checkpoint-2/COMPLETE.json").exists()
    code, said = run(killed, "-m", "tasks.align", ALIGN)
    assert code == 0, said[-4000:]

    def weights(folder: Path, stage: str, name: str) -> torch.Tensor:
        found = load_file(folder / "runs/tiny" / stage / name / "model.safetensors")
        return torch.cat([found[key].flatten().float() for key in sorted(found)])

    for stage, name in (("align", ALIGN), ("instruct", DESIGN)):
        places = [folder / "runs/tiny" / stage / name for folder in (one, two)]
        assert len({digest.canonical(digest.read_manifest(place)["identity"]["params"]) for place in places}) == 1
        assert sorted(p.name for p in places[0].iterdir()) == sorted(p.name for p in places[1].iterdir())
        histories = [[json.loads(line) for line in (p / "history.jsonl").read_text().splitlines()] for p in places]
        steps = [[line["step"] for line in history] for history in histories]
        assert steps[0] == steps[1] == list(range(1, len(steps[0]) + 1)), "logged by one process"
        assert [h["loss"] for h in histories[1]] == pytest.approx([h["loss"] for h in histories[0]], rel=1e-4)
        assert (weights(one, stage, name) - weights(two, stage, name)).abs().max() < 1e-5, stage
    assert (weights(two, "align", ALIGN) - weights(killed, "align", ALIGN)).abs().max() < 1e-6
