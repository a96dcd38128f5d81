"""The contact sheet: boxes are drawn where the objects are, arrows where they face, and wrong calls are explained."""

import numpy as np
import pytest
from PIL import Image

from data_registry import render
from data_registry.readers import omni3d
from data_registry.scene import Camera, Scene
from data_registry.viewing import sheet, show


def _differs(world: render.World) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that the drawing changed, and those of the objects' projected boxes."""
    picture = render.render(world, 96)
    scene = render.scene(world, 96, picture=picture)
    drawn = np.asarray(show.picture(scene, picture.rgb, 96))
    near = np.zeros((96, 96), bool)
    for thing in scene.objects:
        tip = thing.center + thing.front * thing.dimensions[2]
        points = scene.camera.project(np.vstack([thing.corners(), tip[None]]))
        x0, y0 = np.clip(points.min(0) - 13, 0, 96).astype(int)
        x1, y1 = np.clip(points.max(0) + 5, 0, 96).astype(int)
        near[y0:y1, x0:x1] = True
        near[max(0, int(thing.bbox[1]) - 13) : int(thing.bbox[1]) + 3, int(thing.bbox[0]) :] = True  # its name
    return (drawn != picture.rgb).any(-1), near


@pytest.mark.parametrize("index", range(4))
def test_lines_are_drawn_at_the_objects_and_nowhere_else(index):
    changed, near = _differs(render.sample(31, index))
    assert changed.sum() > 200 and not (changed & ~near).any()


@pytest.mark.parametrize("size", [(2000, 1), (1, 500)])
def test_a_thin_picture_is_drawn(size):
    scene = Scene("", "a.png", Camera(*size, np.eye(3)), ())
    rgb = np.zeros((size[1], size[0], 3), np.uint8)
    for drawn in (show.picture(scene, rgb, 96), sheet._plain(rgb)):
        assert min(drawn.size) >= 1


def test_a_file_with_a_folder_of_images(tmp_path, capsys):
    world = render.sample(31, 0)
    picture = render.render(world, 64)
    with omni3d.Writer(tmp_path / "a.json", {"source": "rendered"}, render.categories()) as file:
        file.add(*render.records(world, picture, "x/0.png"))
    (tmp_path / "x").mkdir()
    Image.fromarray(picture.rgb).save(tmp_path / "x/0.png")
    show.main([str(tmp_path / "a.json"), "--images", str(tmp_path), "--out", str(tmp_path / "sheet.png")])
    assert Image.open(tmp_path / "sheet.png").size == (288, 288)
    here, elsewhere = (["--images", str(tmp_path / name)] for name in ("", "y"))
    for arguments, message in (
        ([], "say where its images are"),
        (elsewhere, "no readable image"),
        ([*here, "--count", "0"], "--count: must be 1 or more"),
        ([*here, "--count", "-1"], "--count: must be 1 or more"),
        ([*here, "--out", str(tmp_path / "sheet.txt")], "sheet.txt: cannot be written (unknown file extension: .txt)"),
        ([*here, "--out", str(tmp_path / "z/sheet.png")], "sheet.png: cannot be written ([Errno 2] No such file"),
    ):
        with pytest.raises(SystemExit, match="2"):
            show.main([str(tmp_path / "a.json"), *arguments])
        assert message in capsys.readouterr().err
