"""Training checkpoints that are whole or do not count.
The trainer writes a folder file by file; a marker with every file's size comes last, and only marked ones resume."""

import json
import shutil
from pathlib import Path

MARKER = "COMPLETE.json"


def mark_complete(checkpoint: Path) -> None:
    """Vouch for a checkpoint whose files are all written."""
    (checkpoint / MARKER).unlink(missing_ok=True)  # of the same step, written before
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


def step_of(checkpoint: Path) -> int:
    """The optimizer step that it was written after."""
    return int(checkpoint.name.rpartition("-")[2])


def last_complete(work: Path, most: int | None = None) -> Path | None:
    """The newest complete checkpoint under `work`; incomplete ones, left by a kill, are removed.

    Args:
        most: last step that counts.
    """
    complete = None
    for checkpoint in sorted(work.glob("checkpoint-*"), key=step_of):
        if not is_complete(checkpoint):
            shutil.rmtree(checkpoint)
        elif most is None or step_of(checkpoint) <= most:
            complete = checkpoint
    return complete
