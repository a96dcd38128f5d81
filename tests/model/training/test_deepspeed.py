"""ZeRO on CPU: one process or two ranks, stage 2 or 3, trains as plain PyTorch does; no operator compiled at start."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys; sys.path.insert(0, {here!r})
from pathlib import Path
from safetensors.torch import save_file
from tests.model.tiny_models import train_tiny
from model.training.deepspeed import deepspeed_config
from model.training.recipe import Machine, Recipe
stage = {stage}
machine = Machine(per_device_batch=4, device="cpu", deepspeed=deepspeed_config(stage) if stage else None)
recipe = Recipe(lr=1e-3, global_batch=8, epochs=0.5, bf16=False)
model, result = train_tiny(Path({work!r}), recipe=recipe, machine=machine, blind_every=0)
save_file({{n: p.detach().float().clone() for n, p in model.named_parameters()}}, {out!r})
"""

# Text-only batches among the others. What one process of plain PyTorch computes counts a missing gradient as zero too.
RANKS = """
import os, sys; sys.path.insert(0, {here!r})
from pathlib import Path
import torch
from safetensors.torch import save_file
from model.modeling import SpatialLLMForConditionalGeneration
from tests.model.tiny_models import make_model, train_tiny
from model.training.deepspeed import deepspeed_config
from model.training.recipe import Machine, Recipe

work, rank = Path({work!r}), os.environ.get("RANK")

class Stopped(Exception):
    pass

def run(name, stage, stop=None, folder=None, lora=0):
    deepspeed = deepspeed_config(stage) if stage else None
    every = 2 if stage else 0
    machine = Machine(per_device_batch=2, device="cpu", deepspeed=deepspeed, checkpoint_steps=every, log_steps=1)
    recipe = Recipe(lr=1e-3, global_batch=8, epochs=1, bf16=False)
    def halt(step, values):
        if step == stop:
            raise Stopped
    folder = work / (folder or name)
    try:
        model, result = train_tiny(folder, recipe=recipe, machine=machine, blind_every=3, on_log=halt, lora=lora)
    except Stopped:
        return
    print(name, "resumed from", result.resumed_from, "of", result.steps)
    if rank in (None, "0"):
        save(name, model)

def save(name, model):
    model.tie_weights()
    weights = {{n: p.detach().float().clone() for n, p in model.named_parameters()}}
    save_file(weights, work / f"{{name}}.safetensors")

if rank is None:
    SpatialLLMForConditionalGeneration.every_parameter_takes_part = True
    save("start", make_model())
    run("plain", 0)
    run("plain-lora", 0, lora=4)
else:
    for name, stage, lora in (("2", 2, 0), ("3", 3, 0), ("3-lora", 3, 4)):
        run(f"zero{{name}}", stage, lora=lora)
        run(f"half{{name}}", stage, stop=5, lora=lora)
        run(f"resumed{{name}}", stage, folder=f"half{{name}}", lora=lora)
"""


def largest_difference(a: Path, b: Path) -> float:
    from safetensors.torch import load_file

    one, other = load_file(a), load_file(b)
    assert one.keys() == other.keys()
    assert all(one[name].shape == other[name].shape and one[name].numel() for name in one)
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.slow
def test_zero_2_equals_plain_training(tmp_path):
    from safetensors.torch import load_file

    # With images in every sample: one without leaves the connector no gradient, which plain AdamW skips and ZeRO,
    # whose gradients are one flat buffer, takes for zero.
    weights = {}
    for stage in (0, 2):
        out = tmp_path / f"{stage}.safetensors"
        code = CODE.format(
            here=str(Path(__file__).parents[3]), stage=stage, work=str(tmp_path / str(stage)), out=str(out)
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Building extension" not in done.stdout + done.stderr
        weights[stage] = load_file(out)
    moved = 0
    for name, plain in weights[0].items():
        assert (weights[2][name] - plain).abs().max() < 1e-5, name
        moved += name.startswith("connector")
    assert moved == 4


@pytest.mark.slow
def test_two_ranks_train_as_one_process_and_resume(tmp_path):
    """ZeRO-2 and ZeRO-3 on two ranks with text-only batches, the latter also by LoRA, whose adapters end up merged into
    whole weights; stopped in the middle, they end in the same weights."""
    code = RANKS.format(here=str(Path(__file__).parents[3]), work=str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environments = [{}] + [{**world, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    logs = [tmp_path / f"{index}.log" for index in range(len(environments))]
    processes = []
    for more, log in zip(environments, logs, strict=True):
        with log.open("w") as file:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", code], env=os.environ | more, stdout=file, stderr=subprocess.STDOUT
                )
            )
    try:
        for process, log in zip(processes, logs, strict=True):
            assert process.wait(timeout=900) == 0, log.read_text()[-4000:]
    finally:
        for process in processes:
            process.kill()
    said = logs[1].read_text()
    assert "Building extension" not in said
    # ZeRO-3 sums in another order; AdamW's first steps magnify it.
    for name, plain, tolerance in (("2", "plain", 1e-5), ("3", "plain", 2e-4), ("3-lora", "plain-lora", 1e-5)):
        assert f"resumed{name} resumed from 4 of 6" in said
        whole = tmp_path / f"zero{name}.safetensors"
        assert largest_difference(whole, tmp_path / f"{plain}.safetensors") < tolerance, name
        assert largest_difference(whole, tmp_path / f"resumed{name}.safetensors") < 1e-6, name
        assert largest_difference(whole, tmp_path / "start.safetensors") > 1e-3, name


FUSED = """
import json, sys; sys.path.insert(0, {here!r})
from pathlib import Path
from model.training.deepspeed import deepspeed_config
from model.layers.lora import FusedLora
from model.training.recipe import Machine, Recipe
from tests.model.tiny_models import train_tiny
if {fused}:
    FusedLora.forward = lambda self, x: self.fused(x)  # as on a GPU
found = []
machine = Machine(per_device_batch=4, log_steps=1, device="cpu", gradient_checkpointing=True,
                  deepspeed=deepspeed_config(3))
train_tiny(Path({work!r}), recipe=Recipe(lr=1e-3, global_batch=8, epochs=1), machine=machine, lora=4, blind_every=0,
           on_log=lambda step, values: found.append(values["loss"]))
print(json.dumps(found))
"""


def test_fused_adapters_find_their_weights_under_zero_3(tmp_path):
    """They read weights of layers that they do not call, which ZeRO-3 has to bring together all the same."""
    losses = []
    for fused in (False, True):
        code = FUSED.format(here=str(Path(__file__).parents[3]), work=str(tmp_path / str(fused)), fused=fused)
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        losses.append(json.loads(done.stdout.splitlines()[-1]))
    assert len(losses[0]) == 6 and losses[0] == pytest.approx(losses[1], rel=0.005)


ACCUMULATE = """
import torch
from model.training.deepspeed import deepspeed_config, prepare_deepspeed
prepare_deepspeed(cpu=True)
import deepspeed
many = 256
for stage in (2, 3):
    config = deepspeed_config(stage) | {
        "bf16": {"enabled": True}, "gradient_clipping": 0.0, "gradient_accumulation_steps": many,
        "train_micro_batch_size_per_gpu": 1, "train_batch_size": many}
    model = torch.nn.Linear(8, 8, bias=False).bfloat16()
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=many)
    engine = deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]
    for k in range(many):
        engine.backward(engine(torch.full((1, 8), 1 / 256 if k else 1.0, dtype=torch.bfloat16)).sum())
        engine.step()
    with deepspeed.zero.GatheredParameters([model.weight], enabled=stage == 3):
        print("weight", model.weight.min().item(), model.weight.max().item())
"""


def test_small_gradients_are_not_lost_in_a_sum_over_micro_batches():
    """One gradient of 1 and 255 of 1/256, none of which changes a 1 in bf16: together they are 2 to bf16's last bit."""
    done = subprocess.run([sys.executable, "-c", ACCUMULATE], stdout=subprocess.PIPE, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("weight")] == ["weight -2.0 -2.0"] * 2
