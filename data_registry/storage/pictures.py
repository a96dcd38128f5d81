"""Picture files by the keys that annotations give them: where they may lie, whether they decode, and why not."""

import os
import re
from pathlib import Path, PurePosixPath

from PIL import Image

# what Pillow raises where a picture does not decode
UNDECODABLE = (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)
_ADDRESS = re.compile(r" ?<[^<>]* object at 0x[0-9a-f]+>")
_ORIENTATION = 0x0112  # EXIF's tag for how the camera was held
_SIDEWAYS = (5, 6, 7, 8)


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture with 8 bits per channel as RGB; one of `UNDECODABLE` where it does not decode or has more of them."""
    if image.mode[0] in "IF":
        raise ValueError(f"pixels of mode {image.mode}; more than 8 bits per channel would be cut off at white")
    return image.convert("RGB")


def why(error: BaseException) -> str:
    """An error's text for people: without the addresses of objects in memory."""
    return _ADDRESS.sub("", str(error)) or type(error).__name__


def inside(folder: Path, key: object) -> Path | None:
    """Where a key's file lies below a folder, or None where the key itself leads out of it (absolute, "..").

    A link in the folder is followed wherever it points: who names the folder put it there (Omni3D's instructions say
    to), while keys come from a file that somebody else may have written.
    """
    path = PurePosixPath(str(key))
    if path.is_absolute() or ".." in path.parts:
        return None
    return folder / path


def is_file(path: Path | None) -> bool:
    """Whether there is such a file; no error where the name is too long or the way there is closed."""
    return path is not None and os.path.isfile(path)  # noqa: PTH113 (Path's own raises where a name is too long, or NUL)


def shown(key: object) -> str:
    """A key as a message shows it."""
    text = repr(str(key))
    return text if len(text) <= 100 else f"{text[:60]}...{text[-20:]}"


def is_turned(image: Image.Image) -> bool:
    """Whether a picture's EXIF says that it has to be turned by a quarter to be upright."""
    try:
        return image.getexif().get(_ORIENTATION) in _SIDEWAYS
    except UNDECODABLE:
        return False
