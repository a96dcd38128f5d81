"""Conversation files (LLaVA's JSON as of CC558K and Mix665K, and other forms) as ours, record by record.
A record that breaks the format is counted by reason, or refused with its index; missing images are named."""

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from data_registry import conversations
from data_registry.errors import InputError
from data_registry.readers import chat_forms
from data_registry.storage.pictures import UNDECODABLE, inside, is_file, to_rgb

_ROLES = ("human", "gpt")
_MISSING, _UNDECODABLE = "image is missing", "image does not decode"


@dataclass(slots=True)
class Audit:
    """What a reader met: how many records there were, how many it dropped by reason, and which images are missing or do
    not decode. left_out: of records that are kept, parts that are not taken, by what they are."""

    records: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> int:
        return self.records - self.drops.total()


def read(
    path: str | Path,
    name: str,
    kind: str,
    images: Container[str] | None,
    audit: Audit | None = None,
    strict: bool = False,
) -> Iterator[dict[str, Any]]:
    """Records as `conversations.write` takes them, one in memory at a time.

    The image mark is moved to where we have it: LLaVA has it before or after the first question. Ids become
    NAME/ID#INDEX, since Mix665K repeats ids; the index is the record's in the file.

    Args:
        path: a JSON list, or JSON Lines, of {id, image, conversations: [{from, value}]}, or one of the other forms that
            `chat_forms` knows; `image` is absent in text-only records.
        name: of the data set, as its card has it.
        kind: the type of every pair, e.g. "caption".
        images: which image keys there are (`shards.Images`, `FolderImages`, `DecodedImages`); None: not checked.
        audit: filled while reading.
        strict: refuse the first broken record instead of counting it.

    Raises:
        InputError: broken JSON (with the byte or line), no records; if strict, the first broken record with its index.
    """
    audit = Audit() if audit is None else audit
    for index, written in enumerate(chat_forms.records(Path(path))):
        audit.records += 1
        record, broken, system = _checked(written, images)
        if broken:
            of_image = broken in (_MISSING, _UNDECODABLE)
            if strict:
                what = f" ({record['image']})" if of_image else ""
                raise InputError(f"{path}: record {index}: {broken}{what}; correct or remove it, or do without strict")
            audit.drops[broken] += 1
            if of_image:
                audit.missing.append(record["image"])
            continue
        audit.left_out.update({"system turn": system} if system else {})
        yield _converted(record, index, name, kind)
    if not audit.records:
        raise InputError(f"{path}: has no records; export it again, or name the file that has them")


def _checked(written: Any, images: Container[str] | None) -> tuple[dict[str, Any], str | None, int]:
    """A record in LLaVA's fields, why it is dropped if it is, and how many system turns were left out."""
    try:
        record, system = chat_forms.normal(written)
    except chat_forms.Unsupported as error:
        return {}, str(error), 0
    return record, _broken(record) or _lacking(record, images), system


def convert(
    path: str | Path,
    out: str | Path,
    name: str,
    kind: str,
    images: Container[str] | None,
    strict: bool = False,
) -> Audit:
    """Write the records of a file as Parquet, whole or not at all; arguments as in `read`."""
    out, audit = Path(out), Audit()
    partial = out.with_name(out.name + ".partial")
    try:
        conversations.write(partial, read(path, name, kind, images, audit, strict))
        if not audit.kept:
            raise InputError(f"{path}: none of its {audit.records} records is usable: {_listed(audit.drops)}")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return audit


@dataclass(frozen=True, slots=True)
class FolderImages:
    """The pictures below a folder by relative path, looked up on disk; a path that itself leads out is not there."""

    folder: Path

    def __contains__(self, key: object) -> bool:
        return is_file(inside(self.folder, key))


class DecodedImages:
    """Those of the pictures below a folder that decode; `undecodable` are the keys that were found not to."""

    def __init__(self, folder: Path) -> None:
        self.there, self.undecodable = FolderImages(folder), set[object]()
        self._good: set[object] = set()

    def __contains__(self, key: object) -> bool:
        if key not in self._good and key not in self.undecodable and key in self.there:
            good = _decodes(self.there.folder / str(key))
            (self._good if good else self.undecodable).add(key)
        return key in self._good


def _decodes(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            to_rgb(image)
    except UNDECODABLE:
        return False
    return True


def _broken(record: dict[str, Any]) -> str | None:
    """Why a record breaks the format, or None. Only then may its fields be taken for granted."""
    for check in (_broken_fields, _broken_turns, _broken_marks, _broken_text):
        if reason := check(record):
            return reason
    return None


def _broken_fields(record: dict[str, Any]) -> str | None:
    if not isinstance(record.get("id"), str | int):
        return "has no id"
    image = record.get("image")
    if image is not None and not (isinstance(image, str) and image):
        return "image is no path"
    return None


def _broken_turns(record: dict[str, Any]) -> str | None:
    said = record.get("conversations")
    if not isinstance(said, list) or not said:
        return "has no conversation"
    for turn in said:
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            return "a turn has no text"
    if [turn.get("from") for turn in said] != [_ROLES[k % 2] for k in range(len(said))]:
        return "turns are not human and gpt in turn"
    if len(said) % 2:
        return "the last question has no answer"
    if not all(turn["value"].strip() for turn in said[1::2]):
        return "an answer is empty"
    return None


def _broken_marks(record: dict[str, Any]) -> str | None:
    marks = [turn["value"].count(chat_forms.MARK) for turn in record["conversations"]]
    if any(marks[1:]) or marks[0] > 1:
        return "an image mark outside the start"
    if marks[0] and record.get("image") is None:
        return "an image mark without an image"
    if record.get("image") is not None and not marks[0]:
        return "an image without its mark"
    if not _question(record["conversations"][0]["value"]) and record.get("image") is None:
        return "a question is empty"
    return None


def _broken_text(record: dict[str, Any]) -> str | None:
    texts = str(record["id"]), record.get("image") or "", *(turn["value"] for turn in record["conversations"])
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:  # JSON may spell it, as of an emoji that was cut, but no file can hold it
        return "half of a surrogate pair"
    return None


def _lacking(record: dict[str, Any], images: Container[str] | None) -> str | None:
    """What is wrong with a record's image, if it has one and it is checked."""
    key = record.get("image")
    if images is None or key is None or key in images:
        return None
    return _UNDECODABLE if key in getattr(images, "undecodable", ()) else _MISSING


def _question(text: str) -> str:
    """A first question without its image mark."""
    return text.replace(chat_forms.MARK, "").strip()


def _converted(record: dict[str, Any], index: int, name: str, kind: str) -> dict[str, Any]:
    image, said = record.get("image"), record["conversations"]
    turns = [
        conversations.Turn(_question(human["value"]) if k == 0 else human["value"], gpt["value"], kind)
        for k, (human, gpt) in enumerate(zip(said[::2], said[1::2], strict=True))
    ]
    return conversations.record(f"{name}/{record['id']}#{index}", image, turns)


def _listed(drops: Counter[str]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in drops.most_common()) or "it is empty"
