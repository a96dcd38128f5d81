"""A second solver, which shares no line with the generators: it reads names, not ids, and works in a world frame.
Positions and headings become complex numbers on the ground; boxes are sampled as points."""

import cmath
import math

import numpy as np

from data_registry.scene import Scene, SceneObject

SIZES = {
    "taller": lambda short, long, up: up, "shorter": lambda short, long, up: up,
    "wider": lambda short, long, up: long, "narrower": lambda short, long, up: long,
    "bigger": lambda short, long, up: short * long * up, "smaller": lambda short, long, up: short * long * up,
}  # fmt: skip


class Solver:
    """Answers questions about one scene from its 3D boxes."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        up = scene.camera.up
        z = np.array([0.0, -1.0, 0.0]) if up is None else up / np.linalg.norm(up)
        forward = np.array([0.0, 0.0, 1.0])
        y = forward - forward.dot(z) * z
        y /= np.linalg.norm(y)
        # World from camera: rows are the world's axes, the camera stands at its origin.
        self.world = np.eye(4)
        self.world[:3, :3] = [np.cross(y, z), y, z]

    def find(self, name: str) -> SceneObject:
        """The one object a person could mean by "the red car" or "the car"."""
        name = name.removeprefix("the ")
        matches = [o for o in self.scene.objects if name in (o.name, f"{o.color} {o.name}")]
        assert len(matches) == 1, f"{name!r} means {len(matches)} objects of {self.scene.image}"
        assert matches[0].name not in self.scene.others, f"{name!r} may also mean a dropped object"
        return matches[0]

    def pose(self, obj: SceneObject) -> np.ndarray:
        """(4, 4) world from object, whose axes are front, down and left."""
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = obj.R, obj.center
        return self.world @ local

    def ground(self, obj: SceneObject) -> complex:
        """Where an object stands on the ground: right is real, forward imaginary."""
        x, y = self.pose(obj)[:2, 3]
        return complex(x, y)

    def heading(self, obj: SceneObject) -> complex:
        """Its front on the ground."""
        assert obj.front is not None, f"{obj.name} has no front"
        x, y, _ = self.world[:3, :3] @ obj.front
        return complex(x, y) / abs(complex(x, y))

    def bearing(self, x: SceneObject, y: SceneObject) -> float:
        """Degrees from the front of x, to the left, to y."""
        return math.degrees(cmath.phase((self.ground(y) - self.ground(x)) / self.heading(x)))

    def level(self, obj: SceneObject) -> np.ndarray:
        """(4, 4) world from object if it were upright: front, down and left, with the front's own heading.

        An object that stands upright already has this frame from its rotation, left being R's third axis.
        """
        heading, frame = self.heading(obj), np.eye(4)
        front, down = np.array([heading.real, heading.imag, 0.0]), np.array([0.0, 0.0, -1.0])
        frame[:3, :3] = np.stack([front, down, np.cross(front, down)], axis=1)
        frame[:3, 3] = self.pose(obj)[:3, 3]
        if self.pose(obj)[2, 1] < -0.999:
            assert np.allclose(frame, self.pose(obj), atol=0.07), "the front or the left of a box is not where R says"
        return frame

    def side(self, x: SceneObject, y: SceneObject) -> str:
        """front, left, behind or right of x, by the coordinates of y in the frame of x."""
        local = np.linalg.inv(self.level(x)) @ self.pose(y)[:, 3]
        ahead, left = local[0], local[2]
        if abs(ahead) > abs(left):
            return "front" if ahead > 0 else "behind"
        return "left" if left > 0 else "right"

    def shown(self, x: SceneObject) -> str:
        """Which of its sides x turns to the camera, which is the world's origin."""
        ahead, _, left = (np.linalg.inv(self.level(x)) @ [0, 0, 0, 1])[:3]
        if abs(ahead) > abs(left):
            return "front" if ahead > 0 else "back"
        return "left side" if left > 0 else "right side"

    def distance(self, x: SceneObject, y: SceneObject | None = None) -> float:
        """Metres between centres, or to the camera."""
        return float(np.linalg.norm(x.center - (0 if y is None else y.center)))

    def corners(self, obj: SceneObject) -> np.ndarray:
        """(8, 3) corners of its box in the world."""
        return obj.corners() @ self.world[:3, :3].T

    def edges(self, obj: SceneObject) -> tuple[float, float, float]:
        """Metres of an upright box: the shorter and the longer side on the ground, and how far it reaches up."""
        corners = self.corners(obj)
        ground = np.sort(np.abs((corners - corners[0]) @ [1, 1j, 0]))  # each of the four corners twice
        return float(ground[2]), float(ground[4]), float(np.ptp(corners[:, 2]))

    def gap(self, x: SceneObject, y: SceneObject) -> float:
        """Metres between two boxes, by points on a fine grid in each."""
        steps = np.stack(np.meshgrid(*[np.linspace(0, 1, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
        points = []
        for obj in (x, y):
            c = self.corners(obj)
            points.append(c[0] + steps @ (c[[1, 3, 4]] - c[0]))
        return float(np.linalg.norm(points[0][:, None] - points[1][None], axis=-1).min())

    def answer(self, type_: str, slots: dict[str, str], options: tuple[str, str]) -> str:
        """The right one of two options, given what fills the question's places."""
        ref = {k: self.find(v) for k, v in slots.items() if k in ("x", "y")}
        if type_ in ("closer_to_viewer", "farther_from_viewer", "closer_to_object", "farther_from_object"):
            pick = min if type_.startswith("closer") else max
            return pick(options, key=lambda option: self.distance(self.find(option), ref.get("x")))
        if type_ == "facing_object":
            return min(options, key=lambda option: abs(self.bearing(ref["x"], self.find(option))))
        if type_ == "object_on_side":
            return next(o for o in options if self.side(ref["x"], self.find(o)) == slots["side"])
        if type_ == "object_ahead":
            wanted = "front" if "front" in slots.get("side", slots.get("side_of", "")) else "behind"
            return next(o for o in options if self.side(ref["x"], self.find(o)) == wanted)
        if type_ == "left_or_right":
            return next(o for o in options if self.side(ref["x"], ref["y"]) in o)
        if type_ == "front_or_behind":
            return next(o for o in options if self.side(ref["x"], ref["y"]) in o)
        if type_ == "same_direction":
            angle = abs(cmath.phase(self.heading(ref["x"]) / self.heading(ref["y"])))
            return next(o for o in options if ("same" in o) == (angle < math.pi / 4))
        if type_ == "side_to_viewer":
            return next(o for o in options if self.shown(ref["x"]) in o)
        if type_ == "towards_viewer":
            return next(o for o in options if {"front": "towards", "back": "away"}[self.shown(ref["x"])] in o)
        if type_ == "pointing":
            return next(o for o in options if {"left side": "left", "right side": "right"}[self.shown(ref["x"])] in o)
        if type_ == "next_to":
            return min(options, key=lambda option: self.gap(ref["x"], self.find(option)))
        if type_ == "side_to_object":
            return next(o for o in options if self.side(ref["x"], ref["y"]).replace("behind", "back") in o)
        if type_ == "parallel":
            along = abs((self.heading(ref["x"]) / self.heading(ref["y"])).real)
            return next(o for o in options if (o == "parallel") == (along > math.sqrt(0.5)))
        if type_ == "above_or_below":
            rise = self.pose(ref["x"])[2, 3] - self.pose(ref["y"])[2, 3]
            assert abs(rise) > 1.7 * abs(self.ground(ref["x"]) - self.ground(ref["y"]))
            return next(o for o in options if (o == "above") == (rise > 0))
        if type_ in ("higher", "lower"):
            pick = max if type_ == "higher" else min
            return pick(options, key=lambda option: self.pose(self.find(option))[2, 3])
        if type_ in SIZES:
            pick = min if type_ in ("shorter", "narrower", "smaller") else max
            return pick(options, key=lambda option: SIZES[type_](*self.edges(self.find(option))))
        raise AssertionError(f"no solution for {type_}")
