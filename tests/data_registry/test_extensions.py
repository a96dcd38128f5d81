"""A user's own parts of the study come from folders outside the tree, which params.yaml lists."""

import sys

import pytest

from data_registry import extensions
from data_registry.cards import datasets
from data_registry.errors import InputError
from tests.data_registry.test_cards import TOY


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test's extension adds is gone after it."""
    monkeypatch.setattr(datasets, "ADDED", {})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("extension_"):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path):
    """An empty extension."""
    (tmp_path / "mine" / "cards").mkdir(parents=True)
    return tmp_path / "mine"


def test_a_card_in_an_extension_is_a_data_set(tmp_path, folder):
    (folder / "cards" / "toy.yaml").write_text(TOY)
    for _ in range(2):  # every read of the settings loads them
        extensions.load(tmp_path, ["mine"])
    assert "toy" in datasets.names()
    assert datasets.card("toy").title == "Toy"
    (folder / "cards" / "toy.yaml").write_text(TOY.replace("title: Toy", "title: Edited"))
    assert datasets.card("toy").title == "Edited"


def test_a_card_that_went_away_is_no_data_set_any_more(tmp_path, folder):
    (folder / "cards" / "toy.yaml").write_text(TOY)
    extensions.load(tmp_path, ["mine"])
    (folder / "cards" / "toy.yaml").unlink()
    extensions.load(tmp_path, ["mine"])
    assert "toy" not in datasets.names()


def test_a_file_is_imported_once(tmp_path, folder):
    (folder / "own.py").write_text(
        "from dataclasses import dataclass\n"
        "from model.zoo import ENCODERS\n\n"
        "@dataclass\nclass Kept:\n    name: str\n\n"
        "ENCODERS['counted'] = {'times': ENCODERS.get('counted', {}).get('times', 0) + 1}\n"
    )
    from model.zoo import ENCODERS

    for _ in range(2):
        extensions.load(tmp_path, ["mine"])
    assert ENCODERS.pop("counted") == {"times": 1}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ("mine", "params.yaml: extensions: expected a list of folders, is 'mine'"),
        ([1], "expected a list of folders"),
        (["none"], "extensions: none: no such folder"),
    ],
)
def test_folders_that_are_none_are_named(tmp_path, folders, message):
    with pytest.raises(InputError, match=message):
        extensions.load(tmp_path, folders)


def test_a_file_that_does_not_import_is_named(tmp_path, folder):
    (folder / "own.py").write_text("raise KeyError('x')")
    for _ in range(2):  # it is not taken for imported
        with pytest.raises(InputError, match=r"own\.py: does not import \(KeyError: 'x'\); mend it"):
            extensions.load(tmp_path, ["mine"])


def test_a_script_that_ends_its_process_is_named(tmp_path, folder):
    """A stage's command beside the entries is run by the import: argparse exits as it finds none of its arguments."""
    (folder / "run_audit.py").write_text("raise SystemExit(2)")
    with pytest.raises(InputError, match=r"run_audit\.py: does not import \(SystemExit: 2\)"):
        extensions.load(tmp_path, ["mine"])


def test_a_card_may_not_take_the_name_of_another(tmp_path, folder):
    for name in ("cc558k", "toy"):
        (folder / "cards" / f"{name}.yaml").write_text(TOY.replace("name: toy", f"name: {name}"))
    with pytest.raises(InputError, match=r"mine/cards/cc558k\.yaml: .*/cards/cc558k\.yaml describes a data set"):
        extensions.load(tmp_path, ["mine"])
