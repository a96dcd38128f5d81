"""Every network class of pseudo-annotation, with tiny random weights loaded from a folder as the hub's would be.
What each returns is compared with transformers' own post-processing where that needs no torchvision."""

import json

import numpy as np
import pytest
import torch

from data_registry.errors import InputError
from model.annotators import DepthEstimator, Detector, PoseEstimator, PoseHead, Segmenter, Tagger
from model.annotators.pose import crop
from tests.model.tiny_annotators import NAMES, save_all
from tests.model.tiny_models import make_encoder

OPTIONS = {"local_files_only": True, "trust_remote_code": False}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: str(path) for name, path in save_all(tmp_path_factory.mktemp("annotators")).items()}


@pytest.fixture(scope="module")
def pictures():
    """A wide one and a tall one."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, shape, dtype=np.uint8) for shape in ((48, 80, 3), (90, 60, 3))]


def test_tags_are_the_likeliest_names(folders, pictures):
    tagger = Tagger.load(folders["siglip"], OPTIONS, NAMES, "cpu")
    every = tagger(pictures, 0.0, len(NAMES))
    assert [set(one) for one in every] == [set(NAMES)] * 2
    assert [one[:2] for one in every] == tagger(pictures, 0.0, 2)
    assert tagger(pictures, 1.1, 4) == [[], []]
    assert tagger(pictures[:1], 0.0, 4) == every[:1], "a picture's tags do not depend on the others of its batch"


@pytest.mark.parametrize("kind", ["grounding-dino", "owlv2"])
def test_boxes_carry_one_of_the_tags_asked_for(folders, pictures, kind):
    detector = Detector.load(folders[kind], OPTIONS, "cpu", size=64)
    tags = [["car", "red bus"], ["dog"]]
    found = detector(pictures, tags, 0.0, 0.0)
    for one, names, picture in zip(found, tags, pictures, strict=True):
        assert one
        assert {box.name for box in one} <= set(names)
        for box in one:
            assert 0 <= box.text_score <= box.score <= 1
            assert (box.box >= 0).all()
            assert (box.box <= np.array(picture.shape[1::-1] * 2)).all()
    assert detector(pictures, [[], []], 0.0, 0.0) == [[], []]
    assert detector(pictures, tags, 1.1, 0.0) == [[], []]
    alone = detector(pictures[1:], tags[1:], 0.0, 0.0)[0]
    assert len(alone) == len(found[1])
    if kind == "owlv2":  # Grounding DINO's features of a padded picture differ a little
        np.testing.assert_allclose([b.score for b in alone], [b.score for b in found[1]], atol=1e-5)


def test_grounding_dino_agrees_with_transformers(folders, pictures):
    """Scores and boxes of one picture as transformers' own processor makes them."""
    from transformers import GroundingDinoProcessor

    detector = Detector.load(folders["grounding-dino"], OPTIONS, "cpu", size=64)
    seen = {}
    forward = detector.network.forward
    detector.network.forward = lambda **inputs: seen.setdefault("output", (inputs, forward(**inputs)))[1]
    found = detector(pictures[:1], [["car", "dog"]], 0.0, 0.0)[0]
    inputs, output = seen["output"]
    size = [pictures[0].shape[:2]]
    (theirs,) = GroundingDinoProcessor.post_process_grounded_object_detection(
        _Decoder(), output, inputs["input_ids"], threshold=-1.0, target_sizes=size
    )
    np.testing.assert_allclose([b.score for b in found], theirs["scores"], atol=1e-6)
    limits = np.array(pictures[0].shape[1::-1] * 2)
    np.testing.assert_allclose([b.box for b in found], np.clip(theirs["boxes"], 0, limits), atol=1e-3)


class _Decoder:
    """The one method of a processor that post-processing calls."""

    @staticmethod
    def batch_decode(ids):
        return ["" for _ in ids]


def test_too_many_tags_are_refused_by_name(folders, pictures):
    detector = Detector.load(folders["grounding-dino"], OPTIONS, "cpu", size=64)
    with pytest.raises(InputError, match=r"tokens of tags for one picture, the detector takes 32; lower .*tags\.most"):
        detector(pictures[:1], [["car"] * 20], 0.0, 0.0)


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_one_mask_per_box_of_the_pictures_own_size(folders, pictures, kind):
    segmenter = Segmenter.load(folders[kind], OPTIONS, "cpu")
    boxes = [np.array([[5.0, 5, 40, 30], [20, 10, 70, 40]]), np.zeros((0, 4))]
    (masks, scores), (none, no_scores) = segmenter(pictures, boxes)
    assert masks.shape == (2, 48, 80)
    assert masks.dtype == bool
    assert scores.shape == (2,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert none.shape == (0, 90, 60)
    assert no_scores.shape == (0,)
    both = segmenter(pictures, [boxes[0], np.array([[1.0, 1, 30, 30]])])
    assert (both[0][0] == masks).mean() > 0.999, "a picture's masks do not depend on the others of its batch"
    assert both[1][0].shape == (1, 90, 60)


def test_sam_masks_are_upscaled_as_transformers_does(folders):
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    segmenter = Segmenter.load(folders["sam"], OPTIONS, "cpu")
    logits = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    theirs = SamImageProcessorPil().post_process_masks(
        logits[None, :, None], [(48, 80)], [(38, 64)], pad_size={"height": 64, "width": 64}
    )[0][:, 0]
    np.testing.assert_array_equal(segmenter._upscale(logits, (38, 64), (48, 80)), theirs.numpy())


def test_depth_pro_gives_metres_and_intrinsics(folders, pictures):
    depth = DepthEstimator.load(folders["depth_pro"], OPTIONS, "cpu", size=64)
    seen = []
    forward = depth.network.forward
    depth.network.forward = lambda pixels: seen.append(forward(pixels)) or seen[-1]
    found = depth(pictures)
    assert len(seen) == 1, "both in one batch"
    for k, ((metres, K), picture) in enumerate(zip(found, pictures, strict=True)):
        height, width = picture.shape[:2]
        assert metres.shape == (height, width)
        assert (metres > 0).all()
        angle = 2 * np.degrees(np.arctan(width / 2 / K[0, 0]))
        assert 0 < angle < 180
        assert angle == pytest.approx(float(seen[0].field_of_view.reshape(-1)[k]), abs=1e-3)
        np.testing.assert_allclose(K[:2, 2], [width / 2, height / 2])
        assert K[0, 0] == K[1, 1]
        # inverse depth is the network's, scaled from its canonical camera: twice the focal length, twice the depth
        inverse = torch.nn.functional.interpolate(
            seen[0].predicted_depth[k][None, None] * (width / K[0, 0]), (height, width), mode="bilinear"
        )[0, 0]
        np.testing.assert_allclose(metres, 1 / inverse.clamp(1e-4, 1e4), rtol=1e-4)
    torch.nn.init.constant_(depth.network.fov_model.head.layers[-1].bias, -60)
    with pytest.raises(ValueError, match="field of view is estimated as -"):
        depth(pictures)


def test_depth_anything_has_to_be_told_the_field_of_view(folders, pictures):
    with pytest.raises(InputError, match=r"field_of_view_deg: missing"):
        DepthEstimator.load(folders["depth_anything"], OPTIONS, "cpu", size=56)
    depth = DepthEstimator.load(folders["depth_anything"], OPTIONS, "cpu", size=56, field_of_view_deg=90.0)
    for (metres, K), picture in zip(depth(pictures), pictures, strict=True):
        assert metres.shape == picture.shape[:2]
        assert ((metres >= 0) & (metres <= 20)).all()
        assert K[0, 0] == pytest.approx(picture.shape[1] / 2)


def test_relative_depth_is_refused(folders, tmp_path):
    import shutil

    folder = tmp_path / "relative"
    shutil.copytree(folders["depth_anything"], folder)
    config = json.loads((folder / "config.json").read_text()) | {"depth_estimation_type": "relative"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="relative depth; take the metric ones"):
        DepthEstimator.load(str(folder), OPTIONS, "cpu", field_of_view_deg=60.0)


def test_a_network_for_something_else_is_refused(folders):
    with pytest.raises(InputError, match=r"segmenter: .* is of type 'siglip', which does not fit; known: sam, sam2"):
        Segmenter.load(folders["siglip"], OPTIONS, "cpu")


def test_poses_are_distributions_and_do_not_depend_on_the_batch(pictures):
    encoder = make_encoder("dinov2")
    estimator = PoseEstimator(encoder, PoseHead(encoder.width, bins=40, grid=2, hidden=16).eval(), 0.1)
    crops = estimator.crops(pictures[0], [np.array([10.0, 5, 40, 30]), np.array([60.0, 20, 80, 48])])
    assert crops.shape == (2, 3, 32, 32)
    found = estimator(crops)
    assert found.shape == (2, 3, 40)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(estimator(crops, batch=1), found, atol=1e-5)
    assert estimator(estimator.crops(pictures[0], [])).shape == (0, 3, 40)


def test_a_crop_is_square_centred_and_padded_beyond_the_picture():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:20, 50:60] = 255
    whole = crop(picture, np.array([50.0, 10, 60, 20]), 20, 0.0)
    assert (whole == 255).all()
    wide = crop(picture, np.array([50.0, 10, 60, 20]), 20, 0.5)  # 20 pixels around, of which 5 lie beyond the picture
    assert (wide[:, 5:15, 5:15] == 255).all()
    assert (wide[:, :, 15:] == np.array([122, 116, 104])[:, None, None]).all()
    assert (wide[:, :5, :15] == 0).all()
