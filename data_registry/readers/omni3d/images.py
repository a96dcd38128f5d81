"""An image's record of an Omni3D file: size, camera, path, checked as far as can be without the picture."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from data_registry.errors import InputError, nearest
from data_registry.readers.omni3d import sources
from data_registry.readers.omni3d.values import Values, need
from data_registry.scene import Provenance

_KEYS = ("id", "width", "height", "file_path", "K")
_STATED = ("ground truth", "human", "estimated")
_WIDEST = 1 << 17  # pixels
_MAX_SKEW = 0.05  # of the focal length
_MAX_STRETCH = 2.0  # between the two focal lengths: pixels are about square
_DOWN = 0.2  # sine of the angle by which a picture's top may point below the horizon: turned by hand, not upside down


class Image(NamedTuple):
    """What is kept of an image's record; `K` row by row; `source`, `provenance` if not those of the file."""

    width: int
    height: int
    file_path: str
    K: list[float]
    up: list[float] | None
    kind: str
    source: str | None
    provenance: Provenance | None


def parse(record: Any, values: Values, center_shift: float) -> tuple[int, Image]:
    """An image's id and what is kept of its record.

    Args:
        center_shift: see `rules.Rules`.

    Raises:
        InputError: a missing or wrong value, a camera that is no pinhole's or that of another size.
    """
    record = need(record, _KEYS, values.path, "images")
    number = values.id(record, "images")
    where = f"images: id {number}"
    width, height = (_pixels(record[key], values, where, key) for key in ("width", "height"))
    K = values.matrix(record["K"], 3, where, "K")
    _check_intrinsics(K, width, height, f"{values.path}: {where}", center_shift)
    kind = record.get("scene", "")
    return number, Image(
        width,
        height,
        file_path=values.relative_path(record["file_path"], where, "file_path"),
        K=K,
        up=_up(record, values, where),
        kind=kind if isinstance(kind, str) else str(kind),
        source=source(record, f"{values.path}: {where}"),
        provenance=provenance(record.get("provenance"), f"{values.path}: {where}"),
    )


def source(record: Mapping[str, Any], where: str) -> str | None:
    """`source` of an image or of a file's info, or None where it has none."""
    if "source" not in record:
        return None
    value = record["source"]
    return sources.check(value if isinstance(value, str) else str(value), where)


def provenance(value: Any, where: str) -> Provenance | None:
    if value is not None and value not in _STATED:
        raise InputError(f"{where}: provenance {value!r}: unknown, {nearest(str(value), _STATED)}")
    return value


def _pixels(value: Any, values: Values, where: str, key: str) -> int:
    number = values.number(value, where, key)
    if number != int(number) or not 0 < number <= _WIDEST:
        raise values.wrong(where, key, f"a whole number of pixels, 1 to {_WIDEST}", str(value))
    return int(number)


def _up(record: Mapping[str, Any], values: Values, where: str) -> list[float] | None:
    if "up_cam" not in record:
        return None
    up = values.numbers(record["up_cam"], 3, where, "up_cam")
    if abs(math.hypot(*up) - 1) > 0.01:  # angles on the ground would be wrong
        raise InputError(f"{values.path}: {where}: up_cam must be of length 1, is {up}")
    if up[1] > _DOWN:
        raise InputError(
            f"{values.path}: {where}: up_cam {up} points down in the picture; y of the camera points down, so that up "
            "is about [0, -1, 0]: change its sign"
        )
    return up


def _check_intrinsics(K: list[float], width: int, height: int, where: str, center_shift: float) -> None:
    """That K is a pinhole's and fits the image's size: one of another size puts every box beside its object."""
    fx, skew, cx, below, fy, cy = K[:6]
    if not (fx > 0 and fy > 0 and below == 0 and K[6:] == [0, 0, 1]):
        raise InputError(
            f"{where}: K must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focal lengths, is {K}"
        )
    if abs(skew) > _MAX_SKEW * fx or not 1 / _MAX_STRETCH <= fx / fy <= _MAX_STRETCH:
        raise InputError(
            f"{where}: K has focal lengths {fx:g} and {fy:g} and a skew of {skew:g}; the two are about equal and the "
            "skew about 0 for any camera: correct K"
        )
    shift = max(abs(cx / width - 0.5), abs(cy / height - 0.5))
    if shift > center_shift:
        raise InputError(
            f"{where}: K has its principal point at ({cx:g}, {cy:g}), the image is {width}×{height}; give K for this "
            "size, or this image's size for K"
        )
