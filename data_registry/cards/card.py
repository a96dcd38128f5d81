"""What a data set's card says: what it is, where it comes from, and how it is made at each scale.
A YAML file; a key that is not known is an error that names the nearest one."""

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from data_registry.cards.kinds import KINDS
from data_registry.errors import InputError, nearest

SCALES = ("tiny", "small", "paper")
UNKNOWN = "unknown"  # what a card says of a size, digest or count that its source does not publish


@dataclass(frozen=True, slots=True)
class File:
    """One file of a data set.

    Attributes:
        path: where it lies in the data set's folder; key: at the source, where that differs.
        size: bytes, None where the source does not publish it; sha256: likewise.
        split: which split it belongs to, "" for all.
        bucket, endpoint: where they differ from the card's `obtain`.
    """

    path: str
    size: int | None
    sha256: str | None
    key: str = ""
    split: str = ""
    bucket: str = ""
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A folder of pictures that the user unpacks: its path in the data set's folder, and how many files it has."""

    path: str
    files: int | None
    split: str = ""


@dataclass(frozen=True, slots=True)
class Obtain:
    """How a data set comes here.

    Attributes:
        how: "s3", "hub" (Hugging Face, by pinned revision), "folder" (the user downloads it) or "made" (by us).
        bucket, endpoint, region: of S3; an empty endpoint is Amazon's.
        credentials: "unsigned" for a public bucket, "required" for boto3's chain (environment, profile, role).
        repo, revision: of the hub; None where the revision is not known, so that it must be given.
        accept: address where the licence is accepted, "" where that is not needed.
        put: what to download and where to put it, or by which command it is made.
    """

    how: str
    bucket: str = ""
    endpoint: str = ""
    region: str = ""
    credentials: str = ""
    repo: str = ""
    revision: str | None = ""
    accept: str = ""
    put: str = ""


_NEEDED = {
    "s3": ("bucket", "credentials"),
    "hub": ("repo", "revision"),
    "folder": ("put",),
    "made": ("put",),
}
_CREDENTIALS = ("unsigned", "required")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One data set, as its YAML file describes it.

    Attributes:
        name: as in designs and params.yaml; title: as reports print it, the paper's spelling.
        kind: what it is, one of `KINDS`.
        source, license, format: of the real data.
        obtain: how it comes here; files, pictures: what of it.
        role: what it is for; paper: what the paper's own set is.
        used_in: stages that read it.
        spatial_3d: whether it teaches anything about 3D space.
        made: by scale, what it is made from and what it says, in words; empty for raw sources.
        params: parameters of its data stage run, as data.SCALE.each.NAME of params.yaml would have them. Those of the
            study's own sets are there; a user's own set may have them here instead.
        samples, tokens: as published, and text tokens of each: what a training at paper scale reads of it.
        work: what a training at tiny scale takes on it, beside one on captions.
        order: where it stands among the data of a design's name; those of one number by their names.
        splits: what is in each; counts: as published, a number or words, "unknown" where nothing is.
    """

    name: str
    title: str
    kind: str
    source: str
    license: str
    obtain: Obtain
    role: str = ""
    paper: str = ""
    format: str = ""
    used_in: list[str] = field(default_factory=list)
    spatial_3d: bool = False
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    samples: int | None = None
    tokens: int | None = None
    work: float = 1.0
    order: int = 100
    splits: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int | str] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    pictures: tuple[Pictures, ...] = ()
    notes: str = ""

    @property
    def trains(self) -> bool:
        """Whether trainings read it."""
        return KINDS[self.kind].made is not None


def load(path: str | Path) -> Card:
    """The card in a YAML file.

    Raises:
        InputError: no such file, no YAML, an unknown, missing or wrong key; named with its place.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: a date there is not
        raise InputError(f"{path}: no readable card ({error})") from None
    values = _checked(Card, content, str(path), "a card has")
    values["obtain"] = _obtain(values["obtain"], f"{path}: obtain")
    values["files"] = tuple(_file(item, f"{path}: files[{n}]") for n, item in enumerate(_list(values, "files", path)))
    values["pictures"] = tuple(
        _pictures(item, f"{path}: pictures[{n}]") for n, item in enumerate(_list(values, "pictures", path))
    )
    card = Card(**values)
    _check(card, path)
    return card


def _check(card: Card, path: Path) -> None:
    if card.name != path.stem or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.stem):
        raise InputError(
            f"{path}: name: is {card.name!r}; must be the file's, {path.stem!r}, of small letters, digits and hyphens"
        )
    if card.kind not in KINDS:
        raise InputError(f"{path}: kind: {card.kind!r}: unknown, {nearest(str(card.kind), KINDS)}")
    for key in ("samples", "tokens"):
        value = getattr(card, key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise InputError(f"{path}: {key}: {value!r}: must be a whole number of 1 or more")
    for key, kind, wanted in (("params", Mapping, "keys with values"), ("order", int, "a whole number")):
        if not isinstance(getattr(card, key), kind):
            raise InputError(f"{path}: {key}: {getattr(card, key)!r}: must be {wanted}")
    if isinstance(card.work, bool) or not isinstance(card.work, int | float) or not 0 < card.work < math.inf:
        raise InputError(f"{path}: work: {card.work!r}: must be a number above 0")
    if card.params and not card.trains:
        raise InputError(f"{path}: params: a set of the kind {card.kind} has none; trainings do not read it")
    places = [*(file.path for file in card.files), *(pictures.path for pictures in card.pictures)]
    if twice := [place for k, place in enumerate(places) if place in places[:k]]:
        raise InputError(f"{path}: files: {twice[0]} occurs twice; paths must be unique")


def _obtain(content: Any, where: str) -> Obtain:
    values = _checked(Obtain, content, where, "it has")
    how = values["how"]
    if str(how) not in _NEEDED:
        raise InputError(f"{where}: how: {how!r} is none of our ways, {nearest(str(how), _NEEDED)}")
    if missing := [key for key in _NEEDED[how] if not values.get(key)]:
        raise InputError(f"{where}: {missing[0]}: missing; how: {how} needs {', '.join(_NEEDED[how])}")
    if how == "s3" and values["credentials"] not in _CREDENTIALS:
        credentials = str(values["credentials"])
        raise InputError(f"{where}: credentials: {credentials!r}: unknown, {nearest(credentials, _CREDENTIALS)}")
    if how == "hub":
        values["revision"] = _revision(values["revision"], where)
    return Obtain(**values)


def _revision(value: Any, where: str) -> str | None:
    if value == UNKNOWN or re.fullmatch(r"[0-9a-f]{40}", str(value)):
        return None if value == UNKNOWN else value
    raise InputError(f"{where}: revision: {value!r}: must be a commit's 40 hexadecimal digits, or {UNKNOWN}")


def _file(content: Any, where: str) -> File:
    values = _checked(File, content, where, "a file has")
    values["path"] = _relative(values["path"], where)
    values["size"] = _number(values["size"], f"{where}: size")
    digest = values["sha256"]
    if digest != UNKNOWN and not re.fullmatch(r"[0-9a-f]{64}", str(digest)):
        raise InputError(f"{where}: sha256: {digest!r}: must be 64 hexadecimal digits, or {UNKNOWN}")
    values["sha256"] = None if digest == UNKNOWN else digest
    return File(**values)


def _pictures(content: Any, where: str) -> Pictures:
    values = _checked(Pictures, content, where, "a folder of pictures has")
    values["path"] = _relative(values["path"], where)
    values["files"] = _number(values["files"], f"{where}: files")
    return Pictures(**values)


def _checked(kind: type, content: Any, where: str, has: str) -> dict[str, Any]:
    """A mapping that has the keys of a dataclass: no other one, and all that have no default."""
    known = {key.name: key for key in fields(kind)}
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: must be a mapping; {has} {', '.join(known)}")
    for key in content:
        if key not in known:
            raise InputError(f"{where}: {key}: unknown key, {nearest(str(key), known)}")
    for key, entry in known.items():
        if key not in content and entry.default is MISSING and entry.default_factory is MISSING:
            raise InputError(f"{where}: {key}: missing; {has} {', '.join(known)}")
    return dict(content)


def _list(values: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    content = values.get(key, [])
    if not isinstance(content, list):
        raise InputError(f"{path}: {key}: must be a list, is {str(content)[:60]}")
    return content


def _relative(path: Any, where: str) -> str:
    parts = PurePosixPath(str(path))
    if parts.is_absolute() or ".." in parts.parts or not parts.name:
        raise InputError(f"{where}: path: {path!r}: must be relative and stay in the data set's folder")
    return str(path)


def _number(value: Any, where: str) -> int | None:
    if value == UNKNOWN:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{where}: {value!r}: must be a whole number, or {UNKNOWN}")
    return value
