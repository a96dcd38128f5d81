"""The stages `pose` and `annotate`: a head that learns azimuth, pictures that become scenes whatever befalls one."""

import json
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_registry import omni3d, render
from data_registry.annotate import pose as bins
from data_registry.annotate import scenes
from data_registry.annotate.detections import Detection
from data_registry.errors import InputError
from data_registry.shards import Images
from tasks import annotate, pose
from tasks.annotators import Annotation, Annotators, Tags
from tasks.stage import StageRun

ROOT = Path(__file__).parents[2]
SIZE = 64
REVISION = "0" * 40


class Truth:
    """The networks' places taken by the renderer's ground truth, by the number in a picture's name."""

    def __init__(self):
        self.calls, self.fail = [], None
        self.filters = scenes.Filters()

    def __call__(self, numbers, keys, pictures):
        self.calls.append(list(keys))
        if self.fail in keys:
            raise RuntimeError("out of memory")
        return [self._one(number, key) for number, key in zip(numbers, keys, strict=True)]

    def _one(self, number, key):
        world = render.sample(5, int(re.search(r"\d+", key)[0]))
        picture = render.render(world, SIZE, maps=True)
        scene = render.scene(world, SIZE, key, picture)
        found = [Detection(o.name, 0.9, o.bbox, picture.maps.body == o.id % 16, 0.9) for o in scene.objects]
        drops = Counter()
        space = scenes.place(found, picture.maps.depth.astype(float), scene.camera.K, self.filters, (0.75, 0.75))
        poses = [bins.Pose(*bins.angles_of(o.R, o.center), (1, 1, 1)) for o in scene.objects]
        categories = {name: k for k, name in enumerate(render.NAMES)}
        image, objects = scenes.records(number, key, (SIZE, SIZE), space, poses, categories, self.filters, drops)
        return Annotation(image, objects, drops)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(7):
        Image.fromarray(render.render(render.sample(5, index), SIZE).rgb).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def truth(monkeypatch):
    networks = Truth()
    monkeypatch.setattr(annotate, "_load", lambda run, p: networks)
    return networks


def stage_run(root: Path, folder: Path, given: str, **changes) -> StageRun:
    (root / "out").mkdir(parents=True)
    network = {"repo": "x/y", "revision": REVISION}
    params = {
        "seed": 0, "given": given, "source": "OpenImages", "tags": {"vocabulary": list(render.NAMES)},
        "networks": dict.fromkeys(("tagger", "detector", "segmenter", "depth"), network), "batch": 2, "part": 3,
    }  # fmt: skip
    return StageRun(
        scale="tiny", stage="annotate", name="wild", params=params | changes, parts={"encoder": "dinov2"}, seed=0,
        out=root / "out", work=root / "work", runtime={"annotate": {"wild": {"pictures": str(folder)}}},
    )  # fmt: skip


def given(root: Path, folder: Path) -> str:
    """What a user does: leave the digest empty, and copy it from the error."""
    message = r"annotate\.tiny\.each\.wild\.given: is '', but the \d+ pictures in .* have [0-9a-f]{64}"
    with pytest.raises(InputError, match=message) as error:
        annotate.compute(stage_run(root, folder, ""))
    return re.search(r"[0-9a-f]{64}", str(error.value))[0]


def test_pictures_become_scenes(tmp_path, pictures, truth):
    run = stage_run(tmp_path / "a", pictures, given(tmp_path / "0", pictures))
    metrics = annotate.compute(run)
    assert (metrics["images"], metrics["images_failed"]) == (7, 0)
    read = list(omni3d.read(run.out / "annotations.json"))
    assert [scene.image for scene in read] == [f"{k}.png" for k in range(7)]
    objects = [obj for scene in read for obj in scene.objects]
    assert len(objects) == metrics["kept"] > 8
    assert {obj.provenance["center"] for obj in objects} == {"estimated"}
    assert sum(obj.front is not None for obj in objects) == metrics["fronts"] > 0
    lost = sum(n for why, n in metrics["dropped"].items() if not why.startswith("front"))
    assert metrics["objects"] == metrics["kept"] + sum(metrics["read_drops"].values())
    assert metrics["read_drops"].get("no valid 3D box", 0) == lost
    packed = Images(run.out)
    assert all(packed.encoded(key) == (pictures / key).read_bytes() for key in packed)


def test_one_failure_is_counted_and_stops_nothing_else(tmp_path, pictures, truth):
    (pictures / "2.png").write_bytes(b"no picture")
    Image.new("RGB", (3000, 2000)).save(pictures / "6.png")
    truth.fail = "4.png"
    digest = given(tmp_path / "0", pictures)
    run = stage_run(tmp_path / "a", pictures, digest, max_failed=0.5)
    metrics = annotate.compute(run)
    assert (metrics["images"], metrics["images_failed"]) == (4, 3)
    failures = json.loads((run.out / "failures.json").read_text())
    assert set(failures) == {"2.png", "4.png", "6.png"}
    assert failures["4.png"] == "RuntimeError: out of memory"
    assert "does not decode" in failures["2.png"]
    assert "most_px" in failures["6.png"]
    assert "5.png" in Images(run.out), "the other picture of the batch that failed"
    with pytest.raises(InputError, match=r"1 of 3 pictures failed, more than max_failed \(0\.05\) allows; .*2\.png"):
        annotate.compute(stage_run(tmp_path / "b", pictures, digest))


def test_a_killed_run_goes_on_where_it_was(tmp_path, pictures, truth):
    digest = given(tmp_path / "0", pictures)
    whole = stage_run(tmp_path / "a", pictures, digest)
    annotate.compute(whole)
    broken = stage_run(tmp_path / "b", pictures, digest)

    def killed(done, total):
        if done == 6 and truth.calls[-1:] == [["5.png"]]:
            raise KeyboardInterrupt

    truth.calls.clear()
    broken.report_progress = killed
    with pytest.raises(KeyboardInterrupt):
        annotate.compute(broken)
    truth.calls.clear()
    shutil.rmtree(broken.out)
    again = stage_run(tmp_path / "b", pictures, digest)
    annotate.compute(again)
    assert truth.calls == [["6.png"]], "what was done before the kill is not done again"
    same = [(one.out / "annotations.json").read_bytes() for one in (whole, again)]
    assert same[0] == same[1]


def test_pictures_that_changed_are_refused(tmp_path, pictures, truth):
    digest = given(tmp_path / "0", pictures)
    Image.new("RGB", (8, 8)).save(pictures / "3.png")
    with pytest.raises(InputError, match=digest):
        annotate.compute(stage_run(tmp_path / "a", pictures, digest))
    with pytest.raises(InputError, match=r"no pictures \("):
        (tmp_path / "empty").mkdir()
        annotate.compute(stage_run(tmp_path / "b", tmp_path / "empty", digest))
    run = stage_run(tmp_path / "c", pictures, digest)
    run.runtime = {}
    with pytest.raises(InputError, match=r"runtime\.annotate\.wild\.pictures: missing"):
        annotate.compute(run)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A pose head trained on a handful of scenes, on the committed tiny DINOv2."""
    folder = tmp_path_factory.mktemp("pose")
    scenes_of = {"images": 60, "size": 96}
    params = {
        "seed": 0, "train": scenes_of | {"seed": 71}, "test": {"images": 15, "seed": 72, "size": 96}, "steps": 80,
        "lr": 2e-3, "hidden": 64, "batch": 64,
    }  # fmt: skip
    run = StageRun(
        scale="tiny", stage="pose", name="dinov2", params=params, parts={"encoder": "dinov2"}, seed=0, out=folder,
        work=folder, inputs={"encoder": ROOT / "runs/tiny/foundation/dinov2"},
    )  # fmt: skip
    return folder, pose.compute(run)


def test_the_pose_head_learns_azimuth(head):
    folder, metrics = head
    assert metrics["objects_measured"] > 40
    assert metrics["azimuth_median_error_deg"] < 75, "chance is 90"
    assert 0 < metrics["confident"] <= 1
    assert {"model.safetensors", "config.json"} <= {path.name for path in folder.iterdir()}


def test_every_network_together_with_random_weights(head, tmp_path, pictures):
    """The real chain, networks included: what they see is noise, but it is read, counted and written as it would be."""
    sys.path.insert(0, str(ROOT / "tests/model/annotators"))
    from tiny_annotators import NAMES, save_all

    hub = tmp_path / "hub"
    repos = {"tagger": "siglip", "detector": "grounding-dino", "segmenter": "sam2", "depth": "depth_pro"}
    made = save_all(tmp_path / "made")
    for name in repos.values():
        (hub / "tiny" / name).mkdir(parents=True)
        shutil.move(made[name], hub / "tiny" / name / REVISION)
    networks = {task: {"repo": f"tiny/{name}", "revision": REVISION} for task, name in repos.items()}
    networks["detector"]["size"] = networks["depth"]["size"] = 64
    run = stage_run(
        tmp_path / "a", pictures, given(tmp_path / "0", pictures), networks=networks,
        tags={"vocabulary": list(NAMES), "least": 0.0, "most": 4},
        filters={
            "detection": {"box_score": 0.0, "text_score": 0.0, "mask_score": 0.0, "most_objects": 6},
            "gravity": {"min_share": 0.0},
        },
    )  # fmt: skip
    run.inputs = {"encoder": ROOT / "runs/tiny/foundation/dinov2", "pose": head[0]}
    run.runtime |= {"hub_folder": str(hub), "device": "cpu"}
    metrics = annotate.compute(run)
    assert (metrics["images"], metrics["images_failed"]) == (7, 0)
    assert metrics["tags"] == 28
    assert metrics["objects"] == metrics["kept"] + sum(metrics["read_drops"].values()) > 0


def test_a_network_needs_a_commit(tmp_path, pictures, head):
    run = stage_run(
        tmp_path / "a", pictures, given(tmp_path / "0", pictures),
        networks={one: {"repo": "x/y", "revision": "main"} for one in ("tagger", "detector", "segmenter", "depth")},
    )  # fmt: skip
    run.inputs = {"encoder": ROOT / "runs/tiny/foundation/dinov2", "pose": head[0]}
    with pytest.raises(InputError, match=r"networks\.tagger\.revision 'main' of x/y is no commit"):
        annotate.compute(run)


def test_poses_are_asked_for_what_has_a_place_only():
    world = render.sample(5, 0)
    picture = render.render(world, SIZE, maps=True)
    scene = render.scene(world, SIZE, "a.jpg", picture)
    found = [Detection(o.name, 0.9, o.bbox, picture.maps.body == o.id % 16, 0.9) for o in scene.objects]
    found.append(Detection("car", 0.9, found[0].box, np.zeros((SIZE, SIZE), bool), 0.9))
    space = scenes.place(found, picture.maps.depth.astype(float), scene.camera.K, scenes.Filters(), (0.75, 0.75))

    class Asked:
        def crops(self, picture, boxes):
            self.boxes = list(boxes)
            return np.zeros((len(boxes), 3, 8, 8), np.uint8)

        def __call__(self, crops):
            return np.full((len(crops), 3, 40), 1 / 40)

    asked = Asked()
    chain = Annotators(None, None, None, None, asked, Tags(["car"]), scenes.Filters(), {}, 0)
    poses = chain._poses(picture.rgb, space)
    faultless = [one.fault is None for one in space.objects]
    assert [one is not None for one in poses] == faultless
    assert 0 < sum(faultless) == len(asked.boxes) < len(found)
