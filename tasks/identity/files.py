"""Files that are written whole or not at all."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that is never seen half-written."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n", path)


def write_text(path: Path, text: str, beside: Path) -> None:
    """Write a text file that is never seen half-written.

    Args:
        beside: the temporary file's path on the same file system, before a suffix of this process's own.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside.with_name(f"{beside.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
