"""Scenes of another format: `reader` names what reads them; they are kept as Omni3D, with what was left out."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from data_registry.errors import InputError
from data_registry.readers import as_omni3d, omni3d
from data_registry.readers.table import READERS
from data_registry.scene import Region
from tasks.sources import given_scenes
from tasks.sources.left_out import left_out
from tests.data_registry.questions.question_worlds import random_scenes

SCENES = [replace(scene, image=f"{k}.jpg") for k, scene in enumerate(random_scenes(12, seed=5))]


def written(tmp_path, scenes):
    path = tmp_path / "annotations.json"
    drops = Counter()
    assert as_omni3d.write(lambda: iter(scenes), path, drops) == len(scenes)
    return list(omni3d.read(path)), drops


def test_scenes_come_back_as_they_were(tmp_path):
    region = Region("dontcare", np.array([10.0, 10, 60, 60]))
    scenes = [replace(scene, others=("zebra",), ignored=(region,)) for scene in SCENES]
    back, drops = written(tmp_path, scenes)
    assert not drops
    assert [scene.image for scene in back] == [scene.image for scene in scenes]
    compared = 0
    for one, other in zip(scenes, back, strict=True):
        assert one.kind == other.kind
        assert "zebra" in other.others
        assert [r.name for r in other.ignored] == ["dontcare"]
        assert np.allclose(other.ignored[0].bbox, region.bbox)
        here = {tuple(np.round(thing.center, 6)): thing for thing in other.objects}
        for thing in one.objects:
            if (same := here.get(tuple(np.round(thing.center, 6)))) is None:
                continue  # of a random world, which Omni3D's own rules leave out
            compared += 1
            assert (same.name, same.color) == (thing.name, thing.color)
            assert np.allclose(same.R, thing.R)
            assert (same.front is None) == (thing.front is None)
            assert thing.front is None or np.allclose(same.front, thing.front, atol=0.05)
    assert compared > 10


def test_what_the_form_cannot_hold_is_counted(tmp_path):
    scene = SCENES[0]
    first, *rest = scene.objects
    flat = replace(first, center=None, dimensions=None)
    aslant = [replace(thing, front=thing.R @ np.array([0.6, 0, 0.8])) for thing in rest]
    back, drops = written(tmp_path, [replace(scene, objects=(flat, *aslant))])
    assert drops == {"no 3D box": 1, "front along no axis of the box": len(rest)}
    assert first.name in back[0].others
    assert all(thing.front is None for thing in back[0].objects)


def test_a_source_names_its_reader(tmp_path, monkeypatch):
    def mine(annotations, pictures, drops):
        drops["of no use"] += 3
        yield from SCENES[: int(annotations.read_text())]

    monkeypatch.setitem(READERS, "mine", mine)
    (tmp_path / "list.txt").write_text("4")
    place = {"annotations": str(tmp_path / "list.txt"), "pictures": str(tmp_path), "reader": "mine"}
    sources = given_scenes.places({"scenes": {"train": place}}, "train")
    drops = Counter()
    (converted,) = given_scenes.as_omni3d(sources, tmp_path, drops)
    assert drops == {"of no use": 3}
    assert [scene.image for scene in omni3d.read(converted.annotations)] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    (tmp_path / "list.txt").write_text("0")
    with pytest.raises(InputError, match=r"list\.txt: the reader mine finds no scene there"):
        given_scenes.as_omni3d(sources, tmp_path, drops)


def test_an_unknown_reader_is_named():
    place = {"annotations": "a", "pictures": "b", "reader": "kitty"}
    with pytest.raises(InputError, match=r"runtime\.scenes\.train\.reader: 'kitty': unknown, did you mean kitti"):
        given_scenes.places({"scenes": {"train": [place]}}, "train")


def test_what_was_left_out_is_said_in_one_line(capsys):
    left_out("scenes train", 5, 9, "objects", {"hidden": 1, "too small": 3, "never": 0}, "a.json")
    assert capsys.readouterr().out == "scenes train: 5 of 9 objects kept; left out: too small 3, hidden 1\n"
    left_out("scenes train", 9, 9, "objects", {}, "a.json")
    assert capsys.readouterr().out == ""


def test_nothing_kept_is_an_error():
    with pytest.raises(InputError, match=r"a\.json: none of 9 objects is kept; left out: hidden 9"):
        left_out("scenes train", 0, 9, "objects", {"hidden": 9}, "a.json")
