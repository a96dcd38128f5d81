"""True masks and depth of rendered scenes become boxes and gravity again; what can't be placed is counted by reason."""

import json
from collections import Counter

import numpy as np
import pytest

from data_registry import render
from data_registry.annotate import boxes, clouds, gravity, scenes
from data_registry.annotate.detections import Detection, select
from data_registry.annotate.filters import CloudFilters, DetectionFilters, GravityFilters
from data_registry.annotate.pose_bins import Pose, angles_of
from data_registry.errors import InputError
from data_registry.readers import omni3d

SIZE = 96
OFFSET = (0.75, 0.75)  # where a pixel of the renderer's maps is sampled
FILTERS = scenes.Filters()
CATEGORIES = {name: k for k, name in enumerate(render.NAMES)}


def drawn(index: int, noise: float = 0.0):
    """A rendered scene with its true depth (of which a smooth relative error may be asked for) and masks."""
    world = render.sample(77, index)
    picture = render.render(world, SIZE, maps=True)
    scene = render.scene(world, SIZE, "a.jpg", picture)
    depth = picture.maps.depth.astype(float)
    if noise:
        coarse = np.random.default_rng(index).normal(0, noise, (7, 7))
        depth = depth * np.exp(np.kron(coarse, np.ones((14, 14)))[:SIZE, :SIZE])
    found = [
        Detection(o.name, 1.0, o.bbox, picture.maps.body == o.id % 16, 1.0)
        for o in scene.objects
    ]  # fmt: skip
    return scene, depth, found


def true_pose(obj) -> Pose:
    return Pose(*angles_of(obj.R, obj.center), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def placed():
    """Forty scenes with what was found of them."""
    made = []
    for index in range(40):
        scene, depth, found = drawn(index)
        made.append((scene, scenes.place(found, depth, scene.camera.K, FILTERS, OFFSET)))
    return made


def test_gravity_within_three_degrees(placed):
    off = [np.degrees(np.arccos(min(1.0, space.up @ scene.camera.up))) for scene, space in placed]
    assert max(off) < 3
    assert max(np.degrees(np.arccos(-scene.camera.up[1])) for scene, _ in placed) > 20, "cameras that look down"


def test_gravity_survives_a_depth_that_is_wrong_by_patches():
    off = []
    for index in range(12):
        scene, depth, found = drawn(index, noise=0.02)
        up = scenes.place(found, depth, scene.camera.K, FILTERS, OFFSET).up
        off.append(np.degrees(np.arccos(min(1.0, up @ scene.camera.up))))
    assert max(off) < 3


@pytest.mark.parametrize("posed", [False, True], ids=["turned by its sides", "turned by its front"])
def test_boxes_lie_where_the_objects_are(placed, posed):
    """Within 10 % of the true distance, as a vector, for 95 % of the objects that nothing hides."""
    off = []
    for scene, space in placed:
        poses = [true_pose(o) if posed else None for o in scene.objects]
        _, found = scenes.records(0, "a.jpg", (SIZE, SIZE), space, poses, CATEGORIES, FILTERS, Counter())
        for obj, record in zip(scene.objects, found, strict=True):
            if obj.visibility >= 0.95 and obj.truncation == 0 and record["valid3D"]:
                error = np.linalg.norm(np.array(record["center_cam"]) - obj.center)
                off.append(error / np.linalg.norm(obj.center))
    assert len(off) > 80
    assert np.mean(np.array(off) <= 0.1) >= 0.95
    assert np.median(off) < 0.03


def test_trusted_poses_become_fronts_and_no_others(placed):
    right = 0
    for scene, space in placed[:15]:
        drops = Counter()
        poses = [true_pose(o)._replace(confidence=(0.9 if k % 2 else 0.1, 1, 1)) for k, o in enumerate(scene.objects)]
        _, found = scenes.records(0, "a.jpg", (SIZE, SIZE), space, poses, CATEGORIES, FILTERS, drops)
        for k, (obj, record) in enumerate(zip(scene.objects, found, strict=True)):
            if not record["valid3D"]:
                continue
            assert (record["front_axis"] == "+x") == bool(k % 2)
            if k % 2:
                front = np.array(record["R_cam"])[:, 0]
                level = obj.front - obj.front @ space.up * space.up
                angle = np.degrees(np.arccos(min(1.0, front @ level / np.linalg.norm(level))))
                assert angle < 15, "the place of the visible points stands for that of the centre"
                right += 1
        assert drops["front: not confident"] > 0 or len(scene.objects) < 2
    assert right > 10


def test_what_is_written_becomes_scenes_with_estimated_values(placed, tmp_path):
    path, drops, kept = tmp_path / "annotations.json", Counter(), 0
    info = {"source": "OpenImages", "provenance": "estimated"}
    with omni3d.Writer(path, info, [{"id": k, "name": n} for n, k in CATEGORIES.items()]) as file:
        for number, (scene, space) in enumerate(placed[:10]):
            poses = [true_pose(o) if k % 2 else None for k, o in enumerate(scene.objects)]
            image, found = scenes.records(
                number, f"{number}.jpg", (SIZE, SIZE), space, poses, CATEGORIES, FILTERS, drops
            )
            file.add(image, found)
            kept += sum(one["valid3D"] for one in found)
    read_drops = Counter()
    read = list(omni3d.read(path, read_drops))
    assert len(read) == 10
    objects = [o for scene in read for o in scene.objects]
    assert 0 < len(objects) <= kept
    assert all(o.provenance["center"] == "estimated" and o.visibility is None for o in objects)
    fronts = [o for o in objects if o.front is not None]
    assert 0 < len(fronts) < len(objects)
    assert {o.provenance["front"] for o in fronts} == {"estimated"}
    assert {o.provenance["front"] for o in objects if o.front is None} == {"unavailable"}
    assert all(scene.camera.up is not None for scene in read)
    assert drops["objects"] == read_drops["objects"]
    lost = sum(n for why, n in drops.items() if why != "objects" and not why.startswith("front:"))
    assert read_drops["no valid 3D box"] == lost, "what could not be placed is in the file, and its name with it"
    assert sum(len(scene.others) for scene in read) >= lost


def test_drops_have_reasons():
    scene, depth, found = drawn(3)
    one = max(found, key=lambda d: d.mask.sum())
    nothing, all_ = np.zeros_like(one.mask), np.ones_like(one.mask)
    few = nothing.copy()
    few[40:43, 40:44] = True  # more than the least area, fewer than the least points
    edge = nothing.copy()
    edge[30:60, :20] = True
    made = [Detection("car", 0.9, one.box, mask, 1.0) for mask in (nothing, all_, few, edge)]
    made.append(Detection("car", 0.9, one.box, one.mask, 0.1))
    space = scenes.place(made, depth, scene.camera.K, FILTERS, OFFSET)
    assert [p.fault for p in space.objects] == [
        "mask: too small", "mask: too large", "cloud: too few points", "mask: cut by the image's edge",
        "mask: not confident",
    ]  # fmt: skip
    unknown = scenes.place([one], np.full_like(depth, np.nan), scene.camera.K, FILTERS, OFFSET)
    assert unknown.up is None
    assert unknown.objects[0].fault == "gravity unknown"
    drops = Counter()
    image, records = scenes.records(
        7, "a.jpg", (SIZE, SIZE), unknown, [None], CATEGORIES, FILTERS, drops
    )  # fmt: skip
    assert drops == {"objects": 1, "gravity unknown": 1}
    assert "up_cam" not in image
    assert not records[0]["valid3D"]
    assert json.loads(omni3d.dumps(records)) == records


@pytest.mark.parametrize("most", [0, 1025])
def test_more_objects_than_there_are_ids_are_refused_before_any_is_found(most):
    with pytest.raises(InputError, match=rf"detection\.most_objects: {most}: must be 1 to 1024"):
        scenes.Filters(DetectionFilters(most_objects=most))


def test_a_wall_is_no_floor():
    wall = np.full((60, 60), 4.0)
    K = np.array([[60.0, 0, 30], [0, 60.0, 30], [0, 0, 1]])
    assert gravity.up(clouds.unproject(wall, K), None, GravityFilters(), 0.1) is None


def test_each_thing_once_the_most_confident_first():
    box = np.array([10.0, 10, 50, 50])
    found = [
        Detection("car", 0.5, box), Detection("truck", 0.8, box + 2), Detection("dog", 0.1, box + 200),
        Detection("dog", 0.6, box + 100),
    ]  # fmt: skip
    drops = Counter()
    kept = select(found, DetectionFilters(box_score=0.25, nms_iou=0.5), drops)
    assert [d.name for d in kept] == ["truck", "dog"]
    assert drops == {"box: another one of the same thing": 1, "box: not confident": 1}
    assert [d.name for d in select(found, DetectionFilters(most_objects=1), drops)] == ["truck"]
    assert drops["box: too many in one picture"] == 1


def test_clusters_are_those_of_the_definition():
    """Two blobs and a lone point; then random points against the definition by breadth-first search."""
    rng = np.random.default_rng(0)
    blobs = np.concatenate([rng.normal(0, 0.02, (40, 3)), rng.normal(1, 0.02, (30, 3)), [[5.0, 5, 5]]])
    labels = clouds.dbscan(blobs, 0.2, 10)
    assert len(set(labels[:40])) == len(set(labels[40:70])) == 1
    assert labels[0] != labels[40]
    assert labels[70] == -1
    points = rng.uniform(0, 1, (250, 3))
    labels = clouds.dbscan(points, 0.15, 5)
    near = [[j for j in range(250) if np.linalg.norm(points[i] - points[j]) <= 0.15] for i in range(250)]
    core = [len(n) >= 5 for n in near]
    for i in range(250):
        reached = {j for j in near[i] if core[j]}
        assert (labels[i] == -1) == (not reached)
        if core[i]:
            assert {labels[j] for j in reached} == {labels[i]}, "cores in reach are one cluster"
        elif reached:
            assert labels[i] in {labels[j] for j in reached}


def test_a_stray_point_does_not_stretch_the_cloud():
    rng = np.random.default_rng(1)
    cloud = rng.uniform(-0.5, 0.5, (602, 3)) + np.array([0, 0, 5])
    cloud[600], cloud[601] = (0, 0, 9), np.nan
    kept, fault = clouds.clean(cloud, CloudFilters(voxel_m=0.0), 0.05)
    assert fault is None
    assert len(kept) > 500
    assert kept[:, 2].max() < 6


def test_a_hidden_side_is_as_long_as_the_proportions_say():
    """A bus seen from behind: two metres and a half wide, three high, and nothing of its length to be seen."""
    rng = np.random.default_rng(2)
    back = np.stack([rng.uniform(-1.25, 1.25, 500), rng.uniform(-3, 0, 500), np.full(500, 20.0)], 1)
    up = np.array([0.0, -1.0, 0.0])
    flat = boxes.fit(back, up, None, 0.0)
    whole = boxes.complete(flat, "bus", False)
    length = 10.5 / 3.47 * 3
    np.testing.assert_allclose(sorted(whole.dimensions), [2.5, 3, length], rtol=0.02)
    np.testing.assert_allclose(whole.center, [0, -1.5, 20 + length / 2], atol=0.1)
    assert whole.dimensions[2] == max(whole.dimensions), "the length is the x axis"
    np.testing.assert_allclose(whole.R @ whole.R.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(whole.R) == pytest.approx(1)
    assert boxes.complete(flat, "sofa", False) is flat, "without known proportions what is seen is taken"
    side = np.stack([rng.uniform(-5, 5, 500), rng.uniform(-3, 0, 500), np.full(500, 20.0)], 1)
    turned = boxes.complete(boxes.fit(side, up, np.array([1.0, 0, 0]), 0.0), "bus", True)
    np.testing.assert_allclose(turned.dimensions, [2.94 / 3.47 * 3, 3, 10], rtol=0.03)


def test_a_smeared_outline_belongs_to_neither_side_and_a_sharp_one_to_both():
    sharp = np.repeat([[4.0] * 10 + [8.0] * 10], 5, 0)
    assert not clouds.smeared(sharp, 0.1).any()
    soft = sharp.copy()
    soft[:, 9:11] = [5.0, 6.5]
    assert clouds.smeared(soft, 0.1)[:, 9:11].all()
    assert clouds.smeared(soft, 0.1).sum() == 10
    assert (clouds.smeared(soft.T, 0.1) == clouds.smeared(soft, 0.1).T).all()
