"""The renderer: its ground truth agrees with its pixels, with its own records, and with an independent ray caster."""

import math
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from data_registry import render
from data_registry.errors import InputError
from data_registry.render import catalog, raster
from data_registry.render.palette import SLOT, paint, palette
from data_registry.render.world import Body, View, apply, body_box, look, product, turn

SIZE = 96
SAMPLE = 0.75  # where in its pixel a map's sample lies


@pytest.fixture(scope="module")
def drawn():
    """24 worlds with their pictures, maps and scenes; eight of each kind."""
    worlds = [render.sample(11, i, render.KINDS[i % 3]) for i in range(24)]
    pictures = [render.render(w, SIZE, maps=True) for w in worlds]
    return [(w, p, render.scene(w, SIZE, f"{w.index}.png", p)) for w, p in zip(worlds, pictures, strict=True)]


def test_a_point_seen_lies_in_its_object_s_box(drawn):
    """From the Scene record alone: unproject depth, turn into the object's frame, compare with the box and the map."""
    v, u = np.mgrid[:SIZE, :SIZE] + SAMPLE
    compared = 0
    for world, picture, scene in drawn:
        rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(scene.camera.K).T
        for thing in scene.objects:
            mine = picture.maps.body == thing.id % 16
            point = rays[mine] * picture.maps.depth[mine][:, None]
            w, h, l = thing.dimensions
            local = (point - thing.center) @ thing.R / (np.array([l, h, w]) / 2)
            assert np.abs(local).max(initial=0) < 1.01, (world.index, thing.name)
            np.testing.assert_allclose(picture.maps.nocs[mine], local, atol=2e-3)
            compared += mine.sum()
    assert compared > 20_000


def test_maps_agree_with_each_other(drawn):
    for world, picture, _ in drawn:
        maps = picture.maps
        names = np.array([b.name for b in world.bodies[: world.labelled]])
        seen = maps.body >= 0
        assert maps.body.max() < world.labelled
        assert (names[maps.body[seen]] == np.array(render.NAMES)[maps.category[seen]]).all()
        assert (maps.category[~seen] == -1).all() and (maps.nocs[~seen] == 0).all()
        assert (maps.depth > 0).all() and np.isfinite(maps.depth[seen]).all()
        if world.kind != "street":
            assert np.isfinite(maps.depth).all()  # a room has no sky


def test_visible_pixels_lie_in_the_projected_box_and_mostly_fill_it(drawn):
    filled = []
    for _, picture, scene in drawn:
        for thing in scene.objects:
            pixels = scene.camera.project(thing.corners())
            low, high = pixels.min(0), pixels.max(0)
            x0, y0, x1, y1 = thing.bbox
            assert x0 > low[0] - 0.51 and y0 > low[1] - 0.51 and x1 < high[0] + 0.51 and y1 < high[1] + 0.51
            rows, columns = np.nonzero(picture.maps.body == thing.id % 16)
            if len(rows):
                assert columns.min() >= math.floor(x0) - 1 and columns.max() <= math.ceil(x1)
                assert rows.min() >= math.floor(y0) - 1 and rows.max() <= math.ceil(y1)
            if thing.visibility > 0.98 and thing.truncation == 0:
                filled.append((x1 - x0) * (y1 - y0) / np.prod(high - low))
    assert len(filled) > 40 and np.median(filled) > 0.65


def test_records_and_scene_say_the_same(drawn):
    for world, picture, scene in drawn:
        image, annotations = render.records(world, picture, "x.jpg")
        np.testing.assert_allclose(image["K"], scene.camera.K, atol=1e-4)
        by_id = {a["id"]: a for a in annotations}
        assert len(by_id) == world.labelled >= 3
        for thing in scene.objects:
            record = by_id[thing.id]
            assert np.allclose(thing.R @ thing.R.T, np.eye(3), atol=1e-9) and np.linalg.det(thing.R) > 0
            np.testing.assert_allclose(record["bbox3D_cam"], thing.corners(), atol=2e-5)
            np.testing.assert_allclose(thing.front, thing.R[:, 0])
            assert record["visibility"] == pytest.approx(thing.visibility, abs=1e-4)
            if "airplane" not in thing.name:  # all others stand upright
                np.testing.assert_allclose(-thing.R[:, 1], scene.camera.up, atol=1e-9)


def test_a_scene_without_rendering_has_the_same_objects(drawn):
    for world, _, scene in drawn:
        bare = render.scene(world, SIZE)
        assert [o.name for o in bare.objects if o.name not in scene.others] == [o.name for o in scene.objects]
        for a in scene.objects:
            b = next(o for o in bare.objects if o.id == a.id)
            assert (a.center == b.center).all() and (a.R == b.R).all() and b.visibility is None


def test_an_independent_ray_caster_sees_the_same(drawn):
    embree = pytest.importorskip("embreex.rtcore_scene")
    construction = pytest.importorskip("embreex.mesh_construction")
    v, u = np.mgrid[:SIZE, :SIZE] + SAMPLE
    agree, off = [], []
    for world, picture, scene in drawn:
        triangles, owner = [], []
        for index, body in enumerate(world.bodies):
            corners = body.mesh.points.transpose(2, 1, 0).astype(float) * body.scale
            inside = corners @ np.array(body.rotation).T + np.array(body.position)
            triangles.append((inside - np.array(world.view.position)) @ np.array(world.view.rotation).T)
            owner.append(np.full(len(corners), index if index < world.labelled else -1))
        caster = embree.EmbreeScene()
        construction.TriangleMesh(caster, np.concatenate(triangles).astype(np.float32))
        rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(scene.camera.K).T
        origin = np.zeros((SIZE * SIZE, 3), np.float32)
        hits = caster.run(origin, rays.reshape(-1, 3).astype(np.float32), output=1)
        found = hits["primID"].reshape(SIZE, SIZE)
        body = np.where(found >= 0, np.concatenate(owner)[np.maximum(found, 0)], -1)
        agree.append((body == picture.maps.body).mean())
        both = (body == picture.maps.body) & (body >= 0)
        depth = picture.maps.depth[both]
        off.append(np.abs(hits["tfar"].reshape(SIZE, SIZE)[both] - depth) / depth)
    assert min(agree) > 0.998 and np.mean(agree) > 0.9995
    assert np.quantile(np.concatenate(off), 0.99) < 1e-4


# ---------------------------------------------------------------- the same bits everywhere


def _bytes(index: int) -> bytes:
    picture = render.render(render.sample(11, index), 48)
    return picture.rgb.tobytes() + repr(render.records(render.sample(11, index), picture, "x")).encode()


def test_an_image_depends_on_seed_and_index_alone():
    alone = [_bytes(i) for i in (7, 3, 7)]
    assert alone[0] == alone[2] != alone[1]
    catalog.shape.cache_clear()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_bytes, (3, 7), chunksize=1) == [alone[1], alone[0]]


def test_a_processor_without_wide_vectors_draws_the_same():
    from numpy._core._multiarray_umath import __cpu_dispatch__ as wide

    program = (
        "import hashlib; from data_registry import render; "
        "pictures = [render.render(render.sample(11, i), 64, maps=True) for i in range(3)]; "
        "print(hashlib.sha256(b''.join(p.rgb.tobytes() + p.maps.nocs.tobytes() for p in pictures)).hexdigest())"
    )
    seen = set()
    for disabled in ("", " ".join(wide)):
        environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": disabled}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        seen.add(done.stdout)
    assert len(seen) == 1


def test_known_images_stay_as_they_are():
    """A change here changes every stage run's result: raise `versions.scenes` in params.yaml along with it."""
    seen = []
    for index in range(4):
        world = render.sample(0, index)
        picture = render.render(world, 48)
        names = [b.name for b in world.bodies[: world.labelled]]
        seen.append((world.kind, names, picture.rgb.mean(), picture.alone.sum()))
    for (kind, names, mean, area), known in zip(seen, KNOWN, strict=True):
        assert (kind, names) == known[:2]
        assert mean == pytest.approx(known[2], abs=0.05) and area == pytest.approx(known[3], abs=2)


KNOWN = [
    ("room", ["dog", "television", "cabinet", "dog", "television", "chair"], 97.524, 717.25),
    ("street", ["airplane", "truck", "dog", "motorcycle", "car"], 106.077, 295.75),
    ("table", ["camera", "laptop", "laptop", "teapot"], 104.651, 471.25),
    ("street", ["airplane", "truck", "bus", "person", "motorcycle", "dog"], 88.27, 801.5),
]


def test_the_world_does_not_depend_on_the_image_s_size():
    world = render.sample(5, 1)
    small, large = render.scene(world, 48), render.scene(world, 192)
    for a, b in zip(small.objects, large.objects, strict=True):
        assert (a.center == b.center).all()
        np.testing.assert_allclose(a.bbox * 4, b.bbox)
    coarse, fine = (render.render(world, s).visible / s**2 for s in (48, 192))
    np.testing.assert_allclose(coarse, fine, atol=0.004)


def test_other_seeds_have_other_shapes():
    for name in render.NAMES:
        shapes = [{catalog.shape(seed, name, v).size for v in range(6)} for seed in (0, 1)]
        assert not shapes[0] & shapes[1], name


def test_an_unknown_kind_is_named():
    with pytest.raises(InputError, match="'rooms' is unknown, did you mean room"):
        render.sample(0, 0, "rooms")


# ---------------------------------------------------------------- fronts


def _studio(name: str, yaw: float, color: str | None = None) -> render.World:
    """One object a few sizes before a level camera, on the image's axis."""
    world = render.sample(3, 0, "street")
    mesh = catalog.shape(3, name, 1)
    away = 3 * max(mesh.size)
    body = Body(name, color or "red", mesh, palette(color or "red", Random(1)), 1.0, turn(yaw), (0.0, away, 0.0))
    view = View(1.5, (0.0, 0.0, mesh.size[2] / 2), look(0, 0, 0))
    return replace(world, view=view, bodies=(body,), labelled=1, grain=0.0)


@pytest.mark.parametrize("name", render.NAMES)
def test_azimuths_are_what_they_are_called(name):
    """0 faces the camera, 90 points to image left, 180 shows the back, 270 points to image right (ImageNet3D's)."""
    faces = {"front": -math.pi / 2, "left": math.pi, "back": math.pi / 2, "right": 0.0}
    directions = {"front": (0, 0, -1), "left": (-1, 0, 0), "back": (0, 0, 1), "right": (1, 0, 0)}
    for face, yaw in faces.items():
        world = _studio(name, yaw)
        picture = render.render(world, SIZE, maps=True)
        thing = render.scene(world, SIZE, picture=picture).objects[0]
        np.testing.assert_allclose(thing.front, directions[face], atol=1e-9)
        seen = picture.maps.body == 0
        assert seen.sum() > 100
        along = picture.maps.nocs[seen][:, 0]
        columns = np.nonzero(seen)[1]
        if face == "front":
            assert along.max() > 0.9
            front = along.mean()
        elif face == "back":
            assert along.min() < -0.9 and front - along.mean() > 0.35
        else:
            slope = np.corrcoef(columns, along)[0, 1]
            assert slope > 0.95 if face == "right" else slope < -0.95


MARKS = {  # a material that only, or mostly, sits at the front (+) or the back (-)
    "car": ("lamp", "taillight"), "bus": ("lamp", "taillight"), "truck": ("lamp", "taillight"),
    "motorcycle": ("lamp", "taillight"), "airplane": ("white", "accent"), "person": ("white", "hair"),
    "dog": ("black", "shade"), "television": ("screen", "dark"), "cabinet": ("metal", "dark"), "bed": ("body", "white"),
    "duck": ("orange", "shade"), "camera": ("glass", "screen"), "shoe": ("shade", "black"),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKS)
def test_marks_of_front_and_back_sit_where_they_should(name):
    for variant in range(8):
        mesh = catalog.shape(4, name, variant)
        front, back = (mesh.points[0][:, mesh.slot == SLOT[m]].mean() for m in MARKS[name])
        assert front > back + 0.05 * mesh.size[0]


def test_lamps_shine_to_the_front_and_tail_lights_to_the_back():
    def yellow_and_red(yaw: float) -> tuple[int, int]:
        r, g, b = render.render(_studio("car", yaw, "blue"), 2 * SIZE).rgb.astype(int).transpose(2, 0, 1)
        return ((r > 230) & (g > 220) & (b < 225)).sum(), ((r > 90) & (g < 40) & (b < 40)).sum()

    lamps, tail = yellow_and_red(-math.pi / 2)
    assert lamps > 20 and tail == 0
    lamps, tail = yellow_and_red(math.pi / 2)
    assert lamps == 0 and tail > 20


# ---------------------------------------------------------------- invariants


def test_turning_the_whole_world_changes_nothing_that_is_seen(drawn):
    world, picture, _ = drawn[0]
    around = turn(0.7)

    bodies = tuple(
        replace(b, rotation=product(around, b.rotation), position=apply(around, b.position)) for b in world.bodies
    )
    rotation = product(world.view.rotation, turn(-0.7))
    turned = replace(world, bodies=bodies, view=View(world.view.focal, apply(around, world.view.position), rotation))
    for before, after in zip(world.bodies, turned.bodies, strict=True):
        boxes = body_box(world.view, before), body_box(turned.view, after)
        np.testing.assert_allclose(boxes[0].corners, boxes[1].corners, atol=1e-9)
    again = render.render(turned, SIZE, maps=True)
    assert (again.maps.body == picture.maps.body).mean() > 0.999


def test_a_mirrored_scene_has_mirrored_azimuths():
    """Objects that are their own mirror image, turned left and right by as much, are seen as mirror images."""
    for name in ("car", "television", "mug", "duck"):
        left, right = (_studio(name, -math.pi / 2 + s * 0.6) for s in (1, -1))
        masks = [render.render(w, 2 * SIZE, maps=True).maps.body == 0 for w in (left, right)]
        mirrored = masks[1][:, ::-1]  # half a pixel off, since samples sit a quarter right of the centre
        assert (masks[0] & mirrored).sum() > 0.9 * (masks[0] | mirrored).sum()
        assert (masks[0] & masks[1]).sum() < 0.97 * (masks[0] | masks[1]).sum()


def test_another_view_moves_the_camera_and_nothing_else(drawn):
    moved = 0
    for world, _, _ in drawn:
        other = render.another_view(world)
        assert other == replace(world, view=other.view) and render.another_view(world).view == other.view
        before, after = (np.array([body_box(w.view, b).center for b in w.bodies]) for w in (world, other))
        gaps = [np.linalg.norm(c[:, None] - c[None], axis=-1) for c in (before, after)]
        np.testing.assert_allclose(*gaps, atol=1e-9)
        assert len(render.scene(other).objects) >= 2
        moved += np.abs(before - after).max() > 0.05
    assert moved >= 20
    assert render.another_view(drawn[0][0], 1).view != render.another_view(drawn[0][0], 2).view


def test_a_second_view_is_as_exact_as_the_first(drawn):
    v, u = np.mgrid[:SIZE, :SIZE] + SAMPLE
    for world, _, _ in drawn[:6]:
        other = render.another_view(world)
        picture = render.render(other, SIZE, maps=True)
        scene = render.scene(other, SIZE, picture=picture)
        rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(scene.camera.K).T
        for thing in scene.objects:
            mine = picture.maps.body == thing.id % 16
            w, h, l = thing.dimensions
            point = rays[mine] * picture.maps.depth[mine][:, None]
            local = (point - thing.center) @ thing.R / (np.array([l, h, w]) / 2)
            assert np.abs(local).max(initial=0) < 1.01


# ---------------------------------------------------------------- the rasteriser alone


def test_neighbouring_triangles_cover_every_sample_once():
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, y = rng.uniform(-10, 42, (2, 9)).astype(np.float32)
        fan = [(0, 1 + i, 1 + (i + 1) % 8) for i in range(8)]
        order = 1 + np.argsort(np.arctan2(y[1:] - y[0], x[1:] - x[0]))
        x[1:], y[1:] = x[order], y[order]
        angle = np.arctan2(y[1:] - y[0], x[1:] - x[0])
        gaps = np.diff(np.append(angle, angle[0] + 2 * math.pi))
        if (gaps <= 0).any() or (gaps >= math.pi).any():
            continue  # the centre must lie inside for the fan to be a partition
        spans = raster.spans(np.array([x[list(t)] for t in fan]).T, np.array([y[list(t)] for t in fan]).T, 32)
        times = np.zeros((32, 32), int)
        for row, first, count in zip(spans.row, spans.first, spans.count, strict=True):
            times[row, first : first + count] += 1
        assert times.max() <= 1
        assert (raster.covered(spans, 32) == (times.reshape(-1) > 0)).all()


def test_a_triangle_covers_the_samples_inside_it():
    rng = np.random.default_rng(1)
    for _ in range(50):
        x, y = rng.uniform(-8, 40, (2, 3, 1)).astype(np.float32)
        covered = raster.covered(raster.spans(x, y, 32), 32).reshape(32, 32)
        v, u = np.mgrid[:32, :32] + 0.5
        (x0, x1, x2), (y0, y1, y2) = x[:, 0].astype(float), y[:, 0].astype(float)
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        b1 = ((u - x0) * (y2 - y0) - (x2 - x0) * (v - y0)) / area
        b2 = ((x1 - x0) * (v - y0) - (u - x0) * (y1 - y0)) / area
        least = np.minimum(np.minimum(b1, b2), 1 - b1 - b2)
        assert covered[least > 1e-4].all() and not covered[least < -1e-4].any()


# ---------------------------------------------------------------- colours


def test_colors_are_nearest_to_their_own_name():
    rng = Random(0)
    middle = {c: np.mean([paint(c, rng) for _ in range(200)], 0) for c in render.COLORS}
    for color in render.COLORS:
        for _ in range(100):
            rgb = np.array(paint(color, rng))
            assert min(middle, key=lambda c: np.abs(middle[c] - rgb).sum()) == color


def test_objects_show_their_color(drawn):
    """Where most of an object is its body, the pixels' hue is that of the color's name."""
    shown = 0
    for world, picture, _ in drawn:
        for index, body in enumerate(world.bodies[: world.labelled]):
            plain = body.name in ("sofa", "cabinet", "teapot", "mug", "truck")
            mine = picture.maps.body == index
            if not plain or body.color not in ("red", "green", "blue") or mine.sum() < 80:
                continue
            channel = ("red", "green", "blue").index(body.color)
            assert np.median(picture.rgb[mine].astype(int), 0).argmax() == channel
            shown += 1
    assert shown >= 5
