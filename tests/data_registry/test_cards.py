"""Every data set of the study has a card that says what it is, at every scale."""

import pytest

from data_registry import registry
from data_registry.errors import InputError
from data_registry.paper import PRINTED, TABLE_2


def test_every_data_set_of_the_paper_has_a_card():
    used = {name for row in TABLE_2 for name in (*row.stage1, *row.stage2)}
    assert used | {"spatialvqa"} <= set(registry.names())


@pytest.mark.parametrize("name", registry.names())
def test_a_card_is_complete(name):
    card = registry.card(name)
    assert card.name == name
    assert card.title == PRINTED.get(name, card.title)
    assert set(card.recipe) == set(registry.SCALES)
    assert all("from" in recipe and "samples" in recipe for recipe in card.recipe.values())
    assert card.source and card.license


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 3di-ft1m"):
        registry.card("3di-ft")


def test_a_card_with_a_wrong_key_names_it(tmp_path, monkeypatch):
    text = (registry.FOLDER / "cc558k.yaml").read_text()
    (tmp_path / "cc558k.yaml").write_text(text.replace("license:", "licence:"))
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="licence: unknown key, did you mean license"):
        registry.card("cc558k")
    (tmp_path / "cc558k.yaml").write_text(text.replace("title: CC558K\n", ""))
    with pytest.raises(InputError, match="title: missing"):
        registry.card("cc558k")
