"""dvc.lock, one stage run at a time: DVC itself parses and writes all of it for each, which at a hundred stage runs
takes longer than all else that a flow adds to one. It is replaced whole: a kill leaves the old file or the new one."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
        self._beside = root / ".locks" / "dvc.lock"  # not in the root, where a kill would leave it in the user's way

    def entries(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What it says of those of these stage runs that it has: {name: entry}.

        Raises:
            DvcException: it is not a dvc.lock.
        """
        from dvc.utils.serialize import load_yaml, parse_yaml

        text = self._read()
        blocks = _split(text)
        if blocks is None:
            return self._validate(load_yaml(self.path) or {"schema": "2.0"})
        wanted = "".join(blocks[name] for name in names if name in blocks)
        return self._validate(parse_yaml(_HEAD + wanted, self.path)) if wanted else {}

    def set(self, name: str, entry: dict[str, Any]) -> None:
        """Write one stage run's entry."""
        from dvc.utils.serialize import dumps_yaml

        blocks = _split(self._read())
        if blocks is None:
            self._change_anyhow({name: entry})
        else:
            block = dumps_yaml({"schema": "2.0", "stages": {name: entry}}).removeprefix(_HEAD)
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
        """As DVC does it, slowly, where a merge or a hand left another layout or a comment."""
        from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

        content = parse_yaml_for_update(self._read(), self.path) or {"schema": "2.0"}
        self._validate(content)
        entries = content.setdefault("stages", {})
        for name, entry in changes.items():
            if entry is None:
                entries.pop(name, None)
            else:
                entries[name] = entry
        write_text(self.path, dumps_yaml(content), self._beside)

    def _write(self, blocks: dict[str, str]) -> None:
        text = _HEAD + "".join(blocks.values()) if blocks else _EMPTY
        if text != self._read():
            write_text(self.path, text, self._beside)

    def _read(self) -> str:
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    def _validate(self, content: dict[str, Any]) -> dict[str, Any]:
        from dvc.dvcfile import Lockfile

        return Lockfile.validate(content, str(self.path)).get("stages") or {}


def _split(text: str) -> dict[str, str] | None:
    """The lines of each entry of a dvc.lock, by its name; None where it is not laid out as DVC writes it."""
    if text in ("", _EMPTY):
        return {}
    if not text.startswith(_HEAD) or not text.endswith("\n") or _FOREIGN.search(text, len(_HEAD)):
        return None
    found = [block for block in _START.split(text[len(_HEAD) :]) if block]
    names = [_NAME.match(block) for block in found]
    blocks = {name[1] or name[2]: block for name, block in zip(names, found, strict=True) if name}
    return blocks if len(blocks) == len(found) else None
