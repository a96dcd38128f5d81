"""Once, for trusted files: ImageNet3D's pickled .npz annotations to one plain Parquet table.
Even then nothing but numpy's arrays and numbers is constructed; a file that asks for more is refused, by name."""

import io
import math
import pickle
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_registry.errors import InputError, nearest

SCHEMA = pa.schema(
    [
        ("image", pa.string()),  # key: path of the picture in the data set's `images`, class/name.JPEG
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("class", pa.string()),
        ("azimuth", pa.float64()),  # radians, as the two below
        ("elevation", pa.float64()),
        ("theta", pa.float64()),
        ("distance", pa.float64()),  # in units of the CAD model, never metres
        ("px", pa.float64()),
        ("py", pa.float64()),
        ("viewport", pa.float64()),
        ("bbox", pa.list_(pa.float64())),
        ("cad_index", pa.int32()),
        ("object_status", pa.string()),
        ("dense", pa.string()),
    ]
)
ANGLES = ("azimuth", "elevation", "theta")
NO_STATUS = "no object_status"
_TURN = 2 * math.pi + 0.01  # radians
_OWN = ("image",)  # columns that are not in the annotation
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how older protocols write bytes
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")  # before and since numpy 2
        for name in ("_reconstruct", "scalar")
    ),
}
# what a cut or altered archive or pickle raises (documented by `pickle` as an open list)
_BROKEN = (
    *(OSError, zipfile.BadZipFile, zlib.error, RuntimeError),
    *(pickle.UnpicklingError, AttributeError, EOFError, ImportError, LookupError, TypeError, ValueError),
)
_BATCH = 5000


def convert_trusted(
    root: str | Path,
    out: str | Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    drops: Counter[str] | None = None,
) -> int:
    """Write the annotations below `root` as one Parquet file that `imagenet3d.read` takes; returns the objects.

    The .npz files are pickles. Convert only files from the data set's authors, with the digest that its card gives;
    the result is plain data and may be handed on.

    Args:
        root: ImageNet3D's `annotations`: class/name.npz.
        out: appears whole, or not at all.
        drops: filled with counts by reason of what is left out: annotations without object_status, which the authors'
            own preprocessing leaves out as well.

    Raises:
        InputError: no files, or nothing left of them; angles in degrees; a file that is no such annotation or wants
            anything but numpy's arrays constructed.
    """
    root, out = Path(root), Path(out)
    paths = sorted(root.glob("**/*.npz"))
    if not paths:
        raise InputError(f"{root}: no .npz files; name the folder ImageNet3D's archive calls `annotations`")
    partial = out.with_name(out.name + ".partial")
    count = 0
    rows: list[dict[str, Any]] = []
    drops = Counter() if drops is None else drops
    try:
        with pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
            for done, path in enumerate(paths, 1):
                rows.extend(_rows(path, root, drops))
                if len(rows) >= _BATCH or done == len(paths):
                    writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                    count, rows = count + len(rows), []
                progress(done, len(paths))
        if not count:
            raise InputError(f"{root}: none of the annotations of its {len(paths)} files is usable: {dict(drops)}")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return count


def check_angles(row: Mapping[str, Any], where: str) -> None:
    """That the angles of an annotation are radians: InputError where one is more than a whole turn."""
    for key in ANGLES:
        if math.isfinite(row[key]) and abs(row[key]) > _TURN:
            raise InputError(
                f"{where}: {key} is {row[key]:g}: more than a turn, so in degrees; angles are radians, "
                f"convert them (value * pi / 180)"
            )


def _rows(path: Path, root: Path, drops: Counter[str]) -> Iterator[dict[str, Any]]:
    picture = path.relative_to(root).with_suffix(".JPEG").as_posix()
    for number, annotation in enumerate(_annotations(path)):
        where = f"{path}: annotation {number}"
        if not isinstance(annotation, dict):
            raise InputError(f"{where}: must be a dict, is {type(annotation).__name__}; fetch the file again")
        if annotation.get("object_status") is None:
            drops[NO_STATUS] += 1
            continue
        row = {"image": picture}
        for field in SCHEMA:
            if field.name in _OWN:
                continue
            if field.name not in annotation:
                spare = [str(key) for key in annotation if key not in SCHEMA.names]
                raise InputError(f"{where}: the key '{field.name}' is missing; {nearest(field.name, spare or ['-'])}")
            row[field.name] = _plain(annotation[field.name], field, where)
        check_angles(row, where)
        yield row


def _plain(value: Any, field: pa.Field, where: str) -> Any:
    try:
        if pa.types.is_string(field.type):
            return str(value)
        if pa.types.is_list(field.type):
            return [float(v) for v in np.asarray(value).reshape(-1)]
        return pa.scalar(int(value) if pa.types.is_integer(field.type) else float(value), field.type).as_py()
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: {field.name} must be {field.type}, is {str(value)[:60]}") from None


def _annotations(path: Path) -> list[Any]:
    """The array `annotations` of an .npz file as a list."""
    try:
        with zipfile.ZipFile(path) as archive:
            file = io.BytesIO(archive.read("annotations.npy"))
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = header(file)
        if not dtype.hasobject:
            raise ValueError(f"an array of {dtype}, not of objects")
        array = _Unpickler(file).load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except _BROKEN as error:
        raise InputError(f"{path}: no annotation of ImageNet3D ({error}); fetch it again") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: annotations must be an array, is {type(array).__name__}; fetch it again")
    return array.reshape(-1).tolist()


class _Unpickler(pickle.Unpickler):
    """Constructs numpy's arrays, types and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise InputError(f"its pickle asks for {module}.{name}, which no annotation needs; do not trust this file")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
