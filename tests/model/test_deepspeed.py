"""ZeRO on one CPU process: the same training as without, and no operator compiled at start."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys; sys.path.insert(0, {here!r})
from pathlib import Path
from safetensors.torch import save_file
from tiny_models import train_tiny
from model.deepspeed import deepspeed_config
from model.training import Machine, Recipe
stage = {stage}
machine = Machine(per_device_batch=4, device="cpu", deepspeed=deepspeed_config(stage) if stage else None)
recipe = Recipe(lr=1e-3, global_batch=8, epochs=0.5, bf16=False)
model, result = train_tiny(Path({work!r}), recipe=recipe, machine=machine, blind_every=0)
save_file({{n: p.detach().float().clone() for n, p in model.named_parameters()}}, {out!r})
"""


@pytest.mark.slow
def test_zero_2_equals_plain_training(tmp_path):
    from safetensors.torch import load_file

    # With images in every sample: one without leaves the connector no gradient, which plain AdamW skips and ZeRO,
    # whose gradients are one flat buffer, takes for zero.
    weights = {}
    for stage in (0, 2):
        out = tmp_path / f"{stage}.safetensors"
        code = CODE.format(here=str(Path(__file__).parent), stage=stage, work=str(tmp_path / str(stage)), out=str(out))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Building extension" not in done.stdout + done.stderr
        weights[stage] = load_file(out)
    moved = 0
    for name, plain in weights[0].items():
        assert (weights[2][name] - plain).abs().max() < 1e-5, name
        moved += name.startswith("connector")
    assert moved == 4
