"""Every data set of the study has a card that says what it is, at every scale."""

import pytest

from data_registry.cards import datasets
from data_registry.cards.card import SCALES, File, Pictures, load
from data_registry.errors import InputError, nearest
from data_registry.paper import TABLE_2
from data_registry.readers import omni3d


def test_every_data_set_of_the_paper_has_a_card():
    used = {name for row in TABLE_2 for name in (*row.stage1, *row.stage2)}
    assert used | {"spatialvqa"} <= set(datasets.names())


@pytest.mark.parametrize("name", datasets.names())
def test_a_card_is_complete(name):
    card = datasets.card(name)
    assert card.name == name
    assert card.source and card.license and card.role and card.paper and card.format
    if card.used_in:  # a set of the study, not a raw source
        assert set(card.made) == set(SCALES)
        assert all("from" in made and "samples" in made for made in card.made.values())
    else:
        assert card.splits and card.counts


def test_every_raw_source_has_a_card():
    omni3d = {f"omni3d-{name}" for name in ("kitti", "nuscenes", "sunrgbd", "arkitscenes", "hypersim", "objectron")}
    assert omni3d | {"imagenet3d", "openimages", "cc558k", "mix665k", "rendered"} <= set(datasets.names())


def test_omni3d_files_are_named_as_the_reader_knows_their_source():
    for name in datasets.names():
        if name.startswith("omni3d-"):
            stems = {file.path.removesuffix(f"_{file.split}.json") for file in datasets.card(name).files}
            assert stems <= set(omni3d.sources())


def test_many_known_names_are_cut_short():
    said = nearest("xyz", [f"name-{n:02d}" for n in range(40)])
    assert said.startswith("known: name-00, ")
    assert said.endswith("name-15 and 24 more")


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 3di-ft1m"):
        datasets.card("3di-ft")


def test_a_card_with_a_wrong_key_names_it(tmp_path, monkeypatch):
    text = (datasets.FOLDER / "cc558k.yaml").read_text()
    (tmp_path / "cc558k.yaml").write_text(text.replace("license:", "licence:"))
    monkeypatch.setattr(datasets, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="licence: unknown key, did you mean license"):
        datasets.card("cc558k")
    (tmp_path / "cc558k.yaml").write_text(text.replace("title: CC558K\n", ""))
    with pytest.raises(InputError, match="title: missing"):
        datasets.card("cc558k")


TOY = """
name: toy
title: Toy
kind: source
role: a
paper: b
source: c
license: d
format: e
obtain: {how: s3, bucket: f, credentials: unsigned}
files:
  - {path: g.tar, size: 12, sha256: unknown, split: train}
pictures:
  - {path: images, files: unknown}
"""


def test_a_card_is_read(tmp_path):
    (tmp_path / "toy.yaml").write_text(TOY)
    card = load(tmp_path / "toy.yaml")
    assert card.files == (File("g.tar", 12, None, split="train"),)
    assert card.pictures == (Pictures("images", None),)
    assert (card.obtain.how, card.obtain.bucket, card.params) == ("s3", "f", {})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bucket:", "buckets:", "obtain: buckets: unknown key, did you mean bucket"),
        ("how: s3", "how: s3s", "obtain: how: 's3s' is none of our ways, did you mean s3"),
        ("how: s3", "how: [s3]", r"obtain: how: \['s3'\] is none of our ways"),
        ("how: s3", "how: hub", "obtain: repo: missing; how: hub needs repo, revision"),
        ("how: s3, ", "how: hub, repo: a/b, revision: main, ", "revision: 'main': must be a commit's 40"),
        ("unsigned", "unsign", "credentials: 'unsign': unknown, did you mean unsigned"),
        ("size: 12, ", "", r"files\[0\]: size: missing"),
        ("size: 12", "size: 12 MB", r"files\[0\]: size: '12 MB': must be a whole number, or unknown"),
        ("sha256: unknown", "sha256: abc", r"files\[0\]: sha256: 'abc': must be 64"),
        ("sha256", "sha265", r"files\[0\]: sha265: unknown key, did you mean sha256"),
        ("g.tar", "../g.tar", r"files\[0\]: path: '\.\./g\.tar': must be relative"),
        ("path: images", "path: g.tar", r"g\.tar occurs twice"),
        ("name: toy", "name: boy", "name: is 'boy'; must be the file's, 'toy'"),
        ("files: unknown", "file: unknown", r"pictures\[0\]: file: unknown key, did you mean files"),
        ("{path: images, files: unknown}", "images", r"pictures\[0\]: must be a mapping"),
        ("title: Toy", "title: [", "no readable card"),
        ("title: Toy", "title: 2024-13-45", "no readable card"),
    ],
)
def test_a_wrong_card_is_named_with_its_place(tmp_path, old, new, message):
    assert old in TOY
    (tmp_path / "toy.yaml").write_text(TOY.replace(old, new, 1))
    with pytest.raises(InputError, match=rf"toy\.yaml: .*{message}"):
        load(tmp_path / "toy.yaml")
