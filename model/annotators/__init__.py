"""The networks that see for pseudo-annotation: tags, boxes, masks, metric depth with intrinsics, poses.

Each module has one class with one method, which takes a batch of pictures ((h, w, 3) uint8 RGB, of any sizes) and
returns plain numpy values; which network it holds follows from its weights' `model_type`. What is made of these values
is decided elsewhere (`data_registry.annotate`).
"""

from model.annotators.depth import DepthEstimator
from model.annotators.detector import Detector
from model.annotators.pose import PoseEstimator, PoseHead
from model.annotators.segmenter import Segmenter
from model.annotators.tagger import Tagger

__all__ = ["DepthEstimator", "Detector", "PoseEstimator", "PoseHead", "Segmenter", "Tagger"]
