"""Stage `scenes`: the same files whatever the number of workers, readable by the readers, wrong parameters named."""

import pytest

from data_registry.errors import InputError
from data_registry.readers import omni3d
from data_registry.storage import shards
from tasks import scenes
from tasks.stage.harness import StageRun


def _compute(out, workers: int, **params) -> dict:
    out.mkdir()
    run = StageRun(
        scale="tiny", stage="scenes", name="train", params={"images": 70, "seed": 9, "size": 32} | params,
        parts={}, seed=0, out=out, work=out, runtime={"workers": workers},
    )  # fmt: skip
    return scenes.compute(run)


def test_the_number_of_workers_does_not_show(tmp_path):
    one, two = (_compute(tmp_path / str(n), n) for n in (1, 2))
    assert one == two and one["images"] == 70 and one["objects"] == one["kept"] + sum(one["drops"].values())
    for name in ("annotations.json", "images-00000.parquet"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    images = shards.Images(tmp_path / "1")
    for scene in omni3d.read(tmp_path / "1" / "annotations.json"):
        assert images[scene.image].shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"imges": 5}, "did you mean images"),
        ({"size": 8}, "size: 8: must be from 32 to 2,048"),
        ({"quality": 0}, "must be from 50 to 100"),
    ],
)
def test_wrong_parameters_are_named(tmp_path, params, message):
    with pytest.raises(InputError, match=message):
        _compute(tmp_path / "out", 1, **params)
