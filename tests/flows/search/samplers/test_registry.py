"""A sampler is one row of a table: what it takes for a sweep to use it, and for help and messages to name it."""

import pytest
from optuna.samplers import RandomSampler
from typer.testing import CliRunner

from data_registry.errors import InputError
from flows.cli.main import app
from flows.designs.space import Space
from flows.search.config import read_config
from flows.search.samplers.registry import SAMPLERS, Sampler, check_sampler
from tests.flows.test_sweep import sweep

SPACE = Space(llm=["llama3-8b"], stage0=["none"], stage1=["cc558k"], stage2=["mix665k"])


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The project of somebody with a sampler of their own, and every search that it was made for."""
    made = []

    def make(search):
        made.append(search)
        return RandomSampler(search.seed)

    monkeypatch.setitem(SAMPLERS, "mine", Sampler(make, "of this test"))
    (tmp_path / "params.yaml").write_text("scale: tiny\nversions: {}\nsweep: {sampler: mine}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path, made


def test_a_row_is_all_that_a_sampler_needs(own):
    root, made = own
    _, trials, _ = sweep(root, 3, read_config(root).sampler, space=SPACE)
    assert {trial.design for trial in trials} == set(SPACE.designs())
    (search,) = made
    assert search.space == SPACE
    assert search.seed == 0


def test_help_names_every_sampler(own):
    shown = " ".join(CliRunner().invoke(app, ["sweep", "--help"]).stdout.replace("│", " ").split())
    assert "prefix (cost- and prefix-aware), tpe, random, grid (the space's order), mine (of this test)" in shown


def test_a_name_without_a_row_is_an_error_that_lists_the_rows(own):
    root, _ = own
    with pytest.raises(InputError, match=r"sampler: 'mime' is unknown, did you mean mine\?; known: prefix, .*, mine"):
        check_sampler("mime")
    (root / "params.yaml").write_text("scale: tiny\nversions: {}\nsweep: {sampler: genetic}\n")
    with pytest.raises(InputError, match=r"params\.yaml: sweep\.sampler: 'genetic' is unknown, known: .*mine"):
        read_config(root)
