"""Loading the head that `tasks.pose` has trained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from data_registry.errors import InputError

if TYPE_CHECKING:
    from model.annotators import PoseEstimator
    from model.backbones.encoders import VisionEncoder


WEIGHTS, CONFIG = "model.safetensors", "config.json"


def load(folder: Path, encoder: "VisionEncoder") -> "PoseEstimator":
    """The trained head of a `pose` stage run, on its encoder; InputError where it was trained on another one."""
    from safetensors.torch import load_file

    from model.annotators import PoseEstimator, PoseHead

    facts = json.loads((folder / CONFIG).read_text())
    if (facts["encoder"], facts["head"]["width"]) != (encoder.name, encoder.width):
        raise InputError(
            f"{folder / CONFIG}: a head for {facts['encoder']} of width {facts['head']['width']}, but the encoder "
            f"is {encoder.name} of width {encoder.width}; compute the stage pose for this encoder"
        )
    head = PoseHead(**facts["head"])
    head.load_state_dict(load_file(folder / WEIGHTS))
    return PoseEstimator(encoder, head.eval(), facts["margin"])
