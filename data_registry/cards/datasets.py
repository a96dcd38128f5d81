"""Which data sets there are: the study's own cards in this folder, and those that a user's extensions add."""

import functools
from collections.abc import Iterable
from pathlib import Path

from data_registry.cards.card import Card, load
from data_registry.errors import InputError, nearest

FOLDER = Path(__file__).parent
ADDED: dict[str, Path] = {}  # a user's own: name -> its YAML file


def card(name: str) -> Card:
    """The card of a data set; InputError names the nearest one there is, or the key that a card lacks."""
    if name not in names():
        raise InputError(f"{name}: no such data set, {nearest(name, names())} (data_registry/cards)")
    return _read(ADDED.get(name) or FOLDER / f"{name}.yaml")


def names() -> list[str]:
    """Names of all cards."""
    return sorted({path.stem for path in FOLDER.glob("*.yaml")} | set(ADDED))


def set_added(paths: Iterable[Path]) -> None:
    """Make these a user's own cards, in place of those before.

    Raises:
        InputError: a card is wrong, or another data set has its name.
    """
    added: dict[str, Path] = {}
    for path in paths:
        name = _read(path).name
        other = added.get(name, FOLDER / f"{name}.yaml")
        if other.is_file():
            raise InputError(f"{path}: {other} describes a data set of that name already; give this one another")
        added[name] = path
    if added != ADDED:  # in place: other threads read it
        for name in set(ADDED) - set(added):
            del ADDED[name]
        ADDED.update(added)


def _read(path: Path) -> Card:
    return _read_version(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)  # asked for at every design's name
def _read_version(path: Path, changed_ns: int) -> Card:
    return load(path)
