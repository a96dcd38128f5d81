"""Rendered 3D scenes with exact ground truth: numpy and Pillow only, no display, the same bits in every process.

    from data_registry import render

    world = render.sample(seed=0, index=7)              # what stands where, ~1 ms, nothing rendered
    scene = render.scene(world)                         # its Scene record (visibility unknown), for text alone
    picture = render.render(world, size=96)             # .rgb (96, 96, 3) uint8, .visible and .alone pixels per body
    scene = render.scene(world, 96, "0/000007.jpg", picture)        # Scene with visibility and tight boxes
    picture = render.render(world, 96, maps=True)       # .maps: .body .category .depth .nocs, per pixel
    other = render.another_view(world, 0)               # the same world from another place; render it like any world
    image, annotations = render.records(world, picture, "0/000007.jpg")     # Omni3D records

`world.bodies[:world.labelled]` are the objects, in the order of scene ids, annotations and maps; the rest is scenery.
World (seed, index) does not depend on the image size; another seed has other worlds and other shapes.
An object's frame is x = front, y = down, z = left (Omni3D's); `NAMES` are the categories, `COLORS` the colour names.
"""

from data_registry.render.annotate import DATASET_ID, SOURCE, categories, records, scene
from data_registry.render.catalog import CATEGORIES, KINDS, NAMES
from data_registry.render.layout import another_view, sample
from data_registry.render.palette import COLORS
from data_registry.render.picture import Maps, Picture, render
from data_registry.render.world import Body, World

__all__ = [
    "CATEGORIES",
    "COLORS",
    "DATASET_ID",
    "KINDS",
    "NAMES",
    "SOURCE",
    "Body",
    "Maps",
    "Picture",
    "World",
    "another_view",
    "categories",
    "records",
    "render",
    "sample",
    "scene",
]
