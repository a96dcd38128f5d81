"""The stages `pose` and `annotate`: a head that learns azimuth, pictures that become scenes whatever befalls one."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_registry import render
from data_registry.annotate import pose_bins as bins
from data_registry.annotate import scenes
from data_registry.annotate.detections import Detection
from data_registry.errors import InputError
from data_registry.readers import omni3d
from data_registry.storage.shards import Images
from flows.designs.plan import annotation_of, write_plan
from tasks import annotate, pose
from tasks import scenes as scenes_stage
from tasks.identity.paths import Paths
from tasks.sources import pose_head
from tasks.sources.annotators import Annotation, Annotators, Tags
from tasks.stage.harness import StageRun, execute
from tests.model.tiny_annotators import NAMES, save_all

REPO = Path(__file__).parents[2]
SIZE = 64
REVISION = "0" * 40
NETWORKS = {"tagger": "siglip", "detector": "grounding-dino", "segmenter": "sam2", "depth": "depth_pro"}
PARAMS = f"""
scale: tiny
seed: 7
runtime: {{threads: 1, device: cpu, workers: 1, annotate: {{wild: {{pictures: pictures}}}}}}
versions: {{scenes: 1, foundation: 1, pose: 1, annotate: 1}}
foundation: {{tiny: {{seed: 6}}}}
scenes:
  tiny:
    common: {{size: 96}}
    each: {{pose-train: {{images: 60, seed: 71}}, pose-test: {{images: 15, seed: 72}}}}
pose:
  tiny: {{seed: 9, schedule: {{steps: 80}}, batch: 64, bins: 40, grid: 4, hidden: 64, dropout: 0.2, margin: 0.1,
    min_visibility: 0.5, max_truncation: 0.3, confident: 0.1}}
annotate:
  tiny:
    common:
      seed: 10
      networks:
        tagger: {{repo: tiny/siglip, revision: "{REVISION}"}}
        detector: {{repo: tiny/grounding-dino, revision: "{REVISION}", size: 64}}
        segmenter: {{repo: tiny/sam2, revision: "{REVISION}"}}
        depth: {{repo: tiny/depth_pro, revision: "{REVISION}", size: 64}}
      tags: {{least: 0.0, most: 4, vocabulary: [{", ".join(NAMES)}], fronts: [car]}}
      filters:
        detection: {{box_score: 0.0, text_score: 0.0, mask_score: 0.0, most_objects: 6, edge_px: 0}}
        gravity: {{min_share: 0.0}}
        pose: {{confidence: 0.0}}
      batch: 2
      part: 2
      most_px: 10000
    each: {{wild: {{source: OpenImages, given: ""}}}}
"""


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


def draw(folder: Path) -> Path:
    """Seven pictures."""
    folder.mkdir()
    for index in range(7):
        Image.fromarray(render.render(render.sample(5, index), SIZE).rgb).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def pictures(tmp_path):
    return draw(tmp_path / "pictures")


@pytest.fixture
def truth(monkeypatch):
    networks = Truth()
    monkeypatch.setattr(annotate, "_load", lambda run, p: networks)
    return networks


def stage_run(root: Path, folder: Path, given: str, max_failed: float = 0.01, **changes) -> StageRun:
    (root / "out").mkdir(parents=True)
    network = {"repo": "x/y", "revision": REVISION}
    params = {
        "seed": 0, "given": given, "source": "OpenImages", "batch": 2, "part": 3, "most_px": 4_000_000,
        "tags": {"least": 0.1, "most": 20, "vocabulary": list(render.NAMES), "fronts": []},
        "networks": dict.fromkeys(("tagger", "detector", "segmenter", "depth"), network),
    }  # fmt: skip
    return StageRun(
        scale="tiny", stage="annotate", name="wild", params=params | changes, parts={"encoder": "dinov2"}, seed=0,
        out=root / "out", work=root / "work",
        runtime={"annotate": {"wild": {"pictures": str(folder)}}, "max_failed": max_failed},
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
    noise, avif = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8), io.BytesIO()
    Image.fromarray(noise).save(avif, "AVIF")
    head, mark, body = avif.getvalue().partition(b"mdat")
    (pictures / "0.png").write_bytes(head + mark + b"\xff" * len(body))  # at which Pillow raises a RuntimeError
    (pictures / "2.png").write_bytes(b"no picture")
    Image.new("RGB", (3000, 2000)).save(pictures / "6.png")
    truth.fail = "4.png"
    digest = given(tmp_path / "0", pictures)
    run = stage_run(tmp_path / "a", pictures, digest, max_failed=0.6)
    metrics = annotate.compute(run)
    assert (metrics["images"], metrics["images_failed"]) == (3, 4)
    failures = json.loads((run.out / "failures.json").read_text())
    assert set(failures) == {"0.png", "2.png", "4.png", "6.png"}
    assert failures["4.png"] == "RuntimeError: out of memory"
    assert all("does not decode" in failures[name] for name in ("0.png", "2.png"))
    assert "most_px" in failures["6.png"]
    assert "5.png" in Images(run.out), "the other picture of the batch that failed"


def test_too_many_failures_stop_the_stage_and_keep_what_is_done(tmp_path, pictures, truth):
    truth.fail = "5.png"
    digest = given(tmp_path / "0", pictures)
    with pytest.raises(InputError, match=r"1 of 7 pictures failed so far, .*runtime\.max_failed .*5\.png: RuntimeErr"):
        annotate.compute(stage_run(tmp_path / "a", pictures, digest))
    truth.fail, truth.calls = None, []
    shutil.rmtree(tmp_path / "a" / "out")
    assert annotate.compute(stage_run(tmp_path / "a", pictures, digest))["images"] == 7
    assert truth.calls == [["3.png", "4.png"], ["5.png"], ["6.png"]]


def test_pictures_that_changed_are_refused(tmp_path, pictures, truth):
    digest = given(tmp_path / "0", pictures)
    Image.new("RGB", (8, 8)).save(pictures / "3.png")
    with pytest.raises(InputError, match=digest):
        annotate.compute(stage_run(tmp_path / "a", pictures, digest))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no pictures \("):
        annotate.compute(stage_run(tmp_path / "b", tmp_path / "empty", digest))
    run = stage_run(tmp_path / "c", pictures, digest)
    run.runtime = {}
    with pytest.raises(InputError, match=r"runtime\.annotate\.wild\.pictures: missing"):
        annotate.compute(run)


def test_what_cannot_be_meant_is_refused(tmp_path, pictures):
    networks = {one: {"repo": "x/y", "revision": "main"} for one in NETWORKS}
    with pytest.raises(InputError, match=r"revision 'main' of x/y is no commit"):
        annotate.compute(stage_run(tmp_path / "a", pictures, "", networks=networks))
    tags = {"least": 0.1, "most": 20, "vocabulary": ["car", "dog"], "fronts": ["cars"]}
    with pytest.raises(InputError, match=r"tags\.fronts: 'cars' is not in the vocabulary, did you mean car"):
        annotate.compute(stage_run(tmp_path / "b", pictures, "", tags=tags))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A study of its own with a pose head trained on a handful of scenes, on the committed tiny DINOv2."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "params.yaml").write_text(PARAMS)
    write_plan(folder, annotation_of("wild"))
    shutil.copytree(REPO / "runs/tiny/foundation/dinov2", folder / "runs/tiny/foundation/dinov2")
    for split in ("pose-train", "pose-test"):
        execute("scenes", split, scenes_stage.compute, folder)
    execute("pose", "dinov2", pose.compute, folder)
    draw(folder / "pictures")
    return folder


def test_the_pose_head_learns_azimuth(root):
    metrics = json.loads((root / "runs/tiny/pose/dinov2/metrics.json").read_text())
    assert metrics["objects_measured"] > 40
    assert metrics["azimuth_median_error_deg"] < 75, "chance is 90"
    assert 0 < metrics["confident"] <= 1
    assert len(metrics["azimuth_median_error_deg_by_category"]) > 5


def test_a_head_of_another_encoder_is_refused(root):
    from tests.model.tiny_models import make_encoder

    with pytest.raises(InputError, match=r"config\.json: a head for dinov2 of width \d+, but the encoder is mae of"):
        pose_head.load(root / "runs/tiny/pose/dinov2", make_encoder("mae"))


def test_every_network_together_and_a_kill_in_between(root):
    """The command itself on networks with random weights: what they see is noise, but it is written as it would be."""
    hub = root / "hub"
    made = save_all(root / "made")
    for name in NETWORKS.values():  # as huggingface_hub keeps what it has downloaded
        shutil.copytree(made[name], hub / f"models--tiny--{name}" / "snapshots" / REVISION)
    environment = os.environ | {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPO)}

    def command():
        return subprocess.Popen(
            [sys.executable, "-m", "tasks.annotate", "wild"], cwd=root, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    digest = given(root / "asked", root / "pictures")
    (root / "params.yaml").write_text(PARAMS.replace('given: ""', f"given: {digest}"))

    paths = Paths(root, "tiny", "annotate", "wild")
    first = paths.work / "part-000000000.json"
    broken = command()
    while not first.exists():
        assert broken.poll() is None, broken.stdout.read()
        time.sleep(0.01)
    broken.send_signal(signal.SIGKILL)
    broken.communicate()
    assert not paths.out.exists()
    kept = json.loads(first.read_text())
    for one in kept["annotations"]:
        one["image"]["src_flagged"] = True  # to be known again
    first.write_text(json.dumps(kept))

    said = (again := command()).communicate()[0]
    assert again.returncode == 0, said
    metrics = json.loads((paths.out / "metrics.json").read_text())
    assert (metrics["images"], metrics["images_failed"], metrics["tags"]) == (7, 0, 28)
    assert metrics["objects"] == metrics["kept"] + sum(metrics["read_drops"].values()) > 0
    images = json.loads((paths.out / "annotations.json").read_text())["images"]
    assert [one["src_flagged"] for one in images[:2]] == [True, True], "what was done before the kill is not done again"
    assert not images[-1]["src_flagged"]


def test_poses_are_asked_for_what_has_a_place_and_a_front():
    world = render.sample(5, 0)
    picture = render.render(world, SIZE, maps=True)
    scene = render.scene(world, SIZE, "a.jpg", picture)
    found = [Detection(o.name, 0.9, o.bbox, picture.maps.body == o.id % 16, 0.9) for o in scene.objects]
    front = found[0].name
    found.append(Detection(front, 0.9, found[0].box, np.zeros((SIZE, SIZE), bool), 0.9))
    found.append(Detection("vase", 0.9, found[0].box, found[0].mask, 0.9))
    space = scenes.place(found, picture.maps.depth.astype(float), scene.camera.K, scenes.Filters(), (0.75, 0.75))

    class Asked:
        def crops(self, picture, boxes):
            self.boxes = list(boxes)
            return np.zeros((len(boxes), 3, 8, 8), np.uint8)

        def __call__(self, crops):
            return np.full((len(crops), 3, 40), 1 / 40)

    asked = Asked()
    tags = Tags(0.1, 20, [front, "vase"], [front])
    chain = Annotators(None, None, None, None, asked, tags, scenes.Filters(), 0)
    poses = chain._poses(picture.rgb, space)
    wanted = [one.fault is None and one.detection.name == front for one in space.objects]
    assert space.objects[-1].fault is None
    assert space.objects[-2].fault is not None
    assert [one is not None for one in poses] == wanted
    assert 0 < sum(wanted) == len(asked.boxes)
