"""A project of random tiny models, scenes and data sets, for tests of the training stages.
The fixture `root` (conftest.py) makes one for each test file."""

import io
import json
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data_registry import conversations
from data_registry.benchmark import spatialvqa
from data_registry.storage import shards
from flows.designs.design import choose
from flows.designs.plan import plan_of, write_plan
from tasks import adapt, align, instruct, score
from tasks.identity import manifest
from tasks.identity.identity import identify
from tasks.stage.harness import StageRun, execute
from tests.model.tiny_models import make_llm, make_tokenizer

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
    from tasks.identity import settings

    out = root / "runs" / "tiny" / stage / name
    out.mkdir(parents=True)
    fill(out)
    identity, _ = identify(settings.load(root), stage, name)
    manifest.write_manifest(out, identity)
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
        spatialvqa.Question(
            f"q{k}", f"test/{k % IMAGES}.png", "which is closer ?", ("the car", "the chair"), k % 2, kinds[k % 3][1],
            kinds[k % 3][0], (), (), (),
        )
        for k in range(18)
    ]  # fmt: skip
    spatialvqa.write(out / "questions.parquet", questions)


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


def make_project(root: Path) -> None:
    """Parameters, plan, and all that the training stages start from."""
    (root / "params.yaml").write_text(PARAMS)
    plan = plan_of(choose([DESIGN, ADAPTED, NEXT_TOKEN, BLIND]))
    write_plan(root, plan)
    fills = {"scenes": fill_scenes, "data": fill_data, "benchmark": fill_benchmark, "foundation": fill_foundation}
    for run in plan.runs():
        stage, _, name = run.partition("/")
        if stage in fills:
            publish(root, stage, name, fills[stage])


COMPUTE = {"adapt": adapt.compute, "align": align.compute, "instruct": instruct.compute, "score": score.compute}


def run_chain(root: Path, design: str) -> None:
    wanted = plan_of(choose([design]))
    for run in wanted.runs():
        stage, _, name = run.partition("/")
        if stage in COMPUTE:
            execute(stage, name, COMPUTE[stage], root)


def metrics(root: Path, stage: str, name: str) -> dict:
    return json.loads((root / "runs" / "tiny" / stage / name / "metrics.json").read_text())


def stage_run(root: Path, stage: str, name: str, folder: Path) -> StageRun:
    """A run of a stage outside of the harness, to look at `compute` alone."""
    from tasks.identity import settings

    config = settings.load(root)
    identity, inputs = identify(config, stage, name)
    (folder / "work").mkdir(parents=True)
    (folder / "out").mkdir()
    return StageRun(
        "tiny", stage, name, identity["params"], identity["parts"], identity["seed"], folder / "out", folder / "work",
        inputs, runtime=dict(config.runtime),
    )  # fmt: skip
