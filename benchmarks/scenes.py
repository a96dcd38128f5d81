"""Scenes rendered per core-second at 96 px, all included, beside a ray caster that only finds what each sample sees.
Also how exact the ground truth is: agreement with that ray caster, and points seen that lie in their object's box."""

import io
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from PIL import Image

from benchmarks.bench import record
from data_registry import render
from data_registry.readers import omni3d
from data_registry.render import World

SIZE = 96
ROUNDS, BATCH = 12, 25
SEED = 0


def ours(index: int) -> None:
    """Everything that the scenes stage does for an image but write it."""
    world = render.sample(SEED, index)
    picture = render.render(world, SIZE)
    image, objects = render.records(world, picture, "x.jpg")
    omni3d.dumps([image, objects])
    Image.fromarray(picture.rgb).save(io.BytesIO(), "JPEG", quality=95, subsampling=0)


def ray_caster(index: int) -> None:
    """The same world and as many samples, ids and depth only: no shading, no shadows, no annotations."""
    cast(render.sample(SEED, index), samples=2)


def cast(world: World, samples: int = 1, offset: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Body index (-1 for none) and depth at samples x samples points per pixel, by embree."""
    triangles, owner = [], []
    for number, body in enumerate(world.bodies):
        corners = body.mesh.points.transpose(2, 1, 0) * np.float32(body.scale)
        placed = corners @ np.array(body.rotation, np.float32).T + np.array(body.position, np.float32)
        eye = np.array(world.view.position, np.float32)
        triangles.append((placed - eye) @ np.array(world.view.rotation, np.float32).T)
        owner.append(np.full(len(corners), number))
    scene = EmbreeScene()
    TriangleMesh(scene, np.concatenate(triangles))
    place = (np.arange(SIZE * samples, dtype=np.float32) + np.float32(offset)) / (SIZE * samples) - np.float32(0.5)
    u, v = np.meshgrid(place / np.float32(world.view.focal), place / np.float32(world.view.focal))
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3)
    hits = scene.run(np.zeros_like(rays), rays, output=1)
    found = hits["primID"]
    return np.where(found >= 0, np.concatenate(owner)[np.maximum(found, 0)], -1), hits["tfar"]


def exactness(count: int = 300) -> dict[str, float]:
    """Worst and mean agreement with the ray caster, and the farthest point of an object from its box's centre."""
    agree, error, reach = [], [], 0.0
    for index in range(count):
        world = render.sample(SEED, index)
        maps = render.render(world, SIZE, maps=True).maps
        body, depth = cast(world, offset=0.75)  # where a map's sample lies in its pixel
        body = np.where(body < world.labelled, body, -1)
        agree.append(float((body == maps.body.reshape(-1)).mean()))
        both = (body == maps.body.reshape(-1)) & (body >= 0)
        error.append(np.abs(depth[both] - maps.depth.reshape(-1)[both]) / depth[both])
        reach = max(reach, float(np.abs(maps.nocs).max()))
    return {
        "id_agreement_mean": round(statistics.mean(agree), 6),
        "id_agreement_worst": round(min(agree), 6),
        "relative_depth_error_median": float(np.median(np.concatenate(error))),
        "relative_depth_error_99": float(np.quantile(np.concatenate(error), 0.99)),
        "farthest_point_in_half_boxes": round(reach, 4),
    }


def rate(work: Callable[[int], None], start: int) -> float:
    """Images per second of this process's own time, so that a busy machine does not count."""
    before = time.process_time()
    for index in range(start, start + BATCH):
        work(index)
    return BATCH / (time.process_time() - before)


if __name__ == "__main__":
    for index in range(200):  # shapes are drawn once and then kept
        ours(index)
    rates = [(rate(ours, start), rate(ray_caster, start)) for start in range(1000, 1000 + ROUNDS * BATCH, BATCH)]
    record(
        "scenes",
        ours=round(statistics.median(r for r, _ in rates), 1),
        peer=round(statistics.median(r for _, r in rates), 1),
        unit="images per core-second",
        peer_name=f"embreex {version('embreex')} (ids and depth only)",
        command="make bench-scenes",
        size=SIZE,
        best=round(max(r for r, _ in rates), 1),
        exactness=exactness(),
    )
