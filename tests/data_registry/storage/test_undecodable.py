"""Pictures at which Pillow raises other errors than it documents: every reader still says which one it is."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from data_registry.errors import InputError
from data_registry.readers import kitti, llava, openimages
from data_registry.storage import shards
from data_registry.viewing import show
from tasks.sources import given_scenes


def _much_text() -> bytes:
    said, out = PngImagePlugin.PngInfo(), io.BytesIO()
    said.add_text("Comment", "x" * (2 << 20), zip=True)
    Image.new("RGB", (6, 4)).save(out, "PNG", pnginfo=said)
    return out.getvalue()


def _huge() -> bytes:
    """60,000 × 60,000 pixels, as its header says, of which none follows."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0), b"IDAT"
    lengths_and_sums = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(lengths_and_sums)


def _broken_avif() -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    Image.fromarray(noise).save(out, "AVIF")
    data = bytearray(out.getvalue())
    at = data.index(b"mdat") + 4
    data[at:] = b"\xff" * (len(data) - at)
    return bytes(data)


def _many_bits() -> bytes:
    """Sixteen of each pixel, of which Pillow's RGB would keep the lowest eight and make the others white."""
    out = io.BytesIO()
    Image.fromarray(np.linspace(0, 65_535, 24).reshape(4, 6).astype(np.uint16)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(
    params=[_much_text, _huge, _broken_avif, _many_bits],
    ids=["ValueError", "DecompressionBombError", "RuntimeError", "16 bits"],
)
def folder(request, tmp_path):
    """As KITTI's, and with the same picture in a shard and as an OpenImages one."""
    data = request.param()
    for name in ("label_2", "calib", "image_2"):
        (tmp_path / name).mkdir()
    for name in ("image_2/000007.png", "a.jpg"):
        (tmp_path / name).write_bytes(data)
    with shards.Writer(tmp_path) as writer:
        writer.add("a.jpg", data, 6, 4)
    return tmp_path


def test_pictures_that_are_read_whole(folder):
    with pytest.raises(InputError, match=r"image a\.jpg does not decode"):
        shards.Images(folder)["a.jpg"]
    images = llava.DecodedImages(folder)
    assert "a.jpg" not in images and images.undecodable == {"a.jpg"}
    with pytest.raises(InputError, match=r"a\.jpg: no readable image"):
        show._from_folder(folder)("a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: does not decode"):
        given_scenes.picture(folder, "a.jpg", folder / "x.json")


@pytest.mark.parametrize("folder", [_much_text, _huge], ids=["ValueError", "DecompressionBombError"], indirect=True)
def test_pictures_of_which_the_size_is_read(folder):
    with pytest.raises(InputError, match=r"a\.jpg: does not decode"):
        openimages.folder_sizes(folder)("a.jpg")
    with pytest.raises(InputError, match=r"000007\.png: does not decode"):
        kitti.records(folder, "000007")
