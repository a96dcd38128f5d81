"""What Omni3D's files do not say about their source: fronts, level cameras, and names that are no objects' names."""

import difflib
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data_registry.errors import InputError

AXES = {sign + name: (1 if sign == "+" else -1, i) for sign in "+-" for i, name in enumerate("xyz")}
SEVERAL = "several"  # of a file that `merge` wrote: every image has its own
_ALIKE = 0.85  # share of letters from which a name is taken for a misspelt one: KITTI-360 is not KITTI


@cache
def _table() -> dict[str, Any]:
    return yaml.safe_load(Path(__file__).parents[1].joinpath("sources.yaml").read_text(encoding="utf-8"))


def sources() -> dict[str, dict[str, Any]]:
    """The sources of `sources.yaml` by their `info.source`."""
    return _table()["sources"]


@cache
def front_axis(source: str, category: str) -> tuple[int, int] | None:
    """Sign and index of the object axis that is the semantic front, or None where there is none."""
    for axis, names in sources().get(source, {}).get("front", {}).items():
        if category.casefold() in names:
            return AXES[axis]
    return None


def check(source: str, where: str) -> str:
    """The source, which may be new here; InputError where it is a known one in another spelling."""
    if source not in sources():
        alike = {_letters(name): name for name in sources()}
        close = difflib.get_close_matches(_letters(source), alike, n=1, cutoff=_ALIKE)
        if close:
            raise InputError(
                f"{where}: source {source!r}: unknown, so that no object would have a front; "
                f"did you mean {alike[close[0]]}? (data_registry/readers/sources.yaml)"
            )
    return source


@cache
def ignored(name: str) -> str | None:
    """The plain word ("dontcare") where a category's name says that a region was left out of the annotation."""
    plain = _letters(name)
    return plain if plain in _table()["ignored"] else None


@cache
def unnamed(name: str) -> bool:
    """Whether a category is a rest ("misc", "otherprop") or no word: things that nobody could ask for by that name."""
    return not any(map(str.isalpha, name)) or _letters(name) in _table()["unnamed"]


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()
