"""`bench.record`: the ratio says how many times better we are, whichever way a quantity points; machines are named."""

import json

import pytest

from benchmarks import bench


@pytest.mark.parametrize(("higher_is_better", "ratio"), [(True, 2.5), (False, 0.4)])
def test_the_ratio_is_above_one_when_we_are_better(tmp_path, monkeypatch, higher_is_better, ratio):
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    path = bench.record(
        "speed",
        ours=50.0,
        peer=20.0,
        unit="x/s",
        command="make bench-speed",
        higher_is_better=higher_is_better,
        size=96,
    )
    written = json.loads(path.read_text())
    assert path == tmp_path / "results/speed.json"
    assert written["ratio"] == ratio
    assert (written["ours"], written["peer"], written["command"]) == (50.0, 20.0, "make bench-speed")
    assert written["size"] == 96
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["processor"]


def test_without_a_peer_there_is_no_ratio(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    written = json.loads(bench.record("alone", ours=3.0, peer=None, unit="s", command="make bench-alone").read_text())
    assert written["peer"] is None
    assert written["ratio"] is None
