"""Picture files of the user: links in a named folder are followed, paths in a file never lead out, errors say why."""

import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from data_registry.errors import InputError
from data_registry.readers import llava, openimages
from data_registry.storage import pictures
from data_registry.viewing import show
from tasks.sources import given_pictures, given_scenes

EXIF_TURN = 6  # the camera was held upright


def _picture(path: Path, size: tuple[int, int] = (40, 30), orientation: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", size, (90, 20, 20)).save(path, exif=exif)
    return path


@pytest.fixture
def linked(tmp_path):
    """A named folder in which a folder, a folder of folders and a picture are links to elsewhere."""
    _picture(tmp_path / "elsewhere/KITTI/training/1.jpg")
    _picture(tmp_path / "other/2.jpg")
    named = tmp_path / "pics"
    named.mkdir()
    (named / "KITTI_object").symlink_to(tmp_path / "elsewhere/KITTI")
    (named / "2.jpg").symlink_to(tmp_path / "other/2.jpg")
    (named / "loop").symlink_to(named)
    return named


KEYS = ("KITTI_object/training/1.jpg", "2.jpg")


@pytest.mark.parametrize("key", KEYS)
def test_links_in_the_named_folder_are_the_user_s_word(linked, key):
    assert given_scenes.picture(linked, key, Path("a.json"), (40, 30))[1] == (40, 30)
    assert key in llava.FolderImages(linked) and key in llava.DecodedImages(linked)
    assert show._from_folder(linked)(key).shape == (30, 40, 3)
    assert openimages.folder_sizes(linked)(key) == (40, 30)


def test_the_named_folder_may_be_a_link_itself(linked, tmp_path):
    (tmp_path / "named").symlink_to(linked)
    assert given_scenes.picture(tmp_path / "named", KEYS[0], Path("a.json"))[1] == (40, 30)


def test_pictures_in_linked_folders_are_listed_once(linked):
    assert given_pictures.keys(linked) == sorted(KEYS)


@pytest.mark.parametrize("key", ["../other/2.jpg", "KITTI_object/../../other/2.jpg", "/etc/passwd", "a/../../x", ".."])
def test_a_path_that_leads_out_by_itself_is_refused(linked, key):
    with pytest.raises(InputError, match=r"a\.json: images: file_path '.*' leads out of .*pics; make it relative"):
        given_scenes.picture(linked, key, Path("a.json"))
    with pytest.raises(InputError, match=r"pics: file_path '.*' leads out of it"):
        show._from_folder(linked)(key)
    assert key not in llava.FolderImages(linked) and openimages.folder_sizes(linked)(key) is None


@pytest.mark.parametrize(
    "key", ["x" * 300 + ".jpg", "y/" * 3000 + "1.jpg", "a\0.jpg", "none.jpg", "", ".", "2.jpg/1.jpg", "\ud83d.jpg"]
)
def test_a_name_that_no_file_has_is_one_short_message(linked, key):
    with pytest.raises(InputError, match=r"no such picture; a\.json names it") as error:
        given_scenes.picture(linked, key, Path("a.json"))
    assert len(str(error.value)) < 500
    with pytest.raises(InputError):
        show._from_folder(linked)(key)
    assert key not in llava.FolderImages(linked) and openimages.folder_sizes(linked)(key) is None


def test_a_link_to_nothing_or_to_itself_is_no_picture(linked, tmp_path):
    (linked / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (linked / "itself.jpg").symlink_to(linked / "itself.jpg")
    for key in ("dangling.jpg", "itself.jpg"):
        with pytest.raises(InputError, match="no such picture"):
            given_scenes.picture(linked, key, Path("a.json"))
    assert given_pictures.keys(linked) == sorted(KEYS)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_picture_that_exif_turns_says_so(tmp_path, orientation):
    _picture(tmp_path / "a.jpg", (40, 30), orientation)
    with pytest.raises(
        InputError, match=r"is 40×30 pixels, .* says 30×40; its EXIF orientation turns it .*auto-orient"
    ):
        given_scenes.picture(tmp_path, "a.jpg", Path("a.json"), (30, 40))
    assert given_scenes.picture(tmp_path, "a.jpg", Path("a.json"), (40, 30))[1] == (40, 30)


@pytest.mark.parametrize(("orientation", "size"), [(1, (30, 40)), (None, (30, 40)), (6, (99, 40))])
def test_another_size_without_a_turn_says_nothing_of_exif(tmp_path, orientation, size):
    _picture(tmp_path / "a.jpg", (40, 30), orientation)
    with pytest.raises(InputError, match="correct width, height and K there"):
        given_scenes.picture(tmp_path, "a.jpg", Path("a.json"), size)


def test_messages_hold_no_addresses_of_objects(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"a\.jpg: does not decode \(cannot identify image file\)"):
        given_scenes.picture(tmp_path, "a.jpg", Path("a.json"))
    for error in (OSError("cannot identify image file <_io.BytesIO object at 0x7f00>"), ValueError()):
        assert not re.search(r"0x|<", pictures.why(error)) and pictures.why(error)


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_picture_that_may_not_be_read_is_named(tmp_path):
    _picture(tmp_path / "a.jpg").chmod(0)
    with pytest.raises(InputError, match=r"a\.jpg: cannot be read"):
        given_scenes.picture(tmp_path, "a.jpg", Path("a.json"))


def test_a_name_that_is_no_text_is_named(tmp_path):
    _picture(tmp_path / "good.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).write_bytes(b"")
    with pytest.raises(InputError, match="a name that is not UTF-8; rename it"):
        given_pictures.keys(tmp_path)


@pytest.mark.parametrize(
    "where", [{}, {"pictures": "x"}, {"annotations": 5, "pictures": "x"}, ["a"], 7, {"annotations": ["x"]}]
)
def test_places_that_are_no_paths_are_named(where):
    with pytest.raises(
        InputError, match=r"params\.yaml: runtime\.scenes\.train\.(annotations|pictures): missing, or no"
    ):
        given_scenes.places({"scenes": {"train": json.loads(json.dumps(where))}}, "train")
