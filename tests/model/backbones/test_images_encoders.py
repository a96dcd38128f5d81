"""Images stay whole; every encoder gets its own normalisation and gives its patches in reading order."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from data_registry.errors import InputError
from model.backbones.encoders import ENCODERS, encoder_spec, load_encoder
from model.backbones.features import extract, feature_bytes
from model.backbones.images import PAD_COLOR, decode_image, to_pixels
from model.connector import add, build_connector, connect, interleave, mix_channels, resize_grid, tokens_per_image
from tests.model.tiny_models import make_encoder


def test_wide_image_is_padded_not_cropped():
    image = Image.new("RGB", (60, 20), (255, 0, 0))
    pixels = to_pixels(image, 60)
    assert pixels.shape == (3, 60, 60) and pixels.dtype == np.uint8
    assert (pixels[:, 20:40].reshape(3, -1).T == [255, 0, 0]).all()
    assert (pixels[:, :20].reshape(3, -1).T == PAD_COLOR).all() and (pixels[:, 40:].reshape(3, -1).T == PAD_COLOR).all()


def test_image_that_does_not_decode_is_named():
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40)).save(buffer, "PNG")
    with pytest.raises(InputError, match=r"image broken\.png: does not decode"):
        decode_image(buffer.getvalue()[:50], "broken.png")


def test_more_than_8_bits_per_channel_are_refused_and_not_cut_off_at_white():
    deep = Image.fromarray(np.linspace(0, 65535, 1600, dtype=np.uint16).reshape(40, 40))
    buffer = io.BytesIO()
    deep.save(buffer, "PNG")
    with pytest.raises(InputError, match=r"image deep\.png: does not decode \(pixels of mode I"):
        decode_image(buffer.getvalue(), "deep.png")
    with pytest.raises(ValueError, match="more than 8 bits per channel"):
        to_pixels(deep, 40)


def test_a_photograph_taken_sideways_stands_upright_where_asked_for():
    """A camera held upright stores the picture lying on its side, and notes that it has to be turned clockwise."""
    stored, noted = Image.new("RGB", (40, 20), "blue"), Image.Exif()
    stored.paste("red", (0, 0, 10, 20))  # left as stored: on top once it is turned
    noted[0x0112] = 6
    buffer = io.BytesIO()
    stored.save(buffer, "PNG", exif=noted)
    assert decode_image(buffer.getvalue(), "x").size == (40, 20)
    upright = decode_image(buffer.getvalue(), "x", upright=True)
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 2)) == (255, 0, 0) and upright.getpixel((10, 38)) == (0, 0, 255)


@pytest.mark.parametrize("kind", ["clip", "dinov2", "mae", "siglip2"])
def test_patches_come_in_reading_order_without_cls(kind):
    """Changing one corner of the image changes the embedding of that corner's patch most."""
    encoder = make_encoder(kind, layer=0)
    images = torch.full((5, 3, 32, 32), 0.5)
    corners = {1: (slice(0, 8), slice(0, 8)), 2: (slice(0, 8), slice(24, 32)), 3: (slice(24, 32), slice(0, 8))}
    corners[4] = (slice(24, 32), slice(24, 32))
    for k, (rows, columns) in corners.items():
        images[k, :, rows, columns] = 1.0
    with torch.no_grad():
        features = encoder(images)
    grid = encoder.grid
    assert features.shape == (5, grid * grid, 32)
    change = (features[1:] - features[:1]).norm(dim=-1)
    assert change.argmax(1).tolist() == [0, grid - 1, grid * (grid - 1), grid * grid - 1]


def test_each_encoder_normalises_its_own_way():
    clip, dinov2 = make_encoder("clip"), make_encoder("dinov2")
    pixels = torch.rand(2, 3, 32, 32)
    for encoder in (clip, dinov2):
        mean = torch.tensor(encoder.spec.mean).view(1, 3, 1, 1)
        torch.testing.assert_close(encoder.normalise(pixels), (pixels - mean) / 0.25)
    assert not torch.equal(clip.normalise(pixels), dinov2.normalise(pixels))
    as_bytes = (pixels * 255).round().to(torch.uint8)
    torch.testing.assert_close(clip.normalise(as_bytes), clip.normalise(as_bytes.float() / 255))


def test_paper_encoders_use_the_layer_before_last_and_their_own_normalisation():
    for name in ("clip", "dinov2", "mae"):
        spec = ENCODERS[name]["paper"]
        assert spec.layer == -2
    assert ENCODERS["clip"]["paper"].mean != ENCODERS["dinov2"]["paper"].mean


def test_unknown_encoder_and_scale_name_the_nearest():
    with pytest.raises(InputError, match=r"unknown encoder 'dinov'; did you mean dinov2\?"):
        encoder_spec("dinov", "tiny")
    with pytest.raises(InputError, match="no entry for scale 'papr'"):
        encoder_spec("clip", "papr")


def test_layer_before_last_is_the_last_ones_input():
    encoder = make_encoder("dinov2", layer=-2)
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        hidden = encoder.tower(encoder.normalise(pixels), output_hidden_states=True).hidden_states
        assert len(hidden) == 3
        torch.testing.assert_close(encoder(pixels), hidden[1][:, 1:])


@pytest.mark.parametrize("kind", ["clip", "dinov2", "mae", "siglip2"])
def test_loading_from_a_folder(tmp_path, kind, monkeypatch):
    encoder = make_encoder(kind)
    monkeypatch.setitem(ENCODERS, kind, {"tiny": encoder.spec})
    encoder.tower.half().save_pretrained(tmp_path)
    loaded = load_encoder(kind, "tiny", tmp_path)
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(pixels), encoder.float()(pixels))
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3]}')
    with pytest.raises(InputError, match=r"preprocessor_config\.json: image_mean"):
        load_encoder(kind, "tiny", tmp_path)


def test_source_json_without_revision_is_refused(tmp_path):
    (tmp_path / "source.json").write_text('{"repo": "openai/clip"}')
    with pytest.raises(InputError, match=r"source\.json: 'revision' is missing"):
        load_encoder("clip", "paper", tmp_path)


def test_channels_are_mixed_on_a_common_grid():
    fine, coarse = torch.rand(2, 16, 3), torch.rand(2, 4, 5)
    mixed = mix_channels([fine, coarse], 4)
    assert mixed.shape == (2, 16, 8)
    assert torch.equal(mixed[..., :3], fine)
    torch.testing.assert_close(mixed[..., 3:], resize_grid(coarse, 4))
    constant = torch.ones(1, 4, 2) * torch.tensor([1.0, 2.0])
    torch.testing.assert_close(resize_grid(constant, 4), torch.ones(1, 16, 2) * torch.tensor([1.0, 2.0]))


def test_resized_grid_keeps_rows_and_columns_apart():
    ramp = torch.arange(4.0).view(1, 2, 2, 1).expand(1, 2, 2, 1).reshape(1, 4, 1)  # 0 1 / 2 3
    up = resize_grid(ramp, 4).view(4, 4)
    assert (up.diff(dim=1) >= 0).all() and (up.diff(dim=0) >= 0).all()
    assert up[0, -1] == 1 and up[-1, 0] == 2


def test_unknown_connector_and_mixing_name_the_nearest():
    with pytest.raises(InputError, match=r"did you mean mlp2x_gelu\?"):
        build_connector("mlp2x", [4], 4)
    with pytest.raises(InputError, match=r"unknown mixing 'interleaved'; did you mean interleave\?"):
        build_connector("mlp2x_gelu", [4], 4, "interleaved")


def test_interleaved_tokens_alternate_by_place():
    first, second = torch.arange(4.0).view(1, 4, 1), 10 + torch.arange(4.0).view(1, 4, 1)
    assert interleave([first, second]).flatten().tolist() == [0, 10, 1, 11, 2, 12, 3, 13]
    assert add([first, second]).flatten().tolist() == [10, 12, 14, 16]


@pytest.mark.parametrize("mixing", ["channel", "interleave", "sum"])
@pytest.mark.parametrize("sides", [(4,), (4, 2), (2, 4, 3)])
def test_any_set_of_encoders_is_mixed_on_a_common_grid(mixing, sides):
    """Every encoder reaches every place of the grid, and a feature reaches the tokens of its own place only."""
    torch.manual_seed(0)
    widths = [3 + k for k in range(len(sides))]
    connector = build_connector("mlp2x_gelu", widths, 6, mixing)
    features = [torch.rand(2, side * side, width, requires_grad=True) for side, width in zip(sides, widths)]
    tokens = connect(connector, features, mixing, 4)
    assert tokens.shape == (2, tokens_per_image(mixing, 4, len(sides)), 6)
    assert tokens.shape[1] == 16 * (len(sides) if mixing == "interleave" else 1)
    # The last place's tokens come from the last features of every encoder, not from the first ones.
    per_place = tokens.shape[1] // 16
    tokens[:, -per_place:].sum().backward()
    for each in features:
        assert each.grad[:, -1].abs().sum() > 0 and each.grad[:, 0].abs().sum() == 0


def test_extracted_features_are_the_live_ones_in_fp16():
    encoder = make_encoder("dinov2")
    batches = [np.random.default_rng(k).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8) for k in range(2)]
    found = list(extract(encoder, batches, bf16=False))
    assert found[0].dtype == np.float16 and sum(f.nbytes for f in found) == feature_bytes(encoder, 6)
    with torch.no_grad():
        live = encoder(torch.from_numpy(batches[1])).half().numpy()
    assert np.array_equal(found[1], live)
