"""Stage `pose`: the head that reads an object's pose from a frozen encoder's features, trained on rendered scenes.
`python -m tasks.pose ENCODER` writes its weights, and metrics.json with the median azimuth error on unseen shapes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_registry import ranges
from data_registry.errors import InputError
from tasks.pretraining.loop import Schedule, train
from tasks.sources.pose_head import CONFIG, WEIGHTS
from tasks.stage.harness import Metrics, StageRun, main

if TYPE_CHECKING:
    import torch

    from data_registry.annotate.pose_bins import Pose
    from data_registry.scene import SceneObject
    from model.annotators import PoseEstimator

_CROPS = 64  # per forward pass of the encoder


@dataclass(frozen=True)
class Params:
    """params.yaml: pose.

    Attributes:
        seed: of the weights and of the order of training.
        schedule, batch: of the training; a batch is of objects.
        bins: per angle.
        grid, hidden, dropout: see `model.annotators.PoseHead`.
        margin: share of the box's longer side that a crop shows around it.
        min_visibility, max_truncation: of the objects that are learned from and measured on.
        confident: azimuths this sure are counted and measured separately.
    """

    seed: ranges.Seed
    schedule: Schedule
    batch: ranges.Count
    bins: ranges.Count
    grid: ranges.Count
    hidden: ranges.Count
    dropout: ranges.Dropout
    margin: ranges.NotNegative
    min_visibility: ranges.Share
    max_truncation: ranges.Share
    confident: ranges.Share


def compute(run: StageRun) -> Metrics:
    """Train the head of the run's encoder; errors are medians over objects of the test scenes, in degrees."""
    import torch
    from safetensors.torch import save_file

    from data_registry.annotate import pose_bins
    from model.annotators import PoseEstimator, PoseHead
    from model.backbones.encoders import load_encoder
    from model.pretrain.optimizer import Optimizer
    from tasks.training.machine import device_of, prepare

    p = run.parse(Params)
    prepare(run)
    torch.manual_seed(run.seed)
    encoder = load_encoder(run.parts["encoder"], run.scale, run.input("encoder"))
    head = PoseHead(encoder.width, p.bins, p.grid, p.hidden, p.dropout)
    estimator = PoseEstimator(encoder, head, p.margin).to(device_of(run.runtime))

    features, angles, _ = _objects(estimator, run.input("train"), p, run.progress)
    targets = torch.from_numpy(pose_bins.encode(angles, p.bins)).to(features)

    def loss_of(step: int) -> "tuple[torch.Tensor, dict[str, float]]":
        chosen = torch.randint(len(features), (p.batch,))
        return -(targets[chosen] * head(features[chosen]).log_softmax(-1)).sum(-1).mean(), {}

    train(run, {"head": head}, Optimizer([head], **vars(p.schedule)), loss_of)

    held, truth, names = _objects(estimator, run.input("test"), p, run.progress)
    with torch.no_grad():
        poses = pose_bins.decode(head(held).softmax(-1).double().cpu().numpy())
    save_file(head.state_dict(), run.out / WEIGHTS, metadata={"format": "pt"})
    facts = {"encoder": encoder.name, "head": head.describe(), "margin": p.margin}
    (run.out / CONFIG).write_text(json.dumps(facts, indent=1) + "\n")
    return errors(poses, truth, names, p.confident) | {"objects_fitted": len(angles)}


def errors(poses: "list[Pose]", truth: np.ndarray, names: list[str], confident: float) -> Metrics:
    """Median errors in degrees of poses against angles (n, 3) in radians; azimuth also by category and where sure."""
    off = np.degrees(np.abs((np.array([pose[:3] for pose in poses]) - truth + np.pi) % (2 * np.pi) - np.pi))
    sure = np.array([pose.confidence[0] >= confident for pose in poses])
    kinds = np.array(names)
    return {
        "azimuth_median_error_deg": _median(off[:, 0]),
        "azimuth_within_30_deg": round(float((off[:, 0] < 30).mean()), 4),
        "elevation_median_error_deg": _median(off[:, 1]),
        "theta_median_error_deg": _median(off[:, 2]),
        "confident": round(float(sure.mean()), 4),
        "confident_azimuth_median_error_deg": _median(off[sure, 0]) if sure.any() else None,
        "azimuth_median_error_deg_by_category": {
            str(kind): _median(off[kinds == kind, 0]) for kind in np.unique(kinds)
        },
        "objects_measured": len(poses),
    }  # fmt: skip


def _median(values: np.ndarray) -> float:
    return round(float(np.median(values)), 2)


def _objects(
    estimator: "PoseEstimator", folder: Path, p: Params, progress: Callable[[int, int], None]
) -> "tuple[torch.Tensor, np.ndarray, list[str]]":
    """Pooled features (n, grid², width), angles (n, 3) in radians and names of the scenes' objects with a front."""
    import torch

    from data_registry.annotate.pose_bins import angles_of
    from data_registry.readers import omni3d
    from data_registry.scene import required
    from data_registry.storage import shards

    pictures = shards.Images(folder)
    features, angles, names = [], [], []
    waiting: list[np.ndarray] = []
    for done, scene in enumerate(omni3d.read(folder / "annotations.json"), 1):
        progress(done, len(pictures))
        clear = [obj for obj in scene.objects if obj.front is not None and _is_clear(obj, p)]
        angles += [angles_of(required(obj.R), required(obj.center)) for obj in clear]
        names += [obj.name for obj in clear]
        waiting.extend(estimator.crops(pictures[scene.image], [obj.bbox for obj in clear]))
        while len(waiting) >= _CROPS:
            features.append(estimator.features(np.stack(waiting[:_CROPS])))
            del waiting[:_CROPS]
    if waiting:
        features.append(estimator.features(np.stack(waiting)))
    if not features:
        raise InputError(f"{folder}: no object in it has a front and is clear enough (min_visibility, max_truncation)")
    return torch.cat(features), np.array(angles), names


def _is_clear(obj: "SceneObject", p: Params) -> bool:
    hidden = obj.visibility is not None and obj.visibility < p.min_visibility
    cut = obj.truncation is not None and obj.truncation > p.max_truncation
    return not hidden and not cut


if __name__ == "__main__":
    main("pose", compute)
