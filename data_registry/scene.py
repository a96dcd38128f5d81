"""The Scene record: one image, its camera and its objects in 3D.
It is the only thing a question generator sees; every source of data is a reader that yields these."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

Provenance = Literal["ground truth", "human", "estimated", "unavailable"]


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera in Omni3D's frame: +x right, +y down, +z forward, metres.

    Attributes:
        width, height: image size in pixels; pixel i covers [i, i + 1).
        K: (3, 3) intrinsics in pixels.
        up: (3,) unit vector against gravity in camera coordinates, or None where gravity is unknown.
    """

    width: int
    height: int
    K: np.ndarray
    up: np.ndarray | None = None

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) of camera-frame points (n, 3) in metres; meaningless where z <= 0."""
        uvw = points @ self.K.T
        return uvw[:, :2] / uvw[:, 2:]


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object with its oriented 3D box in camera coordinates (`facebookresearch/omni3d:DATA.md`).

    Attributes:
        id: the source's annotation id, unique in its image.
        name: category name as a person says it ("car").
        center: (3,) centre of the box in metres, or None where metric position is unavailable.
        dimensions: (3,) width, height, length in metres (Omni3D's order), or None.
        R: (3, 3) rotation object -> camera, or None.
        front: (3,) unit vector of the semantic front in camera coordinates, or None: then no orientation question.
            Without a centre, front and R are in the frame of a camera that looks straight at the object (ImageNet3D).
        bbox: (4,) x1, y1, x2, y2 in pixels, clipped to the image.
        color: name of the dominant colour, or None.
        visibility: visible share of the object's pixels, 0..1, or None where unknown.
        truncation: share of the object outside the image, 0..1, or None where unknown.
        provenance: where the values came from, by attribute name.
    """

    id: int
    name: str
    center: np.ndarray | None
    dimensions: np.ndarray | None
    R: np.ndarray | None
    front: np.ndarray | None
    bbox: np.ndarray
    color: str | None = None
    visibility: float | None = None
    truncation: float | None = None
    provenance: dict[str, Provenance] = field(default_factory=dict)

    def corners(self) -> np.ndarray:
        """(8, 3) corners v0..v7 in metres: x = ±L/2, y = ±H/2, z = ±W/2, in Omni3D's order."""
        return box_corners(required(self.center), required(self.dimensions), required(self.R))


def required(value: np.ndarray | None) -> np.ndarray:
    """A value of an object that the caller knows to be there; ValueError where it is not."""
    if value is None:
        raise ValueError("a value that this object does not have")
    return value


def box_corners(center: np.ndarray, dimensions: np.ndarray, R: np.ndarray) -> np.ndarray:
    """(8, 3) corners in metres of a box: centre (3,), dimensions (width, height, length), R (3, 3) object -> camera."""
    w, h, l = dimensions
    return center + (_CORNERS * [l, h, w]) @ R.T


_CORNERS = (
    np.array([[-1, -1, -1], [1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]) / 2
)


class Region(NamedTuple):
    """A part of an image that its annotators left out: it may hold any number of objects of any name.

    Attributes:
        name: the source's word for it: "dontcare", "ignore" (objects that nobody labelled) or "void" (no object's).
        bbox: (4,) x1, y1, x2, y2 in pixels, clipped to the image; the whole image where the source does not say.
    """

    name: str
    bbox: np.ndarray


@dataclass(frozen=True, slots=True)
class Scene:
    """An image with its camera and the objects that survived the reader's ignore rules.

    Attributes:
        source: data set, e.g. "rendered" or "KITTI".
        image: the image's key in the source's shards (Omni3D's file_path).
        camera: see `Camera`.
        objects: every kept object; names need not be unique.
        others: names of objects that were dropped but are in the image; a name is unique only if absent here too.
        kind: "street", "room", "table" or "" where unknown.
        ignored: regions that were left out of the annotation; a name is unique only where none of them may hold it.
    """

    source: str
    image: str
    camera: Camera
    objects: tuple[SceneObject, ...]
    others: tuple[str, ...] = ()
    kind: str = ""
    ignored: tuple[Region, ...] = ()
