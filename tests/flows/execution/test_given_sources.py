"""What the user has to give is looked for before anything runs: nothing is computed in vain, plan.yaml stays as is."""

import shutil
from pathlib import Path

import pytest

from data_registry.errors import InputError
from flows.designs.check import check_sources
from flows.designs.design import choose
from flows.designs.plan import annotation_of, plan_of
from flows.execution.plan_file import add_to_plan, remove_from_plan
from tasks.identity.settings import Settings, read_yaml

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path):
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(REPO / name, tmp_path / name)
    return tmp_path


def asked(root: Path, runtime: dict) -> None:
    params = read_yaml(root / "params.yaml")
    plan = annotation_of("openimages")
    check_sources(Settings(root, params | {"runtime": runtime}, plan.entries), plan.runs())


def test_pictures_to_annotate_are_asked_for_before_the_pose_head_trains(root):
    """`spatialllm data annotate openimages` rendered scenes and trained the head first."""
    with pytest.raises(InputError, match=r"params\.yaml: runtime\.annotate\.openimages\.pictures: missing"):
        asked(root, {})
    with pytest.raises(InputError, match=r"nowhere: no such folder; runtime\.annotate\.openimages\.pictures"):
        asked(root, {"annotate": {"openimages": {"pictures": str(root / "nowhere")}}})
    (root / "pictures").mkdir()
    with pytest.raises(InputError, match=r"pictures: no pictures"):
        asked(root, {"annotate": {"openimages": {"pictures": str(root / "pictures")}}})
    (root / "pictures" / "a.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"annotate\.tiny\.each\.openimages\.given: is '', but the 1 pictures in"):
        asked(root, {"annotate": {"openimages": {"pictures": str(root / "pictures")}}})


def test_given_scenes_and_data_too(root):
    params = read_yaml(root / "params.yaml") | {"scale": "paper"}
    plan = plan_of(choose([1]))
    with pytest.raises(InputError, match=r"params\.yaml: runtime\.scenes\.train\.annotations: missing"):
        check_sources(Settings(root, params, plan.entries), plan.runs())
    params["data"]["paper"]["each"]["cc558k"]["given"] = "0" * 64
    with pytest.raises(InputError, match=r"params\.yaml: runtime\.data\.cc558k\.pictures: missing"):
        check_sources(Settings(root, params, plan.entries), ["data/cc558k"])


def test_what_was_added_in_vain_leaves_the_plan(root):
    kept = add_to_plan(root, plan_of(choose([1])))
    before = (root / "plan.yaml").read_bytes()
    both = add_to_plan(root, annotation_of("openimages"))
    assert set(both.runs()) > set(kept.runs())
    remove_from_plan(root, set(both.runs()) - set(kept.runs()))
    assert (root / "plan.yaml").read_bytes() == before
