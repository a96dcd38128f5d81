"""The networks of pseudo-annotation in their order, on a batch of pictures: tags, boxes, masks, depth, poses.
What the stage `annotate` computes per picture; its filters and counts are `data_registry.annotate`'s."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_registry.annotate import detections, pose, scenes
from data_registry.annotate.detections import Detection
from data_registry.errors import InputError

if TYPE_CHECKING:
    from model.annotators import DepthEstimator, Detector, PoseEstimator, Segmenter, Tagger


@dataclass(frozen=True)
class Network:
    """A network of the hub by a pinned commit; `size` is the side in pixels that it sees, null for its own."""

    repo: str
    revision: str
    size: int | None = None


@dataclass(frozen=True)
class Networks:
    """Which networks see (params.yaml: annotate.*.networks)."""

    tagger: Network
    detector: Network
    segmenter: Network
    depth: Network


@dataclass(frozen=True)
class Tags:
    """What is looked for: the vocabulary, the least probability of a tag, and the most tags of one picture."""

    vocabulary: list[str]
    least: float = 0.1
    most: int = 20


@dataclass(frozen=True)
class Annotation:
    """What is known of one picture: an Omni3D image record, its annotations, and counts of what was dropped."""

    image: dict[str, Any]
    objects: list[dict[str, Any]]
    drops: Counter[str] = field(default_factory=Counter)


@dataclass
class Annotators:
    """All networks, and the thresholds between them."""

    tagger: "Tagger"
    detector: "Detector"
    segmenter: "Segmenter"
    depth: "DepthEstimator"
    pose: "PoseEstimator"
    tags: Tags
    filters: scenes.Filters
    categories: dict[str, int]
    seed: int

    def __call__(self, numbers: Sequence[int], keys: Sequence[str], pictures: Sequence[np.ndarray]) -> list[Annotation]:
        """Annotate pictures (h, w, 3) uint8 with these ids and keys."""
        rules = self.filters.detection
        drops: list[Counter[str]] = [Counter() for _ in pictures]
        tags = self.tagger(pictures, self.tags.least, self.tags.most)
        boxes = self.detector(pictures, tags, rules.box_score, rules.text_score)
        found = [
            detections.select([Detection(b.name, b.score, b.box) for b in one], rules, count)
            for one, count in zip(boxes, drops, strict=True)
        ]
        masks = self.segmenter(pictures, [_boxes(one) for one in found])
        depth = self.depth(pictures)
        annotated = []
        for number, key, picture, asked, one, (mask, scores), (metres, K), count in zip(
            numbers, keys, pictures, tags, found, masks, depth, drops, strict=True
        ):
            masked = [
                Detection(d.name, d.score, d.box, m, float(s)) for d, m, s in zip(one, mask, scores, strict=True)
            ]  # fmt: skip
            space = scenes.place(masked, metres, K, self.filters, seed=self.seed)
            size = picture.shape[1], picture.shape[0]
            image, objects = scenes.records(
                number, key, size, space, self._poses(picture, space), self.categories, self.filters, count
            )
            count["tags"] += len(asked)
            annotated.append(Annotation(image, objects, count))
        return annotated

    def _poses(self, picture: np.ndarray, space: scenes.Space) -> list[pose.Pose | None]:
        """A pose for every object that has a place; the others need none."""
        placed = [k for k, one in enumerate(space.objects) if one.fault is None]
        crops = self.pose.crops(picture, [np.array(detections.extent(space.objects[k].detection.mask)) for k in placed])
        found: list[pose.Pose | None] = [None] * len(space.objects)
        for k, one in zip(placed, pose.decode(self.pose(crops)), strict=True):
            found[k] = one
        return found


def load(
    networks: Networks,
    estimator: "PoseEstimator",
    tags: Tags,
    filters: scenes.Filters,
    field_of_view_deg: float | None,
    seed: int,
    hub_folder: Path | None,
    device: str,
) -> Annotators:
    """Load every network.

    Args:
        hub_folder: where networks lie as REPO/REVISION for a machine without the hub; None takes the hub.
    """
    from model.annotators import DepthEstimator, Detector, Segmenter, Tagger

    where = {name: _place(name, getattr(networks, name), hub_folder) for name in Networks.__dataclass_fields__}
    return Annotators(
        Tagger.load(*where["tagger"], tags.vocabulary, device),
        Detector.load(*where["detector"], device, networks.detector.size),
        Segmenter.load(*where["segmenter"], device),
        DepthEstimator.load(*where["depth"], device, networks.depth.size, field_of_view_deg),
        estimator,
        tags,
        filters,
        {name: k for k, name in enumerate(tags.vocabulary)},
        seed,
    )


def _place(name: str, network: Network, hub_folder: Path | None) -> tuple[str, dict[str, Any]]:
    """Where `from_pretrained` finds a network, and the options that keep it safe."""
    if not re.fullmatch(r"[0-9a-f]{40}", network.revision):
        raise InputError(
            f"params.yaml: annotate: networks.{name}.revision {network.revision!r} of {network.repo} is no commit; "
            "write the 40 hex digits of the one to use"
        )
    local = None if hub_folder is None else hub_folder / network.repo / network.revision
    if local is not None and local.is_dir():
        return str(local), {"trust_remote_code": False, "local_files_only": True}
    return network.repo, {"revision": network.revision, "trust_remote_code": False}


def _boxes(found: Sequence[Detection]) -> np.ndarray:
    return np.array([one.box for one in found]).reshape(-1, 4)
