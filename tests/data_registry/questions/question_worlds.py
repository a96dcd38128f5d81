"""Random scenes made straight from a world: upright boxes on a ground, seen by a pitched and rolled camera."""

import math
import random

import numpy as np

from data_registry.scene import Camera, Scene, SceneObject

NAMES = {
    "street": ("car", "bus", "truck", "motorcycle", "airplane", "person", "dog"),
    "room": ("chair", "sofa", "bed", "television", "cabinet", "person", "dog"),
    "table": ("laptop", "mug", "duck", "teapot", "shoe", "camera"),
}
SIZE = {"street": 1.0, "room": 0.5, "table": 0.08}
COLORS = ("red", "blue", "green", "white", "black", "yellow", "purple", "brown")
WIDTH = 96


def camera_from_world(pitch: float, roll: float) -> np.ndarray:
    """(3, 3) rotation from a world with x right, y forward, z up to a camera with x right, y down, z forward."""
    level = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    down = np.array(
        [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    )  # about the camera's x: positive pitch looks down
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    return turn @ down @ level


def random_scene(rng: random.Random, index: int = 0, objects: int | None = None, up: bool = True) -> Scene:
    """A scene of three to six objects; now and then two share a name, lack a front, or a third is dropped."""
    kind = rng.choice(sorted(NAMES))
    unit = SIZE[kind]
    rotation = camera_from_world(rng.uniform(0, 0.5), rng.uniform(-0.05, 0.05))
    height = rng.uniform(1, 3) * unit
    found = []
    for k in range(objects or rng.randint(3, 6)):
        yaw, depth = rng.uniform(0, 2 * math.pi), rng.uniform(3, 25) * unit
        size = np.array([rng.uniform(0.4, 3), rng.uniform(0.4, 2), rng.uniform(0.4, 3)]) * unit  # w, h, l
        lift = rng.uniform(2, 4) * unit if rng.random() < 0.1 else 0.0
        base = np.array([rng.uniform(-0.5, 0.5) * depth, depth, lift + size[1] / 2 - height])
        front, left = (
            np.array([math.cos(yaw), math.sin(yaw), 0]),
            np.array([-math.sin(yaw), math.cos(yaw), 0]),
        )
        center = rotation @ base
        if center[2] < 0.5 * unit:
            continue
        R = rotation @ np.stack([front, [0, 0, -1], left], axis=1)
        middle = 90 * center[:2] / center[2] + WIDTH / 2
        half = 90 * size[1] / center[2] / 2 + 5
        box = np.clip([middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half], 0, WIDTH)
        found.append(
            SceneObject(
                id=100 * index + k,
                name=rng.choice(NAMES[kind]),
                center=center,
                dimensions=size,
                R=R,
                front=R[:, 0].copy() if rng.random() < 0.9 else None,
                bbox=box,
                color=rng.choice(COLORS),
                visibility=rng.choice((1.0, 0.7, 0.3)) if rng.random() < 0.3 else 1.0,
                truncation=0.0,
            )
        )
    others = (rng.choice(NAMES[kind]),) if rng.random() < 0.15 else ()
    K = np.array([[90.0, 0, WIDTH / 2], [0, 90, WIDTH / 2], [0, 0, 1]])
    gravity = rotation @ np.array([0.0, 0, 1]) if up else None
    return Scene("test", f"{kind}/{index:05d}.jpg", Camera(WIDTH, WIDTH, K, gravity), tuple(found), others, kind)


def random_scenes(count: int, seed: int = 0) -> list[Scene]:
    """As many random scenes, the same for the same seed."""
    rng = random.Random(seed)
    return [random_scene(rng, k) for k in range(count)]
