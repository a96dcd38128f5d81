"""The readers of annotated pictures by name, as `runtime.scenes.NAME.reader` of params.yaml names them."""

from data_registry.errors import InputError, nearest
from data_registry.readers import imagenet3d, kitti, omni3d, openimages
from data_registry.readers.reader import Reader

OMNI3D = "omni3d"  # what stages keep scenes as; the others are written in it first

READERS: dict[str, Reader] = {
    OMNI3D: omni3d.scenes,
    "kitti": kitti.scenes,
    "imagenet3d": imagenet3d.scenes,
    "openimages": openimages.scenes,
}


def reader(name: str, where: str) -> Reader:
    """The reader of that name; InputError, beginning with `where`, names the nearest."""
    if name not in READERS:
        raise InputError(f"{where}: {name!r}: unknown, {nearest(name, READERS)}")
    return READERS[name]
