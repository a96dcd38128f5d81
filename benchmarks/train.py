"""Training samples per second in stages 1 and 2, beside transformers' LLaVA fine-tuned by its Trainer.

The peer is `LlavaForConditionalGeneration` with the same weights, trained as transformers documents it: one sample is
an image with one question and answer, in padded batches, with SDPA, bf16 autocast and fused AdamW. Both sides see the
same questions in the same optimizer steps and precision, at the same rates, so that their loss curves must agree. Most
of what ours saves is the image, computed once for all its questions; the same peer with all questions of an image in
one row, each of which sees those before it, trains something else, but says what is left then.

On a CPU processor time stands for wall time, so that a busy machine distorts little; ours includes the features it
caches. On a GPU it is wall time after the first steps, the LLM's weights are random, and the peer finds its pixels
prepared (at small scale ours does too). At paper scale (one GPU) rows are those of params.yaml, several turns that
see each other, on both sides, and stage 2 is LoRA. There ours is measured with the peer's encoder and with the two
encoders of the paper's design.
On a CPU each side runs in a process of its own, for its peak memory."""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.bench import record
from benchmarks.training.case import ENCODER, LLMS, ROOT, STAGES, STEPS, WARM_UP, Case
from benchmarks.training.sides import LORA_RANK, SIDES
from tasks.training.machine import GROWING

REPEATS = {"tiny": 3}  # of each side; a tiny one takes seconds, which a busy machine stretches unevenly
SAME_CURVE = 0.03  # most that the losses of a step may differ, as a share; bf16 rounds differently on either side


def _measure(side: str, case: Case, folder: Path) -> dict[str, Any]:
    """On a CPU in a process of its own; what a GPU holds can be counted from zero again."""
    if case.device == "cuda":
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return SIDES[side](case, folder)
    command = [sys.executable, "-m", "benchmarks.train", "--scale", case.scale, "--device", case.device]
    command += ["--stage", case.name, "--side", side, "--folder", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(case: Case) -> None:
    """Measure all sides of a stage and record them: train-STAGE-SCALE.json, with -gpu where it was one."""
    sides = ["ours", "peer", "peer_rows"] if case.isolated else ["ours", "peer", "ours_two"]
    measured: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as work:
        llava = Path(work) / "llava"
        if case.scale != "paper":
            _measure("export", case, llava)
        for number in range(REPEATS.get(case.scale, 1)):  # by turns: what else the machine does is shared out
            for side, found in measured.items():
                found.append(_measure(side, case, Path(work) / f"{side}-{number}" if "ours" in side else llava))
                print(f"{case.name} {side}: {found[-1]}", file=sys.stderr)
    summary = {
        side: found[0] | {"seconds": statistics.median(one["seconds"] for one in found)}
        for side, found in measured.items()
    }
    own, other = summary["ours"], summary["peer"]
    steps = case.steps - WARM_UP[case.device]
    samples = case.stage.rows * (case.stage.turns if case.isolated else 1) * steps
    apart = max(abs(a - b) / b for a, b in zip(own["loss"], other["loss"], strict=True))
    if apart > SAME_CURVE:
        raise SystemExit(
            f"error: {case.name}: the loss curves differ by {apart:.1%}; what trains differently is not compared"
        )
    rate = "core-second" if case.device == "cpu" else "second"
    record(
        f"train-{case.name}-{case.scale}" + ("" if case.device == "cpu" else "-gpu"),
        ours=round(samples / own["seconds"], 2),
        peer=round(samples / other["seconds"], 2),
        unit=f"{'question-answer samples' if case.isolated else 'samples'} per {rate}",
        peer_name=f"LlavaForConditionalGeneration + Trainer, transformers {version('transformers')}",
        command="make bench-train"
        if case.scale == "tiny"
        else f"python -m benchmarks.train --scale {case.scale} --device {case.device}",
        design=f"{'paper-scale' if case.scale == 'paper' else 'tiny'} {ENCODER} + {LLMS[case.scale][0]}, bf16 autocast"
        + (", one thread" if case.device == "cpu" else "")
        + (f", LoRA of rank {LORA_RANK}" if case.lora else ""),
        steps=steps,
        seconds={side: [one["seconds"] for one in found] for side, found in measured.items()},
        samples_per_step=samples // steps,
        **_tokens(own, other, rate),
        peak_memory_gib={side: one["peak_memory_gib"] for side, one in summary.items() if side != "peer_rows"},
        extraction_s=own["extraction_s"],
        loss={side: one["loss"] for side, one in summary.items() if side != "peer_rows"},
        largest_relative_difference_of_losses=round(apart, 5),
        **(_rows(samples, summary, rate) if case.isolated else _utilisation(samples, summary)),
    )


def _tokens(own: dict[str, Any], other: dict[str, Any], rate: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        side: round(other["tokens"] / one["seconds"]) for side, one in (("ours", own), ("peer", other))
    }
    found["counted"] = "as the peer sees them: every sample with its image"
    return {f"tokens_per_{rate.replace('-', '_')}": found}


def _rows(samples: int, summary: dict[str, dict[str, Any]], rate: str) -> dict[str, Any]:
    own, in_rows = summary["ours"], summary["peer_rows"]
    return {
        "peer_with_an_image_per_row": {
            f"samples_per_{rate.replace('-', '_')}": round(samples / in_rows["seconds"], 2),
            "ratio": round(in_rows["seconds"] / own["seconds"], 3),
            "note": "all questions of an image in one row, each of which sees those before it: another loss",
        }
    }


def _utilisation(samples: int, summary: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of each side: the LLM's model FLOPs (model/training/meter.py) by the card's peak; encoders' are not counted."""
    import torch

    from model.training.meter import peak_flops

    found = {}
    for side, one in summary.items():
        per_token, per_target = summary["ours"]["flops"]
        flops = one["tokens"] * per_token + one["targets"] * per_target
        found[side] = {
            "samples_per_second": round(samples / one["seconds"], 2),
            "model_flops_utilisation": round(flops / one["seconds"] / peak_flops(torch.device("cuda")), 4),
        }
    return {"sides": found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scale", choices=tuple(LLMS), default="tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--stage", choices=tuple(STAGES), help="of these alone; default: all")
    parser.add_argument("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if (chosen.scale, chosen.device) not in STEPS:
        offered = ", ".join(f"{scale} on {device}" for scale, device in STEPS)
        sys.exit(f"error: {chosen.scale} on {chosen.device} is not measured; choose one of {offered}")
    if chosen.device == "cuda":
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", GROWING)
    for each in [chosen.stage] if chosen.stage else STAGES:
        case = Case(each, chosen.scale, chosen.device)
        if chosen.side:
            print(json.dumps(SIDES[chosen.side](case, chosen.folder)))
        else:
            compare(case)
