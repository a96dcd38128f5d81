"""A user's own Omni3D file becomes a set of scenes like the rendered ones, and what is wrong with it is named."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_registry import conversations
from data_registry.errors import InputError
from data_registry.readers import omni3d
from data_registry.storage.shards import Images
from tasks import data, scenes
from tasks.stage import harness
from tasks.stage.harness import StageRun
from tests.samples import SAMPLES

KITTI = SAMPLES / "omni3d_from_kitti/KITTI_sample_omni3d.json"


def stage_run(out: Path, annotations: Path, pictures: Path, given: str, *more: tuple[Path, Path]) -> StageRun:
    out.mkdir(parents=True)
    sources = [{"annotations": str(a), "pictures": str(p)} for a, p in ((annotations, pictures), *more)]
    where = sources if more else sources[0]
    return StageRun(
        scale="tiny", stage="scenes", name="train", params={"given": given, "size": 96}, parts={"split": "train"},
        seed=0, out=out, work=out, runtime={"scenes": {"train": where}},
    )  # fmt: skip


def digest_of(out: Path, annotations: Path, pictures: Path, *more: tuple[Path, Path]) -> str:
    """What a user does: leave the digest empty, and copy it from the error."""
    with pytest.raises(InputError, match=r"scenes\.tiny\.each\.train\.given: is '', but .* have [0-9a-f]{64}") as error:
        scenes.compute(stage_run(out, annotations, pictures, "", *more))
    return re.search(r"[0-9a-f]{64}", str(error.value))[0]


@pytest.fixture
def own(tmp_path):
    """Two pictures and their annotations: a car and a dog before a level camera."""
    rng = np.random.default_rng(0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    images, objects = [], []
    for index in range(2):
        Image.fromarray(rng.integers(0, 255, (60, 100, 3), dtype=np.uint8)).save(pictures / f"{index}.png")
        intrinsics = [[80.0, 0.0, 50.0], [0.0, 80.0, 30.0], [0.0, 0.0, 1.0]]
        images.append({"id": index, "width": 100, "height": 60, "file_path": f"{index}.png", "K": intrinsics})
        for name, x, z in (("car", -1.5, 6.0), ("dog", 1.5, 4.0)):
            objects.append(
                {
                    "id": len(objects), "image_id": index, "category_id": 0, "category_name": name, "valid3D": True,
                    "center_cam": [x, 0.5, z], "dimensions": [1.0, 1.0, 1.6], "R_cam": np.eye(3).tolist(),
                    "behind_camera": False, "visibility": 1.0, "truncation": 0.0,
                    "bbox2D_tight": [20, 20, 40, 45] if x < 0 else [60, 20, 90, 50],
                }
            )  # fmt: skip
    content = {"info": {"source": "mine"}, "images": images, "categories": [], "annotations": objects}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    return tmp_path / "mine.json", pictures


def test_given_scenes_are_packed_as_they_are(own, tmp_path):
    annotations, pictures = own
    digest = digest_of(tmp_path / "asked", annotations, pictures)
    metrics = scenes.compute(stage_run(tmp_path / "out", annotations, pictures, digest))
    assert (metrics["images"], metrics["objects"], metrics["kept"]) == (2, 4, 4)
    packed = Images(tmp_path / "out")
    assert {key: packed.encoded(key) for key in packed} == {p.name: p.read_bytes() for p in sorted(pictures.iterdir())}
    assert (tmp_path / "out/annotations.json").read_bytes() == annotations.read_bytes()


def test_a_changed_picture_is_another_set(own, tmp_path):
    annotations, pictures = own
    digest = digest_of(tmp_path / "asked", annotations, pictures)
    Image.new("RGB", (100, 60)).save(pictures / "1.png")
    assert digest_of(tmp_path / "again", annotations, pictures) != digest
    with pytest.raises(InputError, match=digest):
        scenes.compute(stage_run(tmp_path / "out", annotations, pictures, digest))


def another_source(own: tuple[Path, Path], folder: Path, first_id: int) -> tuple[Path, Path]:
    """The same as a set of KITTI's, with other names of pictures and ids from `first_id` on."""
    content = json.loads(own[0].read_text())
    folder.mkdir()
    for image in content["images"]:
        (folder / f"kitti-{image['file_path']}").write_bytes((own[1] / image["file_path"]).read_bytes())
        image["file_path"] = f"kitti-{image['file_path']}"
        image["id"] += first_id
    for thing in content["annotations"]:
        thing["id"] += first_id
        thing["image_id"] += first_id
    content["info"] = {"source": "KITTI", "provenance": "estimated"}
    (folder / "kitti.json").write_text(json.dumps(content))
    return folder / "kitti.json", folder


def test_several_sources_become_one_set_and_keep_what_is_known_of_each(own, tmp_path):
    kitti = another_source(own, tmp_path / "kitti", first_id=100)
    digest = digest_of(tmp_path / "asked", *own, kitti)
    metrics = scenes.compute(stage_run(tmp_path / "out", *own, digest, kitti))
    assert (metrics["images"], metrics["objects"], metrics["kept"]) == (4, 8, 8)
    assert list(Images(tmp_path / "out")) == ["0.png", "1.png", "kitti-0.png", "kitti-1.png"]
    made = list(omni3d.read(tmp_path / "out/annotations.json"))
    apart = [scene for path in (own[0], kitti[0]) for scene in omni3d.read(path)]
    assert [scene.source for scene in made] == ["mine", "mine", "KITTI", "KITTI"]
    for one, other in zip(made, apart, strict=True):
        assert (one.image, one.source, one.camera.up is None) == (other.image, other.source, other.camera.up is None)
        for a, b in zip(one.objects, other.objects, strict=True):
            assert (a.id, a.name, a.front is None, a.provenance) == (b.id, b.name, b.front is None, b.provenance)
    assert made[0].camera.up is None
    assert made[2].camera.up is not None
    assert [o.name for o in made[2].objects if o.front is not None] == ["car"]


def test_an_id_of_two_sources_is_refused(own, tmp_path):
    kitti = another_source(own, tmp_path / "kitti", first_id=1)
    digest = digest_of(tmp_path / "asked", *own, kitti)
    with pytest.raises(InputError, match="images: id 1 occurs twice; ids must be unique"):
        scenes.compute(stage_run(tmp_path / "out", *own, digest, kitti))


def broken(fault: str, annotations: Path, pictures: Path) -> str:
    """Break the set; returns what the error must say."""
    content = json.loads(annotations.read_text())
    if fault == "missing picture":
        (pictures / "1.png").unlink()
        return r"1\.png: no such picture; .*mine\.json names it"
    if fault == "undecodable":
        (pictures / "1.png").write_bytes((pictures / "1.png").read_bytes()[:200])
        return r"1\.png: does not decode"
    if fault == "other size":
        Image.new("RGB", (50, 60)).save(pictures / "0.png")
        return r"0\.png: is 50×60 pixels, .*mine\.json says 100×60"
    if fault == "missing key":
        del content["images"][1]["K"]
    elif fault == "outside":
        content["images"][1]["file_path"] = "../../secret.png"
    annotations.write_text(json.dumps(content))
    return {"missing key": r"mine\.json.*'?K'?", "outside": r"file_path '\.\./\.\./secret\.png' leads out of"}[fault]


@pytest.mark.parametrize("fault", ["missing picture", "undecodable", "other size", "missing key", "outside"])
def test_what_is_wrong_is_named(own, tmp_path, fault):
    annotations, pictures = own
    message = broken(fault, annotations, pictures)
    with pytest.raises(InputError, match=message):
        scenes.compute(stage_run(tmp_path / "out", annotations, pictures, ""))


@pytest.mark.parametrize("fault", ["undecodable", "missing key", "missing picture"])
def test_the_command_says_what_is_wrong_in_one_line_and_leaves_nothing(own, tmp_path, monkeypatch, capsys, fault):
    annotations, pictures = own
    message = broken(fault, annotations, pictures)
    params = {
        "scale": "tiny", "seed": 0, "versions": {"scenes": 1},
        "runtime": {"scenes": {"train": {"annotations": str(annotations), "pictures": str(pictures)}}},
        "scenes": {"tiny": {"common": {}, "each": {"train": {"given": "0" * 64}}}},
    }  # fmt: skip
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    (tmp_path / "plan.yaml").write_text(json.dumps({"plan": {"scenes": {"train": {"parts": {"split": "train"}}}}}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        harness.main("scenes", scenes.compute, ["train"])
    assert ended.value.code == harness.EXIT_INPUT
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert re.search(message, said)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "runs" in path.parts]


def test_the_place_must_be_said(tmp_path):
    run = stage_run(tmp_path / "out", Path("a"), Path("b"), "x")
    run.runtime = {}
    with pytest.raises(InputError, match=r"runtime\.scenes\.train\.annotations: missing"):
        scenes.compute(run)


@pytest.mark.skipif(not KITTI.exists(), reason="the KITTI sample is not on this machine")
def test_real_kitti_frames_become_questions(tmp_path):
    digest = digest_of(tmp_path / "asked", KITTI, SAMPLES)
    metrics = scenes.compute(stage_run(tmp_path / "scenes", KITTI, SAMPLES, digest))
    assert metrics["images"] == 3
    kept = [scene for scene in omni3d.read(tmp_path / "scenes/annotations.json") if scene.objects]
    assert kept
    out = tmp_path / "data"
    out.mkdir()
    params = {"seed": 3, "recipe": {"turns": [1, 4]}}
    run = StageRun(
        scale="tiny", stage="data", name="3di-ft1m", params=params, parts={"dataset": "3di-ft1m"}, seed=3, out=out,
        work=out, inputs={"scenes": tmp_path / "scenes"},
    )  # fmt: skip
    data.compute(run)
    made = list(conversations.read(out / "conversations.parquet"))
    assert made
    assert {item["image"] for item in made} <= {scene.image for scene in kept}
