"""DVC's own files, as it writes them: dvc.lock, and its list of who reads and writes what (.dvc/tmp/rwlock).
Part of `flows.store.dvc_adapter`, which says why DVC's public functions do not serve."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from dvc.repo import Repo

Entry = dict[str, Any]  # of dvc.lock


def mend_rwlock(repo: "Repo") -> None:
    """Mend DVC's list of who reads and writes what, where a kill left half of it or somebody who is gone in it.

    DVC truncates the file and writes it anew, and every later command would stop at half of it. It knows processes by
    their number alone, so that one of before a reboot, or of another container, blocks for as long as any process
    here has that number; this process too, which holds DVC's lock and so uses nothing yet.
    """
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    path = Path(repo.tmp_dir, RWLOCK_FILE)
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") in ("{}", '{"write": {}, "read": {}}'):
        return
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with make_lock(str(path.with_name(RWLOCK_LOCK)), tmp_dir=repo.tmp_dir, hardlink_lock=hardlink):
        try:
            users = json.loads(path.read_text(encoding="utf-8"))
            writes = {what: who for what, who in users.get("write", {}).items() if _uses(who)}
            reads = {what: [who for who in several if _uses(who)] for what, several in users.get("read", {}).items()}
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            path.unlink(missing_ok=True)
            return
        mended = {"write": writes, "read": {what: several for what, several in reads.items() if several}}
        if mended != users:
            path.write_text(json.dumps(mended), encoding="utf-8")


def _uses(who: Mapping[str, Any]) -> bool:
    """Whether an entry {"pid", "cmd"} of DVC's list is of a process that lives: by its number and its arguments.

    `cmd` is `sys.argv`, whose first word the command line has in another form (`python -m dvc` for .../__main__.py).
    """
    if who["pid"] == os.getpid():
        return False
    try:
        alive = psutil.Process(who["pid"]).cmdline()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True  # another user's: it cannot be seen what it is
    arguments = who["cmd"].split(" ")[1:]
    return not arguments or " ".join(alive).split(" ")[-len(arguments) :] == arguments


def parse_lock(text: str, path: Path) -> dict[str, Entry]:
    """The entries of a dvc.lock, {"stage@name": entry}.

    Raises:
        DvcException: it is not a dvc.lock.
    """
    from dvc.dvcfile import Lockfile
    from dvc.utils.serialize import parse_yaml

    content = parse_yaml(text, path) if text.strip() else {"schema": "2.0"}
    return Lockfile.validate(content, str(path)).get("stages") or {}


def lock_text(entries: dict[str, Entry]) -> str:
    """A dvc.lock of these entries, byte for byte as DVC writes it."""
    from dvc.utils.serialize import dumps_yaml

    return dumps_yaml({"schema": "2.0", "stages": entries})


def change_lock(text: str, path: Path, changes: Mapping[str, Entry | None]) -> str:
    """A dvc.lock with entries set or, where None, removed, as DVC does it: slowly, keeping its layout and comments."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    parse_lock(text, path)
    content = parse_yaml_for_update(text, path) or {"schema": "2.0"}
    entries = content.setdefault("stages", {})
    for name, entry in changes.items():
        if entry is None:
            entries.pop(name, None)
        else:
            entries[name] = entry
    return dumps_yaml(content)
