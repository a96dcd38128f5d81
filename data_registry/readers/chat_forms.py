"""Conversations as others write them, brought into LLaVA's fields: id, image, conversations [{from, value}].
Known: LLaVA's own, ShareGPT's roles, `messages` with `role` and `content` (OpenAI, Hugging Face), `images`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_registry.errors import InputError
from data_registry.readers.json_stream import elements

MARK = "<image>"
SYSTEM = "system"
_ROLES = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt", "model": "gpt", "system": SYSTEM}
_LONGEST_LINE = 1 << 26  # characters of one record; more than that is no record
_OTHER_MEDIA = ("video", "videos", "audio", "audios")


class Unsupported(Exception):
    """Why a record cannot be brought into LLaVA's fields."""


def records(path: Path) -> Iterator[Any]:
    """The records of a JSON list, or of JSON Lines (one record a line), in order, one in memory at a time.

    Raises:
        InputError: no such file, or neither of the two; the message names the byte or the line.
    """
    yield from _lines(path) if _is_lines(path) else elements(path)


def _is_lines(path: Path) -> bool:
    """Whether a file begins with an object: a list of records begins with its bracket."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False  # `elements` says why
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig") as file:
        number = 0
        try:
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if line.strip():
                    yield json.loads(line)
        except RecursionError:
            raise InputError(f"{path}: line {number}: a value is nested too deep; no record is, correct it") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: line {number + 1}: not UTF-8 text, so not JSON; export it again") from None
        except ValueError as error:
            raise InputError(
                f"{path}: line {number}: no JSON ({str(error)[:80]}); a file that begins with an object has one record "
                "in each line (JSON Lines), any other is one list of records: [...]"
            ) from None


def normal(record: Any) -> tuple[dict[str, Any], int]:
    """A record in LLaVA's fields, and how many system turns were left out, since the model has its own.

    What is already wrong in these fields stays so; `llava` says what.

    Raises:
        Unsupported: a record with more than one image, or with other media.
    """
    if not isinstance(record, dict):
        raise Unsupported("is no object")
    for key in _OTHER_MEDIA:
        if record.get(key):
            raise Unsupported(f"has {key}, which is not supported")
    plain = {key: value for key, value in record.items() if key not in ("images", "messages")}
    if "messages" in record:
        plain.setdefault("id", "")  # such records mostly have none
    plain["image"] = _image(record)
    said = record.get("conversations", record.get("messages"))
    plain["conversations"], left_out = _turns(said) if isinstance(said, list) else (said, 0)
    return plain, left_out


def _image(record: dict[str, Any]) -> Any:
    """The one image of a record: a path, a list of one, or {"path": ...}."""
    images = []
    for key in ("image", "images"):
        value = record.get(key)
        several = value if isinstance(value, list) else [] if value is None else [value]
        if len(several) > 1:
            raise Unsupported(f"has several images ({key}), which is not supported")
        images += [item.get("path") if isinstance(item, dict) else item for item in several]
    if len(images) == 2 and images[0] != images[1]:
        raise Unsupported("has several images (image and images), which is not supported")
    return images[0] if images else None


def _turns(said: list[Any]) -> tuple[list[Any], int]:
    turns, left_out = [], 0
    for turn in said:
        if not isinstance(turn, dict):
            turns.append(turn)
            continue
        role = turn.get("from", turn.get("role"))
        role = _ROLES.get(role, role) if isinstance(role, str) else role
        if role == SYSTEM:
            left_out += 1
        else:
            turns.append({"from": role, "value": _text(turn.get("value", turn.get("content")))})
    return turns, left_out


def _text(content: Any) -> Any:
    """A turn's text; of parts ({"type": "text" | "image"}) put together, with a mark where an image stands."""
    if not isinstance(content, list):
        return content
    parts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append(part["text"])
        elif kind in ("image", "image_url"):
            parts.append(MARK)
        else:
            raise Unsupported(f"a turn has a part of type {str(kind)[:20]!r}, which is not supported")
    return "\n".join(parts)
