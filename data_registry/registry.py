"""Dataset cards: what each data set is in the paper, where it comes from, and how it is made at each scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_registry.errors import InputError, nearest

FOLDER = Path(__file__).parent / "cards"
SCALES = ("tiny", "small", "paper")


@dataclass(frozen=True, slots=True)
class Card:
    """One data set, as its YAML file describes it.

    Attributes:
        name: as in designs and params.yaml; title: as the paper writes it.
        role: what it is for; paper: what the paper's own set is.
        source, license, format: of the real data.
        used_in: stages that read it.
        spatial_3d: whether it teaches anything about 3D space.
        recipe: by scale, what it is made from and what it says.
    """

    name: str
    title: str
    role: str
    paper: str
    source: str
    license: str
    format: str
    used_in: list[str]
    spatial_3d: bool
    recipe: dict[str, dict[str, Any]]


def card(name: str) -> Card:
    """The card of a data set; InputError names the nearest one there is, or the key that a card lacks."""
    path = FOLDER / f"{name}.yaml"
    if name not in names():
        raise InputError(f"{name}: no such data set, {nearest(name, names())} (data_registry/cards)")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    fields = Card.__dataclass_fields__
    for key in content:
        if key not in fields:
            raise InputError(f"{path}: {key}: unknown key, {nearest(key, fields)}")
    if missing := [key for key in fields if key not in content]:
        raise InputError(f"{path}: {missing[0]}: missing; a card has {', '.join(fields)}")
    return Card(**content)


def names() -> list[str]:
    """Names of all cards."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
