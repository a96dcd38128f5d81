"""dvc.lock, one stage run at a time: DVC itself parses and writes all of it for each, which at a hundred stage runs
takes longer than all else that a flow adds to one. It is replaced whole: a kill leaves the old file or the new one.
Tested against DVC byte for byte."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flows.store.dvc_files import change_lock, lock_text, parse_lock
from tasks.identity.files import write_text

_HEAD = "schema: '2.0'\nstages:\n"
_EMPTY = "schema: '2.0'\nstages: {}\n"
_START = re.compile(r"^(?=  (?! |: ))", re.MULTILINE)  # of an entry; "  : " goes on with a name too long for one line
_FOREIGN = re.compile(r"^(?!  |$)", re.MULTILINE)  # another section, a comment, the marks of a merge
_NAME = re.compile(r"  (?:\? ([\w@+=-]+)|([\w@+=-]+):)\n")


class DvcLock:
    """The dvc.lock of a repository; whoever uses it holds DVC's lock. Stage runs are named as DVC does: "stage@name".

    Args:
        root: the repository's root.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "dvc.lock"

    def entries(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What it says of those of these stage runs that it has: {name: entry}.

        Raises:
            DvcException: it is not a dvc.lock.
        """
        text = self._read()
        blocks = _split(text)
        if blocks is None:
            return parse_lock(text, self.path)
        wanted = "".join(blocks[name] for name in names if name in blocks)
        return parse_lock(_HEAD + wanted, self.path) if wanted else {}

    def set(self, name: str, entry: dict[str, Any]) -> None:
        """Write one stage run's entry."""
        blocks = _split(self._read())
        if blocks is None:
            self._change_anyhow({name: entry})
        else:
            block = lock_text({name: entry}).removeprefix(_HEAD)
            self._write({**blocks, name: block})

    def drop(self, names: Iterable[str]) -> None:
        """Remove entries."""
        gone = set(names)
        blocks = _split(self._read())
        if blocks is None:
            self._change_anyhow(dict.fromkeys(gone))
        elif gone & blocks.keys():
            self._write({name: block for name, block in blocks.items() if name not in gone})

    def _change_anyhow(self, changes: dict[str, dict[str, Any] | None]) -> None:
        """Where a merge or a hand left another layout or a comment."""
        self._replace(change_lock(self._read(), self.path, changes))

    def _write(self, blocks: dict[str, str]) -> None:
        text = _HEAD + "".join(blocks.values()) if blocks else _EMPTY
        if text != self._read():
            self._replace(text)

    def _replace(self, text: str) -> None:
        write_text(self.path, text, self._beside())

    def _beside(self) -> Path:
        """Not in the root, where a kill would leave it in the user's way, unless nothing else is on its disk."""
        root = self.path.parent
        for folder in (root / ".locks", root / ".dvc" / "tmp"):
            if folder.is_dir() and folder.stat().st_dev == root.stat().st_dev:
                return folder / self.path.name
        return self.path

    def _read(self) -> str:
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""


def _split(text: str) -> dict[str, str] | None:
    """The lines of each entry of a dvc.lock, by its name; None where it is not laid out as DVC writes it."""
    if text in ("", _EMPTY):
        return {}
    if not text.startswith(_HEAD) or not text.endswith("\n") or _FOREIGN.search(text, len(_HEAD)):
        return None
    texts = [block for block in _START.split(text[len(_HEAD) :]) if block]
    names = [_NAME.match(block) for block in texts]
    blocks = {name[1] or name[2]: block for name, block in zip(names, texts, strict=True) if name}
    return blocks if len(blocks) == len(texts) else None
