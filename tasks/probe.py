"""Stage `probe`: how much of 3D a frozen encoder knows (the paper's Sec. 3.2.1), by linear readings of its features.
`python -m tasks.probe ENCODER` writes metrics.json: category accuracy, azimuth error, depth."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

from data_registry import ranges
from tasks.stage.harness import StageRun, main
from tasks.training.probing import given_scenes, objects, pooled, probe


@dataclass(frozen=True)
class Params:
    """How many scenes the readings are fitted on and measured on (params.yaml: probe).

    Attributes:
        seed: unused by a linear probe, which has one solution; every stage has one.
        train, test: scenes at most, the first of the train and of the test scenes.
    """

    seed: ranges.Seed = 0
    train: ranges.Count = 1500
    test: ranges.Count = 500


def compute(run: StageRun) -> dict[str, Any]:
    """Probe the encoder of the run's name: fitted on train scenes, measured on test scenes, which share no shape."""
    from model.backbones.encoders import load_encoder
    from tasks.training.machine import device_of

    p = run.parse(Params)
    encoder = load_encoder(run.parts["encoder"], run.scale, run.input("encoder")).to(device_of(run.runtime))
    spec = encoder.spec
    fit = objects(islice(given_scenes(run, "train"), p.train), spec.image_size)
    held = objects(islice(given_scenes(run, "test"), p.test), spec.image_size)
    return probe(pooled(encoder, fit), fit, pooled(encoder, held), held)


if __name__ == "__main__":
    main("probe", compute)
