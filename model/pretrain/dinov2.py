"""Tiny DINOv2: self-distillation, then a dense pretext with labels in place of the real one's scale.
The labels are what the real one is known to find by itself: parts, their correspondence across views, and objects."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import Dinov2Config, Dinov2Model

from model.pretrain.vision import Views, VisionSize, head

POINT_BINS = 10  # per axis of an object's own box


def build(size: VisionSize) -> Dinov2Model:
    """A DINOv2 with random weights."""
    return Dinov2Model(Dinov2Config(**size.transformer, mlp_ratio=4, layerscale_value=1.0))


class SelfDistillation(nn.Module):
    """DINO on CLS tokens of two views and iBOT on masked patches, with a teacher that follows the student.

    `facebookresearch/dinov2:dinov2/train/ssl_meta_arch.py`, with one projection head for both and without local crops.
    """

    def __init__(self, student: Dinov2Model, prototypes: int = 256, temperature: float = 0.1) -> None:
        super().__init__()
        width = student.config.hidden_size
        self.student, self.student_head = student, head(width, 2 * width, prototypes)
        self.teacher, self.teacher_head = copy.deepcopy(student), copy.deepcopy(self.student_head)
        self.teacher.requires_grad_(False)
        self.teacher_head.requires_grad_(False)
        self.temperature = temperature
        self.register_buffer("centers", torch.zeros(2, prototypes))

    def forward(self, first: torch.Tensor, second: torch.Tensor, masked: float = 0.4) -> torch.Tensor:
        """The loss of two views (n, 3, s, s) of the same pictures."""
        n = len(first)
        both = torch.cat([first, second])
        patches = (first.shape[-1] // self.student.config.patch_size) ** 2
        mask = torch.rand(2 * n, patches) < masked
        with torch.no_grad():
            targets = self.teacher_head(self.teacher(both).last_hidden_state).float()
        guesses = self.student_head(self.student(both, bool_masked_pos=mask).last_hidden_state).float()
        whole = torch.softmax((targets[:, 0] - self.centers[0]) / 0.05, -1)
        part = torch.softmax((targets[:, 1:] - self.centers[1]) / 0.05, -1)[mask]
        crossed = torch.cat([whole[n:], whole[:n]])
        loss = _cross_entropy(guesses[:, 0] / self.temperature, crossed)
        loss = loss + _cross_entropy(guesses[:, 1:][mask] / self.temperature, part)
        with torch.no_grad():
            for index, values in enumerate((targets[:, 0], targets[:, 1:].flatten(0, 1))):
                self.centers[index].lerp_(values.mean(0), 0.1)
        return loss

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the teacher towards the student, after each step."""
        pairs = ((self.teacher, self.student), (self.teacher_head, self.student_head))
        for slow, fast in pairs:
            for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                a.lerp_(b, 1 - momentum)


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -(target * logits.log_softmax(-1)).sum(-1).mean()


@dataclass
class Labels:
    """Targets of the dense pretext for a batch of (n, g, g) patches with k x k map cells each.

    Attributes:
        name: (n * g * g, k * k) int64, category per cell, the last class is none.
        point: (n * g * g, k * k, 3) int64, bin of the seen point in its object's box; -1 without an object.
        color: (n * g * g,) int64, colour of the object that fills most of the patch; -1 without one.
        box: (n * g * g, 4) float, that object's box from the patch's centre, in picture sides; 0 without one.
    """

    name: torch.Tensor
    point: torch.Tensor
    color: torch.Tensor
    box: torch.Tensor


def labels(views: Views, names: np.ndarray, colors: np.ndarray, categories: int, grid: int) -> Labels:
    """Targets from the maps of a batch; names, colors: (n, 8) of the objects, -1 where one is not to be learned."""
    n, cells = views.body.shape[:2]
    k = cells // grid
    row = np.arange(n)[:, None, None]
    known = (views.body >= 0) & (names[row, views.body] >= 0)
    body = np.where(known, views.body, -1)
    name = np.where(known, names[row, body], categories)
    point = np.clip((views.nocs.astype(np.int64) + 127) * POINT_BINS // 255, 0, POINT_BINS - 1)
    point = np.where(known[..., None], point, -1)

    by_patch = _patches(body, grid, k)
    counts = np.stack([(by_patch == i).sum(-1) for i in range(names.shape[1])], -1)
    largest = np.where(counts.max(-1) > 0, counts.argmax(-1), -1)  # (n, g * g)
    first = np.arange(n)[:, None]
    side = views.images.shape[1]
    centers = (np.arange(grid) + 0.5) * side / grid
    x, y = np.tile(centers, grid), np.repeat(centers, grid)
    box = (views.boxes[first, largest] - np.stack([x, y, x, y], -1)) / side
    return Labels(
        name=torch.from_numpy(_patches(name, grid, k).reshape(n * grid * grid, -1).astype(np.int64)),
        point=torch.from_numpy(_patches(point, grid, k).reshape(n * grid * grid, k * k, 3)),
        color=torch.from_numpy(np.where(largest >= 0, colors[first, largest], -1).reshape(-1).astype(np.int64)),
        box=torch.from_numpy(np.where(largest[..., None] >= 0, box, 0).reshape(-1, 4).astype(np.float32)),
    )


def _patches(maps: np.ndarray, grid: int, k: int) -> np.ndarray:
    n, rest = len(maps), maps.shape[3:]
    split = maps.reshape(n, grid, k, grid, k, *rest)
    return np.moveaxis(split, 3, 2).reshape(n, grid * grid, k * k, *rest)


class DensePretext(nn.Module):
    """Reads parts and objects off the patch features: per cell the category and which point of its object is seen
    (canonical coordinates, Wang et al. 2019), per patch the object's colour and 2D box. No angle, depth or distance."""

    def __init__(self, width: int, categories: int, colors: int, cells: int) -> None:
        super().__init__()
        self.cells, self.categories = cells, categories
        self.name = nn.Linear(width, cells * (categories + 1))
        self.point = nn.Linear(width, cells * 3 * POINT_BINS)
        self.color = nn.Linear(width, colors)
        self.box = nn.Linear(width, 4)

    def forward(self, features: torch.Tensor, wanted: Labels) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of patch features (n, g * g, width), and its parts with the share of cells named right."""
        features = features.flatten(0, 1)
        background = wanted.color < 0
        # Every third background patch is enough to know what is none.
        lesson = ~background | (torch.rand(len(background)) < 0.33)
        names = self.name(features[lesson]).view(-1, self.cells, self.categories + 1).float()
        name = F.cross_entropy(names.flatten(0, 1), wanted.name[lesson].flatten())
        seen = features[~background]
        points = self.point(seen).view(-1, self.cells, 3, POINT_BINS).float()
        point = F.cross_entropy(points.flatten(0, 2), wanted.point[~background].flatten(), ignore_index=-1)
        color = F.cross_entropy(self.color(seen).float(), wanted.color[~background])
        box = F.smooth_l1_loss(self.box(seen).float(), wanted.box[~background], beta=0.05)
        with torch.no_grad():
            object_cells = wanted.name[lesson] < self.categories
            right = (names.argmax(-1) == wanted.name[lesson])[object_cells].float().mean()
        parts = {"name": name.item(), "point": point.item(), "color": color.item(), "box": box.item()}
        return name + point + 0.3 * color + 5.0 * box, {**parts, "named": right.item()}
