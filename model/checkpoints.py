"""Training checkpoints that are whole or do not count.
The trainer writes a folder file by file; a marker with every file's size comes last, and only marked ones resume."""

import json
import shutil
from pathlib import Path

MARKER = "COMPLETE.json"


def mark_complete(checkpoint: Path) -> None:
    """Vouch for a checkpoint whose files are all written."""
    sizes = {
        p.relative_to(checkpoint).as_posix(): p.stat().st_size for p in sorted(checkpoint.rglob("*")) if p.is_file()
    }
    temporary = checkpoint / f".{MARKER}"
    temporary.write_text(json.dumps(sizes))
    temporary.replace(checkpoint / MARKER)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has its marker and every file the marker names, in its size."""
    marker = checkpoint / MARKER
    if not marker.exists():
        return False
    sizes = json.loads(marker.read_text())
    return all((checkpoint / name).is_file() and (checkpoint / name).stat().st_size == n for name, n in sizes.items())


def last_complete(work: Path) -> Path | None:
    """The newest complete checkpoint under `work`; incomplete ones, left by a kill, are removed."""
    found = sorted(work.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    complete = None
    for checkpoint in found:
        if is_complete(checkpoint):
            complete = checkpoint
        else:
            shutil.rmtree(checkpoint)
    return complete
