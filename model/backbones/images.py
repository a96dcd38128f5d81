"""Images as the encoders want them: whole, padded to a square, never cropped.
A crop can remove the object that the question is about (LLaVA's stage 1 crops; this project pads in both stages)."""

import io

import numpy as np
from PIL import Image, ImageOps

from data_registry.errors import InputError
from data_registry.storage.pictures import UNDECODABLE, to_rgb, why

PAD_COLOR = (122, 116, 104)  # CLIP's mean pixel, as LLaVA pads


def decode_image(data: bytes, name: str, upright: bool = False) -> Image.Image:
    """An RGB image from an encoded file; InputError names it when it does not decode.

    `upright`: turned as a camera noted it; annotations of data sets are of the pixels as they are stored.
    """
    try:
        image = Image.open(io.BytesIO(data))
        return to_rgb(ImageOps.exif_transpose(image) if upright else image)
    except UNDECODABLE as error:
        raise InputError(f"image {name}: does not decode ({why(error)}); replace the file or drop the sample") from None


def pad_to_square(image: Image.Image, color: tuple[int, int, int] = PAD_COLOR) -> Image.Image:
    """The image in the middle of a square of its longer side."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    square = Image.new("RGB", (side, side), color)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def to_pixels(image: Image.Image, size: int) -> np.ndarray:
    """(3, size, size) uint8 of the whole image, padded to a square and resized bicubically."""
    square = pad_to_square(to_rgb(image))
    if square.size != (size, size):
        square = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1))
