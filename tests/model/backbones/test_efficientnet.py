"""EfficientNet-Lite0 with its real ImageNet weights gives the features of an independent implementation."""

import pytest
import torch

from data_registry.errors import InputError
from model.backbones.encoders import load_encoder
from tasks import foundation
from tasks.identity import settings
from tasks.pretraining.packages import Params, weights_file
from tasks.stage.harness import StageRun

PARAMS = settings.read_yaml(__import__("pathlib").Path(__file__).parents[3] / "params.yaml")["foundation"]["small"][
    "each"
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("efficientnet-lite0")
    name = "efficientnet-lite0"
    run = StageRun("small", "foundation", name, PARAMS[name], {}, 0, out, out, {})
    assert foundation.compute(run)["parameters"] == 2_939_120
    return out


def test_features_equal_those_of_the_package_in_eval_mode(folder):
    from efficientnet_lite_pytorch import EfficientNet

    peer = EfficientNet.from_name("efficientnet-lite0")
    file = weights_file(Params(**PARAMS["efficientnet-lite0"]))
    peer.load_state_dict(torch.load(file, weights_only=True))
    peer.eval()
    encoder = load_encoder("efficientnet-lite0", "small", folder)
    encoder.train()  # as the Trainer leaves it: nothing may depend on it
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        planes = torch.clamp(peer._bn0(peer._conv_stem(pixels)), 0, 6)
        for block in peer._blocks:
            planes = block(planes)
        ours = encoder.tower(pixels).hidden_states[-1]
        grid = encoder(torch.rand(1, 3, 224, 224))
    torch.testing.assert_close(ours, planes.flatten(2).mT, rtol=1e-4, atol=1e-4)
    assert grid.shape == (1, encoder.grid**2, 320) and encoder.grid == 8


def test_weights_are_those_that_were_pinned(monkeypatch):
    right = PARAMS["efficientnet-lite0"]
    with pytest.raises(InputError, match="its sha256 is 579344248a93"):
        weights_file(Params(**right | {"sha256": "0" * 64}))
    with pytest.raises(InputError, match=r"version 0\.1\.0 is installed; `make small`"):
        weights_file(Params(**right | {"version": "0.2.0"}))
    with pytest.raises(InputError, match=r"no-such-package 0\.1\.0 is not installed; `make small`"):
        weights_file(Params(**right | {"package": "no-such-package"}))
