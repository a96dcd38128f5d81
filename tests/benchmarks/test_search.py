"""The surface that samplers are measured on agrees with the paper; a stage run is paid for once."""

from pathlib import Path

import pytest

from benchmarks.search import Surface, naive_samples, search
from data_registry.paper import TABLE_2
from flows.designs.design import ROWS, parse
from flows.designs.space import Space
from flows.search.halving import Halving

ROOT = Path(__file__).resolve().parents[2]


def test_every_surface_agrees_with_table_2_and_they_differ_elsewhere():
    one, two = (Surface(Space(), seed) for seed in (0, 1))
    assert len(one.values) == 144
    for row in TABLE_2:
        assert one.at(ROWS[row.row]) == pytest.approx(row.accuracy.average, abs=1e-3)
    unseen = parse("clip+mae_vicuna-7b_3di-pb-oi1m-clip_cc558k+3di-ft1m_mix665k+3di-ft1m")
    assert abs(one.at(unseen) - two.at(unseen)) > 0.01


def test_the_naive_grid_reads_what_it_must():
    """Stage 2: 72 designs on 665k samples and 72 on 1,665k; by hand."""
    assert naive_samples(Space())["stage2"] == 72 * 665_000 + 72 * 1_665_000


def test_halving_over_the_grid_pays_each_stage_run_once(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("scale: tiny", "scale: paper", 1))
    replay = search(tmp_path, Space(), "grid", 0, Halving())
    stages = [run.partition("/")[0] for run in replay.samples]
    assert {stage: stages.count(stage) for stage in ("adapt", "align")} == {"adapt": 3, "align": 72}
    assert stages.count("instruct") == 144 + 48 + 16
    assert len(replay.curve) == 16
