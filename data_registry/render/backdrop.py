"""Ground, walls and sky behind the bodies, computed per pixel from the rays, without triangles.
A room is seen as if its near walls were not there, so that a camera may step back through them."""

import math
from typing import overload

import numpy as np

from data_registry.render.textures import color_at
from data_registry.render.world import Surface, World

F = np.float32
_FAR = 400.0  # metres; the ground ends here
_FOG = (40.0, 160.0)  # metres to where haze begins, and over which it closes


@overload
def backdrop(world: World, rays: np.ndarray, pixel: float, shade: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def backdrop(world: World, rays: np.ndarray, pixel: float, shade: None) -> tuple[None, np.ndarray]: ...
def backdrop(
    world: World, rays: np.ndarray, pixel: float, shade: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray]:
    """Colour and depth where only the surroundings are seen.

    Args:
        rays: (3, n) float32 world directions of the pixels, with depth 1 per unit.
        pixel: size of a pixel at depth 1.
        shade: (n,) share of each pixel that lies in the bodies' shadow if it shows the ground; None: depth only.

    Returns:
        (3, n) float32 colours (None without shade), (n,) float32 depths in metres, inf for the sky.
    """
    if world.setting.room is None:
        return _outdoors(world, rays, pixel, shade)
    return _indoors(world, world.setting.room, rays, pixel, shade)


def _outdoors(
    world: World, rays: np.ndarray, pixel: float, shade: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray]:
    _, _, height = world.view.position
    with np.errstate(divide="ignore"):
        depth = np.where(rays[2] < 0, F(-height) / rays[2], F(np.inf))
    depth[depth > _FAR] = np.inf
    if shade is None:
        return None, depth
    top, low = (np.array(c, F)[:, None] for c in world.setting.sky)
    rise = rays[2] / np.sqrt(rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2])
    color = low + (top - low) * np.clip(rise * F(2.2), 0, 1)
    ground = np.flatnonzero(np.isfinite(depth))
    seen, away = rays[:, ground], depth[ground]
    footprint = away * F(pixel) / np.maximum(-seen[2], F(0.025))
    albedo = color_at(
        world.setting.ground,
        F(world.view.position[0]) + seen[0] * away,
        F(world.view.position[1]) + seen[1] * away,
        footprint,
    )
    haze = np.clip((away - F(_FOG[0])) * F(1 / _FOG[1]), 0, 1)
    lit = albedo * _ground_light(world, shade[ground])
    color[:, ground] = lit + (low - lit) * haze
    return color, depth


def _indoors(
    world: World, room: tuple[float, ...], rays: np.ndarray, pixel: float, shade: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray]:
    setting = world.setting
    c, s = F(math.cos(setting.yaw)), F(math.sin(setting.yaw))
    eye_x, eye_y, eye_z = (F(v) for v in world.view.position)
    ex, ey = c * eye_x + s * eye_y, c * eye_y - s * eye_x
    dx, dy, dz = c * rays[0] + s * rays[1], c * rays[1] - s * rays[0], rays[2]
    x0, x1, y0, y1, z0, z1 = (F(v) for v in room)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_x = (np.where(dx > 0, x1, x0) - ex) / dx
        to_y = (np.where(dy > 0, y1, y0) - ey) / dy
        to_z = (np.where(dz > 0, z1, z0) - eye_z) / dz
    depth = np.minimum(np.minimum(np.abs(to_x), np.abs(to_y)), np.abs(to_z))
    on_table = np.zeros(len(depth), bool)
    if setting.table is not None:
        with np.errstate(divide="ignore"):
            to_top = np.where(dz < 0, -eye_z / dz, F(np.inf))
        u, v = ex + dx * to_top, ey + dy * to_top
        a0, a1, b0, b1 = (F(v) for v in setting.table)
        on_table = (to_top < depth) & (u > a0) & (u < a1) & (v > b0) & (v < b1)
        depth = np.where(on_table, to_top, depth)
    if shade is None:
        return None, depth
    px, py, pz = ex + dx * depth, ey + dy * depth, eye_z + dz * depth
    level = depth == np.abs(to_z)
    sideways = ~level & (depth == np.abs(to_x))
    color = np.empty((3, len(depth)), F)
    grounded = on_table if setting.table is not None else level & (dz < 0)
    ambient = np.array(world.light.sky, F)[:, None]
    sun = np.array(world.light.sun, F)[:, None]

    def paint(
        where: np.ndarray, surface: Surface, u: np.ndarray, v: np.ndarray, slope: np.ndarray, light: np.ndarray
    ) -> None:
        i = np.flatnonzero(where)
        if len(i):
            footprint = depth[i] * F(pixel) / np.maximum(np.abs(slope[i]), F(0.025))
            color[:, i] = color_at(surface, u[i], v[i], footprint) * (light[:, i] if light.shape[1] > 1 else light)

    paint(grounded, setting.ground, px, py, dz, _ground_light(world, shade))
    if setting.table is not None:
        paint(level & (dz < 0) & ~on_table, setting.floor, px, py, dz, (ambient + F(0.2) * sun) * F(0.9))
    ceiling = np.flatnonzero(level & (dz > 0) & ~on_table)
    color[:, ceiling] = F(0.9) * ambient + F(0.28) * sun
    # skirting: a dark line where wall meets floor helps to read the room's depth
    walls = (ambient * F(1.05) + sun * F(0.22)) * np.where(pz < z0 + F(0.1), F(0.62), F(1))
    paint(sideways & ~on_table, setting.wall, py, pz, dx, walls * F(0.93))
    paint(~sideways & ~level & ~on_table, setting.wall, px, pz, dy, walls)
    return color, depth


def _ground_light(world: World, shade: np.ndarray) -> np.ndarray:
    """(3, n) light on level ground; indoors some light reaches into shadows from the walls."""
    ambient, sun = np.array(world.light.sky, F)[:, None], np.array(world.light.sun, F)[:, None]
    open_, dark = ambient + sun * F(world.light.direction[2]), ambient * F(0.92)
    if world.setting.room is not None:
        dark = dark + sun * F(0.1)
    return open_ + (dark - open_) * shade
