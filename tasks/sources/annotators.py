"""The networks of pseudo-annotation in their order, on a batch of pictures: tags, boxes, masks, depth, poses.
What the stage `annotate` computes per picture; its filters and counts are `data_registry.annotate`'s."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from data_registry import ranges
from data_registry.annotate import detections, pose_bins, scenes
from data_registry.annotate.detections import Detection
from data_registry.errors import InputError, nearest
from tasks.pretraining.hub import HubParams

DATASET_ID = 200  # in the Omni3D records; the published sets are below it

if TYPE_CHECKING:
    from model.annotators import DepthEstimator, Detector, PoseEstimator, Segmenter, Tagger


@dataclass(frozen=True)
class Network(HubParams):
    """A network of the hub by a pinned commit; `size` is the side in pixels that it sees, null for its own."""

    size: ranges.Count | None = None


@dataclass(frozen=True)
class Networks:
    """Which networks see (params.yaml: annotate.*.networks)."""

    tagger: Network
    detector: Network
    segmenter: Network
    depth: Network


@dataclass(frozen=True)
class Tags:
    """What is looked for (params.yaml: annotate.*.tags).

    Attributes:
        least: probability of a tag.
        most: tags of one picture.
        vocabulary: names, as a person says them.
        fronts: those of them that have a front; no others get a pose, and with it orientation questions.
    """

    least: ranges.Share
    most: ranges.Count
    vocabulary: list[str]
    fronts: list[str]

    def __post_init__(self) -> None:
        for name in self.fronts:
            if name not in self.vocabulary:
                raise InputError(
                    f"params.yaml: annotate: tags.fronts: {name!r} is not in the vocabulary, "
                    f"{nearest(name, self.vocabulary)}"
                )


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
    seed: int

    def __call__(self, numbers: Sequence[int], keys: Sequence[str], pictures: Sequence[np.ndarray]) -> list[Annotation]:
        """Annotate pictures (h, w, 3) uint8 with these ids and keys."""
        rules = self.filters.detection
        categories = {name: k for k, name in enumerate(self.tags.vocabulary)}
        drops: list[Counter[str]] = [Counter() for _ in pictures]
        tags = self.tagger(pictures, self.tags.least, self.tags.most)
        boxes = self.detector(pictures, tags, rules.box_score, rules.text_score)
        selected = [
            detections.select([Detection(b.name, b.score, b.box) for b in detected], rules, count)
            for detected, count in zip(boxes, drops, strict=True)
        ]
        masks = self.segmenter(pictures, [_boxes(detected) for detected in selected])
        depth = self.depth(pictures)
        annotated = []
        for number, key, picture, asked, detected, (mask, scores), (metres, K), count in zip(
            numbers, keys, pictures, tags, selected, masks, depth, drops, strict=True
        ):
            masked = [
                Detection(d.name, d.score, d.box, m, float(s)) for d, m, s in zip(detected, mask, scores, strict=True)
            ]  # fmt: skip
            space = scenes.place(masked, metres, K, self.filters, seed=self.seed)
            size = picture.shape[1], picture.shape[0]
            image, objects = scenes.records(
                number, key, size, space, self._poses(picture, space), categories, self.filters, count, DATASET_ID
            )
            count["tags"] += len(asked)
            annotated.append(Annotation(image, objects, count))
        return annotated

    def _poses(self, picture: np.ndarray, space: scenes.Space) -> list[pose_bins.Pose | None]:
        """A pose for every object that has a place and, by its name, a front; the others need none."""
        asked = [
            k
            for k, thing in enumerate(space.objects)
            if thing.fault is None and thing.detection.name in self.tags.fronts
        ]  # fmt: skip
        crops = self.pose.crops(picture, [np.array(detections.extent(space.objects[k].detection.shape)) for k in asked])
        poses: list[pose_bins.Pose | None] = [None] * len(space.objects)
        for k, decoded in zip(asked, pose_bins.decode(self.pose(crops)), strict=True):
            poses[k] = decoded
        return poses


def load(
    networks: Networks,
    estimator: "PoseEstimator",
    tags: Tags,
    filters: scenes.Filters,
    field_of_view_deg: float | None,
    seed: int,
    device: str,
) -> Annotators:
    """Load every network, from the hub or its local cache."""
    from model.annotators import DepthEstimator, Detector, Segmenter, Tagger

    return Annotators(
        Tagger.load(*_place(networks.tagger), tags.vocabulary, device),
        Detector.load(*_place(networks.detector), device, networks.detector.size),
        Segmenter.load(*_place(networks.segmenter), device),
        DepthEstimator.load(*_place(networks.depth), device, networks.depth.size, field_of_view_deg),
        estimator.to(device),
        tags,
        filters,
        seed,
    )


def _place(network: Network) -> tuple[str, dict[str, Any]]:
    """Where `from_pretrained` finds a network, and the options that keep it safe (as `model.backbones.hub.resolve`)."""
    return network.repo, {"revision": network.revision, "trust_remote_code": False}


def _boxes(detected: Sequence[Detection]) -> np.ndarray:
    return np.array([detection.box for detection in detected]).reshape(-1, 4)
