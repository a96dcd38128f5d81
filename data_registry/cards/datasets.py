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
    if name in ADDED:
        return _added_card(ADDED[name])
    if name not in _in_folder(FOLDER):
        raise InputError(f"{name}: no such data set, {nearest(name, names())} (data_registry/cards)")
    return _read(_in_folder(FOLDER)[name], 0)


def names() -> list[str]:
    """Names of all cards."""
    return sorted({*_in_folder(FOLDER), *ADDED})


def training_sets() -> tuple[str, ...]:
    """Names of the data sets that trainings read, in the order in which a design's name has them."""
    return _training_sets(FOLDER, tuple((path, path.stat().st_mtime_ns) for path in ADDED.values()))


def set_added(paths: Iterable[Path]) -> None:
    """Make these a user's own cards, in place of those before.

    Raises:
        InputError: a card is wrong, or another data set has its name.
    """
    added: dict[str, Path] = {}
    for path in paths:
        name = _added_card(path).name
        if other := added.get(name) or _in_folder(FOLDER).get(name):
            raise InputError(f"{path}: {other} describes a data set of that name already; give this one another")
        added[name] = path
    if added != ADDED:  # in place: other threads read it
        for name in set(ADDED) - set(added):
            del ADDED[name]
        ADDED.update(added)


def _added_card(path: Path) -> Card:
    """A user's own, which may be edited while a server runs."""
    return _read(path, path.stat().st_mtime_ns)


# Asked for at every design's name, and there may be ten thousand of these.
@functools.cache
def _in_folder(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


@functools.lru_cache(maxsize=8)
def _training_sets(folder: Path, added: tuple[tuple[Path, int], ...]) -> tuple[str, ...]:
    cards = [entry for entry in map(card, names()) if entry.trains]
    return tuple(entry.name for entry in sorted(cards, key=lambda entry: (entry.order, entry.name)))


@functools.lru_cache(maxsize=256)
def _read(path: Path, changed_ns: int) -> Card:
    return load(path)
