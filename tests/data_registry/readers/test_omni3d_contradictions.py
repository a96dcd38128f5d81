"""Omni3D files that contradict themselves: one value changed, the others left, is caught and never asked about."""

import copy
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_registry import render
from data_registry.errors import InputError
from data_registry.questions import names
from data_registry.readers import omni3d
from data_registry.readers.omni3d import agreement
from data_registry.scene import SceneObject
from tests.data_registry.readers.omni3d_records import K, boxes, record
from tests.samples import SAMPLES

KITTI = SAMPLES / "omni3d_from_kitti/KITTI_sample_omni3d.json"
IMAGE = {"id": 5, "width": 100, "height": 100, "file_path": "a.png", "K": K}


def _write(path: Path, objects: list, image: dict | None = None, **members) -> Path:
    content = {"info": {"source": "KITTI"}, "images": [IMAGE | (image or {})], "annotations": objects}
    path.write_text(json.dumps(content | members))
    return path


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Thirty rendered scenes as the content of their Omni3D file."""
    path = tmp_path_factory.mktemp("rendered") / "annotations.json"
    with omni3d.Writer(path, {"source": render.SOURCE}, render.categories()) as file:
        for index in range(30):
            world = render.sample(7, index)
            file.add(*render.records(world, render.render(world, 48), f"{index}.jpg"))
    return json.loads(path.read_text())


def _transposed(thing: dict, image: dict) -> None:
    thing["R_cam"] = np.array(thing["R_cam"]).T.tolist()


def _lengthways(thing: dict, image: dict) -> None:
    thing["dimensions"] = thing["dimensions"][::-1]


def _bottom(thing: dict, image: dict) -> None:
    down = np.array(thing["R_cam"])[:, 1]
    thing["center_cam"] = (np.array(thing["center_cam"]) + down * thing["dimensions"][1] / 2).tolist()


def _larger_image(thing: dict, image: dict) -> None:
    if not image.pop("done", False):
        image["K"] = [[v * 1.25 for v in row] for row in image["K"][:2]] + [image["K"][2]]
    image["done"] = True


def _zoomed(thing: dict, image: dict) -> None:
    if "done" not in image:
        image["K"][0][0] *= 1.25
        image["K"][1][1] *= 1.25
    image["done"] = True


def _mirrored(thing: dict, image: dict) -> None:
    thing["center_cam"][0] *= -1


def _y_up(thing: dict, image: dict) -> None:
    thing["center_cam"][1] *= -1


def _half_turn(thing: dict, image: dict) -> None:
    thing["R_cam"] = (np.array(thing["R_cam"]) @ np.diag([-1, 1, -1])).tolist()


def _other_corners(thing: dict, image: dict) -> None:
    thing["bbox3D_cam"] = [[x, y, z + 1] for x, y, z in thing["bbox3D_cam"]]


def _wide_boxes(thing: dict, image: dict) -> None:
    """As [x, y, width, height]."""
    for key in ("bbox2D_proj", "bbox2D_trunc", "bbox2D_tight"):
        if key in thing:
            x0, y0, x1, y1 = thing[key]
            thing[key] = [x0, y0, x1 - x0, y1 - y0]


def _with(content: dict, change) -> dict:
    content = copy.deepcopy(content)
    images = {image["id"]: image for image in content["images"]}
    for thing in content["annotations"]:
        if thing["valid3D"] and not thing["behind_camera"]:
            change(thing, images[thing["image_id"]])
    for image in content["images"]:
        image.pop("done", None)
    return content


def _harmless(before: SceneObject, after: SceneObject) -> bool:
    """Whether no corner moved by more than a twentieth of the object's length, and so nothing that is asked changes."""
    return np.abs(before.corners() - after.corners()).max() < 0.05 * before.dimensions.max()


CHANGES = [_transposed, _lengthways, _bottom, _larger_image, _zoomed, _mirrored, _y_up, _half_turn, _other_corners]


@pytest.mark.parametrize("change", [*CHANGES, _wide_boxes])
def test_a_changed_value_is_caught_in_every_rendered_object_that_it_changes(rendered, tmp_path, change):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rendered))
    true = {o.id: o for s in omni3d.read(path) for o in s.objects}
    path.write_text(json.dumps(_with(rendered, change)))
    drops = Counter()
    kept = [(s, o) for s in omni3d.read(path, drops) for o in s.objects]
    for _, thing in kept:  # a cube's rotation about its own axes, an object on the axis of a mirror
        assert change is not _wide_boxes and _harmless(true[thing.id], thing)
    assert len(kept) < len(true) / 5
    assert sum(v for k, v in drops.items() if k in (agreement.CORNERS, agreement.BOXES, "its 2D box has no area")) > 0


@pytest.mark.skipif(not KITTI.exists(), reason="the real samples are not on this machine")
@pytest.mark.parametrize("change", [*CHANGES, _wide_boxes])
def test_a_changed_value_is_caught_in_real_boxes(tmp_path, change):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(_with(json.loads(KITTI.read_text()), change)))
    true = {o.id: o for s in omni3d.read(KITTI) for o in s.objects}
    kept = [o for s in omni3d.read(path) for o in s.objects]
    assert len(kept) <= 1  # a pedestrian turned by 0.6 degrees, a truck whose middle is at the camera's height
    for thing in kept:
        assert _harmless(true[thing.id], thing)


@pytest.mark.skipif(not KITTI.exists(), reason="the real samples are not on this machine")
@pytest.mark.parametrize("change", [_bottom, _larger_image, _mirrored, _y_up, _wide_boxes])
def test_a_hand_drawn_box_alone_catches_most_of_what_moves(tmp_path, change):
    """Without corners and projected boxes, as files of other makers are; what moves by less than half stays."""
    content = json.loads(KITTI.read_text())
    for thing in content["annotations"]:
        for key in ("bbox3D_cam", "bbox2D_proj", "bbox2D_trunc"):
            del thing[key]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    before = [o.id for s in omni3d.read(path) for o in s.objects]
    path.write_text(json.dumps(_with(content, change)))
    kept = [o.id for s in omni3d.read(path) for o in s.objects]
    assert len(before) == 5 and len(kept) <= 2  # the truck straight ahead is its own mirror image


@pytest.mark.skipif(not KITTI.exists(), reason="the real samples are not on this machine")
def test_real_records_agree_far_within_the_thresholds():
    content = json.loads(KITTI.read_text())
    images = {image["id"]: image for image in content["images"]}
    for thing in (a for a in content["annotations"] if a["valid3D"]):
        expected = boxes(thing["center_cam"], thing["dimensions"], thing["R_cam"], 5000, images[thing["image_id"]]["K"])
        np.testing.assert_allclose(thing["bbox3D_cam"], expected["bbox3D_cam"], atol=1e-9)
        np.testing.assert_allclose(thing["bbox2D_proj"], expected["bbox2D_proj"], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"R_cam": [[0, 0, -1], [0, 1, 0], [1, 0, 0]], "bbox3D_cam": record()["bbox3D_cam"]}, agreement.CORNERS),
        ({"center_cam": [1.5, 1.0, 12.0], "bbox3D_cam": record()["bbox3D_cam"]}, agreement.CORNERS),
        ({"bbox2D_proj": [30, 51, 44, 64]}, agreement.BOXES),
        ({"bbox2D_trunc": [47, 30, 61, 43]}, agreement.BOXES),
        ({"bbox2D_tight": [10, 20, 30, 40]}, agreement.PLACE),
        ({"bbox2D_tight": [61, 64, 47, 51]}, "its 2D box has no area"),
        ({"bbox2D_proj": [61, 64, 47, 51]}, "its 2D box has no area"),
        ({"dimensions": [-1.7, 1.5, 4.0]}, "a dimension is not positive"),
        ({"dimensions": [1700, 1500, 4000], "center_cam": [500, 1000, 12000]}, "its size or distance is not in metres"),
        ({"dimensions": [1.7, 1.5, 4.0], "center_cam": [0.5, 1.0, 12000]}, "its size or distance is not in metres"),
        ({"R_cam": [[0, 0, 1], [0, 1, 0], [1, 0, 0]]}, "R_cam is no rotation"),
        ({"R_cam": [[0, 0, 0], [0, 0, 0], [0, 0, 0]]}, "R_cam is no rotation"),
        ({"R_cam": [[0, 0, 2], [0, 2, 0], [-2, 0, 0]]}, "R_cam is no rotation"),
    ],
)
def test_a_record_that_cannot_be_true_is_counted(tmp_path, changes, reason):
    drops = Counter()
    [scene] = omni3d.read(_write(tmp_path / "a.json", [record(), record(id=2, category_name="van", **changes)]), drops)
    assert [o.name for o in scene.objects] == ["car"] and scene.others == ("van",)
    assert drops == {"objects": 2, "images": 1, reason: 1}


@pytest.mark.parametrize("value", [None, -1, [-1] * 8, [[-1, -1, -1]] * 8])
def test_corners_may_be_unavailable(tmp_path, value):
    [scene] = omni3d.read(_write(tmp_path / "a.json", [record(bbox3D_cam=value)]))
    assert len(scene.objects) == 1


def test_rounded_files_are_kept(tmp_path):
    """Corners to millimetres, boxes to whole pixels."""
    sound = record()
    rounded = {key: np.round(sound[key], 3).tolist() for key in ("bbox3D_cam", "center_cam", "dimensions")}
    rounded |= {key: np.round(sound[key]).tolist() for key in ("bbox2D_proj", "bbox2D_trunc", "bbox2D_tight")}
    [scene] = omni3d.read(_write(tmp_path / "a.json", [sound | rounded]))
    assert len(scene.objects) == 1


@pytest.mark.parametrize("decimals", [2, 3, 4])
def test_every_number_may_be_rounded(tmp_path, decimals):
    yaw = 0.7
    turned = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    sound = record(R_cam=turned)
    for key in ("bbox3D_cam", "center_cam", "dimensions", "R_cam", "bbox2D_proj", "bbox2D_trunc", "bbox2D_tight"):
        sound[key] = np.round(sound[key], decimals).tolist()
    drops = Counter()
    [scene] = omni3d.read(_write(tmp_path / "a.json", [sound]), drops)
    assert len(scene.objects) == 1, drops


@pytest.mark.parametrize("lone", [False, True])
def test_what_is_unavailable_of_an_object_without_a_3d_box_may_be_minus_one(tmp_path, lone):
    """Omni3D: "Values are set to -1 when unavailable"; files have a lone -1 or as many as there are numbers."""
    numbers = {
        "center_cam": [-1] * 3, "dimensions": [-1] * 3, "R_cam": [[-1] * 3] * 3, "bbox3D_cam": [[-1] * 3] * 8,
        "bbox2D_proj": [-1] * 4, "bbox2D_trunc": [-1] * 4,
    }  # fmt: skip
    empty = dict.fromkeys(numbers, -1) if lone else numbers
    drops = Counter()
    objects = [record(id=1), record(id=2) | {"valid3D": False} | empty]
    [scene] = omni3d.read(_write(tmp_path / "a.json", objects), drops)
    assert [thing.id for thing in scene.objects] == [1]
    assert drops["no valid 3D box"] == 1
    [scene] = omni3d.read(_write(tmp_path / "a.json", [record() | empty]), drops)
    assert scene.objects == (), "and what says that it has a box must have it"


@pytest.mark.parametrize("other", ["Car", " car", "CAR"])
def test_a_name_in_another_spelling_is_the_same_name(tmp_path, other):
    """ "Which side of the car..." beside a "Car" of another label set."""
    [scene] = omni3d.read(_write(tmp_path / "a.json", [record(id=1), record(id=2, category_name=other)]))
    assert [thing.name for thing in scene.objects] == ["car", "car"]
    assert names.references(scene) == [None, None]
    [scene] = omni3d.read(_write(tmp_path / "a.json", [record(id=1), record(id=2, category_name=other, valid3D=False)]))
    assert names.references(scene) == [None]
    [scene] = omni3d.read(_write(tmp_path / "a.json", [record(id=1, category_name=other)]))
    assert scene.objects[0].front is not None, "and has the front of that name"


@pytest.mark.parametrize("key", ["visibility", "truncation"])
@pytest.mark.parametrize("value", [20, 2, 1.5])
def test_percent_are_no_shares(tmp_path, key, value):
    """20 of 100 passed for wholly visible."""
    with pytest.raises(InputError, match=rf"annotations: id 1: {key} must be a share, 0 to 1 .*, is {value}"):
        list(omni3d.read(_write(tmp_path / "a.json", [record(**{key: value})])))


def test_an_image_id_is_no_truth_value(tmp_path):
    path = _write(tmp_path / "a.json", [record(image_id=True)], {"id": 1})
    with pytest.raises(InputError, match="image_id True is not among its images"):
        list(omni3d.read(path))


def test_a_box_tilted_in_an_indoor_camera_is_kept(tmp_path):
    """The corners by hand, in the order of Omni3D's DATA.md: v0 to v3 at -z clockwise from upper left, then at +z."""
    pitch, yaw = 0.4, 2.1
    tilt = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    rotation, center = tilt @ turn, np.array([0.1, 0.2, 2.0])
    sound = record(center_cam=center.tolist(), dimensions=[0.5, 0.2, 0.4], R_cam=rotation.tolist(), id=1)
    order = ["---", "+--", "++-", "-+-", "--+", "+-+", "+++", "-++"]
    half = np.array([0.2, 0.1, 0.25])  # length along x, height along y, width along z
    ends = [half * [1 if sign == "+" else -1 for sign in vertex] for vertex in order]
    sound["bbox3D_cam"] = [(center + rotation @ end).tolist() for end in ends]
    drops = Counter()
    [scene] = omni3d.read(_write(tmp_path / "a.json", [sound]), drops)
    assert len(scene.objects) == 1, drops


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid3D": "false"}, "valid3D must be true or false, is 'false'"),
        ({"valid3D": None}, "valid3D must be true or false, is None"),
        ({"valid3D": 2}, "valid3D must be true or false, is 2"),
        ({"behind_camera": "false"}, "behind_camera must be true or false, is 'false'"),
        ({"behind_camera": []}, r"behind_camera must be true or false, is \[\]"),
        ({"lidar_pts": "0"}, "lidar_pts must be a number, is 0"),
        ({"segmentation_pts": "0"}, "segmentation_pts must be a number, is 0"),
        ({"depth_error": "0.9"}, "depth_error must be a number"),
        ({"truncation": True}, "truncation must be a number"),
        ({"bbox3D_cam": [[0, 0, 1]] * 7}, "bbox3D_cam must be 8 rows of 3 numbers"),
        ({"bbox3D_cam": [[0, 0, "1"]] * 8}, "each row of bbox3D_cam must be 3 numbers"),
        ({"bbox2D_tight": [1, 2, 3]}, "bbox2D_tight must be 4 numbers"),
        ({"category_name": "  "}, "category_name must be a name"),
        ({"category_name": "car\nvan"}, "category_name must be a name"),
        ({"category_name": "car" * 100}, "category_name must be a name"),
        ({"id": True}, "id 'True' is no whole number"),
        ({"id": 1.5}, "id '1.5' is no whole number"),
        ({"image_id": "5"}, "image_id 5 is not among its images"),
        ({"front_axis": "x"}, "front_axis is 'x'"),
    ],
)
def test_a_value_of_another_kind_is_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=rf"a\.json: annotations: .*{message}"):
        list(omni3d.read(_write(tmp_path / "a.json", [record() | changes])))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"K": [[80, 0, 50], [77, 80, 50], [0, 0, 1]]}, r"K must be \[\[fx, s, cx\], \[0, fy, cy\], \[0, 0, 1\]\]"),
        ({"K": [[0, 0, 50], [0, 80, 50], [0, 0, 1]]}, "positive focal lengths"),
        ({"K": [[80, 0, 50], [0, 80, 50], [0, 0, 2]]}, r"K must be"),
        ({"K": [[80, 77, 50], [0, 80, 50], [0, 0, 1]]}, "a skew of 77"),
        ({"K": [[80, 0, 50], [0, 0.8, 50], [0, 0, 1]]}, "focal lengths 80 and 0.8"),
        ({"K": [80, 80, 50, 50]}, "K must be 3 rows of 3 numbers"),
        ({"width": 100.5}, "width must be a whole number of pixels"),
        ({"width": 0}, "width must be a whole number of pixels"),
        ({"height": -100}, "height must be a whole number of pixels"),
        ({"width": 1e200}, "width must be a whole number of pixels"),
        ({"width": True}, "width must be a number"),
        ({"width": 1000}, "principal point"),
        ({"up_cam": [0, 1, 0]}, "points down in the picture"),
        ({"up_cam": [0, math.sin(0.5), math.cos(0.5)]}, "points down in the picture"),
        ({"up_cam": [0, 0, 0]}, "up_cam must be of length 1"),
        ({"file_path": "a\0.png"}, "file_path must be a name"),
        ({"file_path": "a" * 5000}, "file_path must be a name"),
        ({"source": "kitti"}, r"source 'kitti': unknown.*did you mean KITTI\?"),
    ],
)
def test_a_camera_that_cannot_be_is_named(tmp_path, image, message):
    with pytest.raises(InputError, match=rf"a\.json: images: id 5: .*{message}"):
        list(omni3d.read(_write(tmp_path / "a.json", [], image)))


@pytest.mark.parametrize("up", [[0, -1, 0], [0, 0, -1], [1, 0, 0], [0.6, 0.1, -math.sqrt(1 - 0.36 - 0.01)]])
def test_cameras_may_be_tilted(tmp_path, up):
    [scene] = omni3d.read(_write(tmp_path / "a.json", [], {"up_cam": up}))
    np.testing.assert_array_equal(scene.camera.up, up)


@pytest.mark.parametrize(
    ("source", "meant"),
    [("kitti", "KITTI"), ("Kitti", "KITTI"), ("KITI", "KITTI"), ("nuscenes", "nuScenes"), ("NuScene", "nuScenes"),
     ("SUN RGB-D", "SUNRGBD"), ("arkitscenes", "ARKitScenes"), ("hyper_sim", "Hypersim"), ("Rendered", "rendered")],
)  # fmt: skip
def test_a_misspelt_source_is_named(tmp_path, source, meant):
    path = _write(tmp_path / "a.json", [record()], info={"source": source})
    with pytest.raises(InputError, match=rf"a\.json: info: source '{source}': unknown.*did you mean {meant}\?"):
        list(omni3d.read(path))


@pytest.mark.parametrize("source", ["KITTI-360", "Waymo", ""])
def test_a_new_source_is_taken_and_its_missing_fronts_are_counted(tmp_path, source):
    drops = Counter()
    things = [record(), record(id=2, front_axis="+x"), record(id=3, front_axis=None)]
    [scene] = omni3d.read(_write(tmp_path / "a.json", things, info={"source": source}), drops)
    assert [o.front is not None for o in scene.objects] == [False, True, False]
    assert drops[f"front: none known of source {source!r}"] == 1


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"categories": [{"id": 0, "name": "truck"}]}, "category_name 'car' has category_id 0, .* lists as 'truck'"),
        ({"categories": [{"id": 0, "name": "car"}, {"id": 0, "name": "van"}]}, "id 0 is both 'car' and 'van'"),
        ({"categories": ["car"]}, "every element must have id and name, one is car"),
        ({"images": {}}, "every element must be an object|must be an object|the key 'id' is missing"),
    ],
)
def test_lists_that_contradict_each_other_are_named(tmp_path, members, message):
    path = _write(tmp_path / "a.json", [record(category_id=0)], **members)
    with pytest.raises(InputError, match=message):
        list(omni3d.read(path))


@pytest.mark.parametrize("name", ["dontcare", "DontCare", "ignore", "ignored", "void", "dont care"])
def test_a_region_left_out_is_no_object(tmp_path, name):
    drops = Counter()
    known = record(id=2, category_name=name, valid3D=False, bbox2D_tight=[10, 20, 130, 60])
    unknown = {key: [-1] * 4 for key in ("bbox2D_tight", "bbox2D_trunc", "bbox2D_proj")}
    things = [record(), known, record(id=3, category_name=name, **unknown)]
    [scene] = omni3d.read(_write(tmp_path / "a.json", things), drops)
    assert [o.name for o in scene.objects] == ["car"] and scene.others == ()
    plain = name.lower().replace(" ", "")
    assert [(r.name, r.bbox.tolist()) for r in scene.ignored] == [
        (plain, [10, 20, 100, 60]),
        (plain, [0, 0, 100, 100]),  # it may be anywhere
    ]
    assert drops["a region left out of the annotation"] == 2


@pytest.mark.parametrize(
    "name", ["misc", "Misc", "otherprop", "other furniture", "unknown", "N/A", "background", "?", "-", "12"]
)
def test_a_rest_of_the_categories_is_never_asked_about(tmp_path, name):
    drops = Counter()
    [scene] = omni3d.read(_write(tmp_path / "a.json", [record(category_name=name)]), drops)
    assert not scene.objects and scene.others == (name,) and drops["no name to ask for"] == 1


def test_omni3d_s_person_of_kitti_has_a_front(tmp_path):
    [scene] = omni3d.read(_write(tmp_path / "a.json", [record(category_name="person")]))
    assert scene.objects[0].front is not None


def test_very_many_objects_in_one_image_are_refused_at_once(tmp_path):
    things = [record(id=number) for number in range(1025)]
    with pytest.raises(InputError, match=r"a\.json: images: id 5: more than 1,024 objects in one image"):
        list(omni3d.read(_write(tmp_path / "a.json", things)))
    [scene] = omni3d.read(_write(tmp_path / "a.json", things[:-1]))
    assert len(scene.objects) == 1024


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images":[]}{"images":[]}', "byte 13: something follows the end of the object"),
        ('{"images":[]} \n x', "something follows the end of the object, 'x'"),
        ('{"images":[],"images":[]}', "the key 'images' occurs twice"),
        ('{"images":' + "[" * 200_000, "nested too deep"),
        ('{"images":[' + '{"a":' * 200_000, "nested too deep"),
        ('{"images":[{"id":' + "9" * 5000 + "}]}", "a number has thousands of digits"),
        ('{"images":[{"id":' + "9" * 4000 + "}]}", "the key 'width' is missing"),
        ('{"images":[' + "[" * 900 + "]" * 900 + "]}", "every element must be an object"),
        ('{"images":[{"id":Infinity}]}', "Infinity after byte"),
    ],
)
def test_broken_or_hostile_json_is_one_message(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        list(omni3d.read(path))
    assert len(str(error.value)) < 500


def test_white_space_may_follow(tmp_path):
    path = _write(tmp_path / "a.json", [record()])
    path.write_text(path.read_text() + " \n" * 2_000_000)
    assert len(list(omni3d.read(path))) == 1
