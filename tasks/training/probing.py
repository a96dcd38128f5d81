"""Linear readings of an encoder's features: category, azimuth and depth by ridge regression."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data_registry.errors import InputError
from tasks.sources.streams import open_images
from tasks.stage.harness import StageRun

if TYPE_CHECKING:
    from torch import nn

    from data_registry.scene import Scene
    from model.backbones.encoders import VisionEncoder


RIDGE = 1e-2  # of the features' variance


@dataclass(frozen=True)
class Objects:
    """Single objects in their images.

    Attributes:
        images: (m, 3, s, s) uint8, padded to squares.
        image: (n,) the image each object is in.
        box: (n, 4) its x0, y0, x1, y1 as shares of the square's side.
        name: (n,) its category.
        azimuth: (n,) radians from its front to the camera, 0 where the front faces the camera (ImageNet3D's sense);
            NaN where it has no front.
        distance: (n,) metres from the camera.
    """

    images: np.ndarray
    image: np.ndarray
    box: np.ndarray
    name: np.ndarray
    azimuth: np.ndarray
    distance: np.ndarray


def probe_tower(
    tower: "nn.Module", mean: tuple[float, float, float], std: tuple[float, float, float], seed: int, size: int
) -> dict[str, Any]:
    """Probes of a vision transformer in the middle of its training, on scenes rendered for it."""
    from model.backbones.encoders import EncoderSpec, VisionEncoder

    encoder = VisionEncoder("probed", EncoderSpec(size, -1, mean, std), tower.eval())
    fit, held = (objects(_rendered(seed * 2 + 1_000_001 + i, count, size), size) for i, count in enumerate((1500, 500)))
    return probe(pooled(encoder, fit), fit, pooled(encoder, held), held)


def probe(a: np.ndarray, fit: Objects, b: np.ndarray, held: Objects) -> dict[str, Any]:
    """Ridge regressions from features (n, c) to category, azimuth (its cosine and sine) and log distance.

    Returns:
        category_accuracy, azimuth_median_error_deg (where objects have a front), depth_r2 (of log distance),
        depth_median_relative_error, and the numbers of objects fitted on and measured on.
    """
    categories = sorted(set(fit.name))
    names = np.array(categories)[ridge(a, fit.name[:, None] == np.array(categories), b).argmax(1)]
    turned = ~np.isnan(fit.azimuth), ~np.isnan(held.azimuth)
    azimuth = {}
    if all(mask.any() for mask in turned):  # indoor scenes may hold no object with a front
        angle = fit.azimuth[turned[0]]
        x, y = ridge(a[turned[0]], np.stack([np.cos(angle), np.sin(angle)], 1), b[turned[1]]).T
        error = np.arctan2(y, x) - held.azimuth[turned[1]]
        error = np.abs((error + np.pi) % (2 * np.pi) - np.pi)
        azimuth = {"azimuth_median_error_deg": round(float(np.degrees(np.median(error))), 2)}
    far = ridge(a, np.log(fit.distance)[:, None], b)[:, 0]
    truth = np.log(held.distance)
    return {
        "category_accuracy": round(float((names == held.name).mean()), 4),
        **azimuth,
        "depth_r2": round(float(1 - ((far - truth) ** 2).mean() / truth.var()), 4),
        "depth_median_relative_error": round(float(np.median(np.abs(np.expm1(far - truth)))), 4),
        "objects_fitted": len(fit.name),
        "objects_measured": len(held.name),
    }


def objects(scenes: "Iterable[tuple[Scene, np.ndarray]]", size: int) -> Objects:
    """The objects of scenes with their images (h, w, 3) that have a place in space and are at least half visible."""
    from PIL import Image

    from data_registry.scene import required
    from model.backbones.images import to_pixels

    images: list[np.ndarray] = []
    rows: list[tuple[int, np.ndarray, str, float, float]] = []
    for scene, rgb in scenes:
        height, width = rgb.shape[:2]
        side = max(height, width)
        shift = np.array([(side - width) // 2, (side - height) // 2] * 2)
        for obj in scene.objects:
            hidden = obj.visibility is not None and obj.visibility < 0.5
            cut = obj.truncation is not None and obj.truncation > 0.3
            if obj.center is None or hidden or cut:
                continue
            angle = np.nan
            if obj.front is not None:
                front, _, left = required(obj.R).T @ -obj.center  # towards the camera, in the object's frame
                angle = np.arctan2(left, front)
            rows.append((len(images), (obj.bbox + shift) / side, obj.name, angle, float(np.linalg.norm(obj.center))))
        images.append(to_pixels(Image.fromarray(rgb), size))
    if not rows:
        raise InputError(
            f"probe: no object of {len(images)} scenes has a place in space and is half visible; give others"
        )
    image, box, name, azimuth, distance = (np.array(column) for column in zip(*rows, strict=True))
    return Objects(np.stack(images), image, box, name, azimuth, distance)


def given_scenes(run: StageRun, split: str) -> "Iterator[tuple[Scene, np.ndarray]]":
    from data_registry.readers import omni3d

    images = open_images(run.runtime, run.input(split))
    for scene in omni3d.read(run.input(split) / "annotations.json"):
        yield scene, images[scene.image]


def _rendered(seed: int, count: int, size: int) -> "Iterator[tuple[Scene, np.ndarray]]":
    from data_registry import render

    for index in range(count):
        world = render.sample(seed, index)
        picture = render.render(world, size)
        yield render.scene(world, size, "", picture), picture.rgb


def pooled(encoder: "VisionEncoder", data: Objects, batch: int = 100) -> np.ndarray:
    """(n, width + 4) patch features averaged over each object's box, with the box itself."""
    import torch

    from model.layers.precision import mixed_precision

    features, device = [], next(encoder.parameters()).device
    with torch.no_grad(), mixed_precision(device):
        for start in range(0, len(data.images), batch):
            pixels = torch.from_numpy(data.images[start : start + batch]).to(device)
            features.append(encoder(pixels).float().cpu().numpy())
    grid = np.concatenate(features).reshape(len(data.images), encoder.grid, encoder.grid, -1)
    edges = np.linspace(0, 1, encoder.grid + 1)
    x0, y0, x1, y1 = data.box.T[:, :, None]
    # Overlap of every grid column and row with the box; their products weigh the patches.
    across = np.clip(np.minimum(edges[1:], x1) - np.maximum(edges[:-1], x0), 0, None)
    down = np.clip(np.minimum(edges[1:], y1) - np.maximum(edges[:-1], y0), 0, None)
    weights = down[:, :, None] * across[:, None]
    weights /= weights.sum((1, 2), keepdims=True)
    mixed = np.stack([np.tensordot(w, grid[i], 2) for w, i in zip(weights, data.image, strict=True)])
    return np.concatenate([mixed, data.box], 1)


def ridge(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Predictions at `at` of a ridge regression of y on standardised x."""
    center, scale = x.mean(0), x.std(0) + 1e-6
    x, at = (x - center) / scale, (at - center) / scale
    middle = y.mean(0)
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ (y - middle))
    return at @ weights + middle
