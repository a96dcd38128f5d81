"""Stage `probe`: how much of 3D a frozen encoder knows (the paper's Sec. 3.2.1), by linear readings of its features.
`python -m tasks.probe ENCODER` writes metrics.json: category accuracy, azimuth error, depth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.stage import StageRun, main

if TYPE_CHECKING:
    from torch import nn

RIDGE = 1e-2  # of the features' variance


@dataclass(frozen=True)
class Params:
    """Probe scenes (params.yaml: probe). Their seed is of the probe alone, so are their shapes.

    Attributes:
        seed: of the scenes.
        train, test: scenes that the readings are fitted on and measured on, of different shapes.
    """

    seed: int
    train: int = 1500
    test: int = 500


@dataclass(frozen=True)
class Objects:
    """Single objects in rendered scenes.

    Attributes:
        images: (m, s, s, 3) uint8.
        image: (n,) the image each object is in.
        box: (n, 4) its visible pixels' x0, y0, x1, y1.
        category: (n,) index of its name.
        azimuth: (n,) radians from its front to the camera, 0 where the front faces the camera (ImageNet3D's sense).
        distance: (n,) metres from the camera.
    """

    images: np.ndarray
    image: np.ndarray
    box: np.ndarray
    category: np.ndarray
    azimuth: np.ndarray
    distance: np.ndarray


def compute(run: StageRun) -> dict[str, Any]:
    """Probe the encoder of the run's name."""
    from model.encoders import load_encoder

    p = run.parse(Params)
    folder = run.inputs["encoders"]
    encoder = load_encoder(run.name, run.scale, folder[0] if isinstance(folder, list) else folder)
    spec = encoder.spec
    return probe_encoder(encoder.tower, spec.mean, spec.std, p.seed, spec.image_size, p.train, p.test, spec.layer)


def probe_encoder(
    tower: "nn.Module",
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
    size: int,
    train: int = 1500,
    test: int = 500,
    layer: int = -1,
) -> dict[str, Any]:
    """Linear probes of a vision transformer's patch features, averaged over each object's box.

    Returns:
        category_accuracy, azimuth_median_error_deg, depth_r2 (of log distance), depth_median_relative_error, and
        the numbers of objects fitted on and measured on.
    """
    # Test scenes come from another seed, so from shapes that the readings have not seen either.
    fit = objects(seed * 2 + 1_000_001, train, size)
    held = objects(seed * 2 + 1_000_002, test, size)
    a = pooled(tower, fit, mean, std, layer)
    b = pooled(tower, held, mean, std, layer)
    categories = int(max(fit.category.max(), held.category.max())) + 1
    named = ridge(a, np.eye(categories)[fit.category], b)
    turned = ridge(a, np.stack([np.cos(fit.azimuth), np.sin(fit.azimuth)], 1), b)
    error = np.arctan2(turned[:, 1], turned[:, 0]) - held.azimuth
    error = np.abs((error + np.pi) % (2 * np.pi) - np.pi)
    far = ridge(a, np.log(fit.distance)[:, None], b)[:, 0]
    truth = np.log(held.distance)
    return {
        "category_accuracy": round(float((named.argmax(1) == held.category).mean()), 4),
        "azimuth_median_error_deg": round(float(np.degrees(np.median(error))), 2),
        "depth_r2": round(float(1 - ((far - truth) ** 2).mean() / truth.var()), 4),
        "depth_median_relative_error": round(float(np.median(np.abs(np.expm1(far - truth)))), 4),
        "objects_fitted": len(fit.category),
        "objects_measured": len(held.category),
    }


def objects(seed: int, count: int, size: int) -> Objects:
    """All objects of `count` rendered scenes that are at least half visible and not cut off by much."""
    from data_registry import render

    images, rows = [], []
    for index in range(count):
        world = render.sample(seed, index)
        picture = render.render(world, size)
        images.append(picture.rgb)
        for obj in render.scene(world, size, "", picture).objects:
            if obj.visibility < 0.5 or obj.truncation > 0.3:
                continue
            toward = obj.R.T @ -obj.center  # front, down, left
            azimuth = np.arctan2(toward[2], toward[0])
            rows.append((index, obj.bbox, render.NAMES.index(obj.name), azimuth, np.linalg.norm(obj.center)))
    image, box, category, azimuth, distance = zip(*rows, strict=True)
    return Objects(
        np.stack(images), np.array(image), np.stack(box), np.array(category), np.array(azimuth), np.array(distance)
    )


def pooled(
    tower: "nn.Module", data: Objects, mean: tuple[float, ...], std: tuple[float, ...], layer: int, batch: int = 100
) -> np.ndarray:
    """(n, width + 4) patch features averaged over each object's box, with the box itself."""
    import torch

    from model.encoders import EncoderSpec, VisionEncoder

    spec = EncoderSpec(data.images.shape[1], layer, tuple(mean), tuple(std))
    encoder = VisionEncoder("probed", spec, tower.eval())
    features = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(data.images), batch):
            pixels = torch.from_numpy(data.images[start : start + batch]).permute(0, 3, 1, 2)
            features.append(encoder(pixels).float().numpy())
    grid = np.concatenate(features).reshape(len(data.images), encoder.grid, encoder.grid, -1)
    edges = np.arange(encoder.grid + 1) * data.images.shape[1] / encoder.grid
    x0, y0, x1, y1 = data.box.T[:, :, None]
    # Overlap of every grid column and row with the box, in pixels; their products weigh the patches.
    across = np.clip(np.minimum(edges[1:], x1) - np.maximum(edges[:-1], x0), 0, None)
    down = np.clip(np.minimum(edges[1:], y1) - np.maximum(edges[:-1], y0), 0, None)
    weights = down[:, :, None] * across[:, None]
    weights /= weights.sum((1, 2), keepdims=True)
    mixed = np.einsum("nyx,nyxc->nc", weights, grid[data.image], optimize=True)
    return np.concatenate([mixed, data.box / data.images.shape[1]], 1)


def ridge(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Predictions at `at` of a ridge regression of y on standardised x."""
    center, scale = x.mean(0), x.std(0) + 1e-6
    x, at = (x - center) / scale, (at - center) / scale
    middle = y.mean(0)
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ (y - middle))
    return at @ weights + middle


if __name__ == "__main__":
    main("probe", compute)
