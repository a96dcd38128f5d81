"""What every reader of annotated pictures is: a function from a source's files to Scene records, counting its drops.
Each module of this folder that reads scenes has one by the name `scenes`."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from data_registry.scene import Scene


class Reader(Protocol):
    """Reads one source, a picture's annotations in memory at a time."""

    def __call__(self, annotations: Path, pictures: Path, drops: Counter[str]) -> Iterator[Scene]:
        """Scenes in the order of the source.

        Args:
            annotations: the source's file, or the folder of its files.
            pictures: the folder where the pictures' keys (`Scene.image`) start.
            drops: filled with counts by reason, and under "images" and "objects" with how many there were.

        Raises:
            InputError: annotations that are missing or break the source's format.
        """
