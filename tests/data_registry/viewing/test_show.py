"""The contact sheet: boxes are drawn where the objects are, arrows where they face, and wrong calls are explained."""

import numpy as np
import pytest
from PIL import Image

from data_registry import render
from data_registry.readers import omni3d
from data_registry.scene import Camera, Region, Scene, SceneObject
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


def _photograph(width: int, height: int) -> tuple[Scene, np.ndarray]:
    """A car ahead, as a street's camera sees it."""
    camera = Camera(width, height, np.array([[720.0, 0, width / 2], [0, 720.0, height / 2], [0, 0, 1]]))
    turned = np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]])
    center, dimensions = np.array([1.0, 1.0, 15.0]), np.array([1.7, 1.5, 4.0])
    bbox = np.array([width / 2, height / 2, width / 2 + 80, height / 2 + 60])
    car = SceneObject(1, "car", center, dimensions, turned, turned[:, 0], bbox)
    region = Region("dontcare", np.array([10.0, 20.0, 90.0, 60.0]))
    return Scene("KITTI", "a.png", camera, (car,), ignored=(region,)), np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(("width", "drawn"), [(96, 288), (640, 640), (1242, 1242), (4000, 1280)])
def test_a_photograph_is_drawn_at_a_readable_size(width, drawn):
    scene, rgb = _photograph(width, max(1, width * 3 // 10))
    picture = show.picture(scene, rgb)
    assert picture.width == drawn and abs(picture.height - drawn * 0.3) < 4
    if width >= 640:
        arrow = (np.asarray(picture) == show._ARROW).all(-1)
        assert np.ptp(arrow.nonzero()[1]) > 20, "the front is a line, not a dot"
        assert (np.asarray(picture) == show._IGNORED).all(-1).any()


def test_a_page_gives_a_photograph_a_row_of_its_own(tmp_path):
    entries = [sheet.Entry(Image.new("RGB", (width, 100)), f"{width}.jpg", []) for width in (320, 1242)]
    text = sheet.page("t", "n", entries)
    assert text.count("<figure>") == 1 and text.count('<figure class="wide">') == 1


def test_photographs_stand_in_few_columns():
    assert show.sheet([Image.new("RGB", (1242, 375))] * 3).size == (2 * 1242, 2 * 375)
    assert show.sheet([Image.new("RGB", (288, 288))] * 7).size == (5 * 288, 2 * 288)
