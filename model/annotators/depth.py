"""Metric depth and intrinsics of single pictures: Depth Pro, which knows its field of view, or a network that has to be
told it (Depth Anything V2 metric)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import interpolate

from data_registry.errors import InputError
from model.annotators.pictures import HALF, IMAGENET, batch, exactly, load, nearest_side


class DepthEstimator:
    """A monocular metric depth network.

    Args:
        kind: "depth_pro" or "depth_anything".
        size: side of the square for Depth Pro; for Depth Anything the side that is nearest to it becomes it.
        field_of_view_deg: horizontal, where the network does not estimate it.
    """

    def __init__(
        self,
        kind: str,
        network: torch.nn.Module,
        size: int | None = None,
        field_of_view_deg: float | None = None,
    ):
        self.kind, self.network, self.field_of_view_deg = kind, network, field_of_view_deg
        # what each was trained at: `image_processing_*` of transformers' model of that name
        self.size = size or {"depth_pro": 1536, "depth_anything": 518}[kind]
        knows_view = kind == "depth_pro" and network.config.use_fov_model
        if not knows_view and field_of_view_deg is None:
            raise InputError(
                "params.yaml: annotate: depth.field_of_view_deg: missing; this depth network does not estimate the "
                "field of view, so say what the pictures' is, or take Depth Pro"
            )
        if kind == "depth_anything" and network.config.depth_estimation_type != "metric":
            raise InputError("params.yaml: annotate: depth: these weights give relative depth; take the metric ones")

    @classmethod
    def load(
        cls, where: str, options: dict, device: str, size: int | None = None, field_of_view_deg: float | None = None
    ) -> "DepthEstimator":
        """From a folder or hub repository (`model.backbones.hub.resolve`)."""
        from transformers import DepthAnythingForDepthEstimation, DepthProForDepthEstimation

        classes = {
            "depth_pro": DepthProForDepthEstimation,
            "depth_anything": DepthAnythingForDepthEstimation,
        }
        kind, network = load(classes, "depth", where, options)
        return cls(kind, network.to(device), size, field_of_view_deg)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each picture its depth (h, w) of z in metres and its intrinsics (3, 3) in pixels.

        Raises:
            ValueError: a field of view that no camera has was estimated.
        """
        depths: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(pictures)
        for members in self._together(pictures):
            pixels, _ = batch([pictures[k] for k in members], self._resize(), IMAGENET if self._imagenet else HALF)
            output = self.network(pixels.to(self.network.device))
            for row, k in enumerate(members):
                depths[k] = self._read(output, row, pictures[k].shape[:2])
        return depths

    @property
    def _imagenet(self) -> bool:
        return self.kind == "depth_anything"

    def _resize(self):
        if self._imagenet:
            return nearest_side(self.size, self.network.config.patch_size)
        return exactly(self.size)

    def _together(self, pictures: Sequence[np.ndarray]) -> list[list[int]]:
        """Pictures that the network sees in one size: depth must not be padded, edges of padding are seen as walls."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for k, picture in enumerate(pictures):
            by_size.setdefault(self._resize()(picture.shape[:2]), []).append(k)
        return list(by_size.values())

    def _read(self, output, row: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        height, width = size
        angle = self.field_of_view_deg
        if angle is None:
            angle = float(output.field_of_view.reshape(-1)[row])
            if not 0 < angle < 180:
                raise ValueError(f"its field of view is estimated as {angle:.1f} degrees")
        focal = 0.5 * width / math.tan(0.5 * math.radians(angle))
        depth = output.predicted_depth[row].float()
        if self.kind == "depth_pro":  # the inverse depth of a camera whose focal length is the picture's width
            depth = depth * (width / focal)
        depth = interpolate(depth[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        if self.kind == "depth_pro":
            depth = 1 / depth.clamp(1e-4, 1e4)
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        return depth.cpu().numpy().astype(float), K
