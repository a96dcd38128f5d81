"""Omni3D annotation files: a reader into Scene records that counts what it drops, and a writer.
Format and ignore rules: `facebookresearch/omni3d:DATA.md`, `cubercnn/data/datasets.py`.

sources    what the files do not say: fronts, level cameras, names that nobody could ask for (sources.yaml)
values     one value of a record, checked: numbers, matrices, names
images     an image's record; objects: an object's record
agreement  whether the numbers of a record agree with each other
rules      which objects are dropped, and why
table      what waits until a file ends; reading: files to scenes; writing: scenes' records to files
"""

from data_registry.readers.omni3d.reading import read, scene, scenes
from data_registry.readers.omni3d.rules import Rules
from data_registry.readers.omni3d.sources import front_axis, sources
from data_registry.readers.omni3d.writing import Writer, dumps, merge

__all__ = ["Rules", "Writer", "dumps", "front_axis", "merge", "read", "scene", "scenes", "sources"]
