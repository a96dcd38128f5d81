"""Stage `pose`: the head that reads an object's pose from a frozen encoder's features, trained on rendered scenes.
`python -m tasks.pose ENCODER` writes its weights, and metrics.json with the median azimuth error on unseen shapes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.stage import Metrics, StageRun, main

if TYPE_CHECKING:
    from model.annotators.pose import PoseEstimator, PoseHead
    from model.encoders import VisionEncoder

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Scenes:
    """Rendered scenes: how many, their seed (another seed has other shapes) and their side in pixels."""

    images: int
    seed: int
    size: int = 96


@dataclass(frozen=True)
class Params:
    """params.yaml: pose.

    Attributes:
        seed: of the weights and of the order of training.
        train, test: the scenes, of seeds of their own.
        bins: per angle.
        grid, hidden, dropout: see `model.annotators.pose.PoseHead`.
        margin: share of the box's longer side that a crop shows around it.
        min_visibility, max_truncation: of the objects that are learned from and measured on.
        steps, batch, lr, weight_decay: of AdamW, with a cosine to 0.
        confident: an azimuth this sure is counted and measured separately.
    """

    seed: int
    train: Scenes
    test: Scenes
    steps: int
    lr: float
    bins: int = 40
    grid: int = 4
    hidden: int = 256
    dropout: float = 0.2
    margin: float = 0.1
    min_visibility: float = 0.5
    max_truncation: float = 0.3
    batch: int = 128
    weight_decay: float = 0.05
    confident: float = 0.5


def compute(run: StageRun) -> Metrics:
    """Train the head of the run's encoder; errors are medians over objects of the test scenes, in degrees."""
    import torch
    from safetensors.torch import save_file

    from data_registry.annotate import pose
    from model.annotators.pose import PoseEstimator, PoseHead
    from model.encoders import load_encoder
    from tasks.lmm import prepare

    p = run.parse(Params)
    prepare(run)
    encoder = load_encoder(run.parts["encoder"], run.scale, run.inputs["encoder"])
    torch.manual_seed(run.seed)
    head = PoseHead(encoder.width, p.bins, p.grid, p.hidden, p.dropout)
    estimator = PoseEstimator(encoder, head, p.margin)
    features, angles, _ = _objects(estimator, p.train, p, run, 0, p.train.images + p.test.images)
    _train(head, features, torch.from_numpy(pose.encode(angles, p.bins)).float(), p, run)

    held, truth, names = _objects(estimator, p.test, p, run, p.train.images, p.train.images + p.test.images)
    head.eval()
    with torch.no_grad():
        found = pose.decode(head(held).softmax(-1).double().numpy())
    save_file(head.state_dict(), run.out / WEIGHTS, metadata={"format": "pt"})
    facts = {"encoder": run.parts["encoder"], "head": head.describe(), "margin": p.margin}
    (run.out / "config.json").write_text(json.dumps(facts, indent=1) + "\n")
    return errors(found, truth, names, p.confident) | {"objects_fitted": len(angles)}


def load(folder: Path, encoder: "VisionEncoder") -> "PoseEstimator":
    """The trained head of a `pose` stage run, on its encoder."""
    from safetensors.torch import load_file

    from data_registry.errors import InputError
    from model.annotators.pose import PoseEstimator, PoseHead

    facts = json.loads((folder / "config.json").read_text())
    if facts["encoder"] != encoder.name or facts["head"]["width"] != encoder.width:
        raise InputError(
            f"{folder}/config.json: a head for {facts['encoder']} of width {facts['head']['width']}, but the encoder "
            f"is {encoder.name} of width {encoder.width}; compute the stage pose for this encoder"
        )
    head = PoseHead(**facts["head"])
    head.load_state_dict(load_file(folder / WEIGHTS))
    return PoseEstimator(encoder, head.eval(), facts["margin"])


def errors(found: list, truth: np.ndarray, names: list[str], confident: float) -> Metrics:
    """Median errors in degrees of poses against angles (n, 3) in radians; azimuth also by category and where sure."""
    off = np.degrees(np.abs((np.array([one[:3] for one in found]) - truth + np.pi) % (2 * np.pi) - np.pi))
    sure = np.array([one.confidence[0] >= confident for one in found])
    kinds = np.array(names)
    return {
        "azimuth_median_error_deg": round(float(np.median(off[:, 0])), 2),
        "azimuth_within_30_deg": round(float((off[:, 0] < 30).mean()), 4),
        "elevation_median_error_deg": round(float(np.median(off[:, 1])), 2),
        "theta_median_error_deg": round(float(np.median(off[:, 2])), 2),
        "confident": round(float(sure.mean()), 4),
        "confident_azimuth_median_error_deg": round(float(np.median(off[sure, 0])), 2) if sure.any() else None,
        "azimuth_median_error_deg_by_category": {
            str(kind): round(float(np.median(off[kinds == kind, 0])), 2) for kind in np.unique(kinds)
        },
        "objects_measured": len(found),
    }


def _objects(estimator: "PoseEstimator", scenes: Scenes, p: Params, run: StageRun, done: int, total: int):
    """Pooled features (n, patches, width), angles (n, 3) and names of the objects with a front in rendered scenes."""
    import torch

    from data_registry import render
    from data_registry.annotate.pose import angles_of

    features, angles, names, waiting = [], [], [], []
    for index in range(scenes.images):
        world = render.sample(scenes.seed, index)
        picture = render.render(world, scenes.size)
        boxes = []
        for obj in render.scene(world, scenes.size, "", picture).objects:
            clear = obj.visibility >= p.min_visibility and obj.truncation <= p.max_truncation
            if clear and obj.front is not None:
                boxes.append(obj.bbox)
                angles.append(angles_of(obj.R, obj.center))
                names.append(obj.name)
        waiting.append(estimator.crops(picture.rgb, boxes))
        if sum(map(len, waiting)) >= 64 or index == scenes.images - 1:
            crops, waiting = np.concatenate(waiting), []
            if len(crops):
                features.append(estimator.features(crops))
            run.progress(done + index + 1, total)
    return torch.cat(features), np.array(angles), names


def _train(head: "PoseHead", features, targets, p: Params, run: StageRun) -> None:
    import math

    import torch

    head.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=p.lr, weight_decay=p.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5 + 0.5 * math.cos(math.pi * k / p.steps))
    order = torch.Generator().manual_seed(run.seed)
    for step in range(p.steps):
        chosen = torch.randint(len(features), (p.batch,), generator=order)
        loss = -(targets[chosen] * head(features[chosen]).log_softmax(-1)).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == p.steps - 1:
            run.tracker.log(step + 1, {"loss": float(loss)})


if __name__ == "__main__":
    main("pose", compute)
