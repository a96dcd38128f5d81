"""A full disk, recognised in whatever words it comes, and said in one message with its remedy."""

import errno
import re
import shutil
from pathlib import Path

# Libraries in Rust and C++, DVC and databases pass the operating system's error on as text only.
_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full", "Not enough free space")
# PyTorch and NumPy say only that less was written than should be; then what is left decides.
WRITE_FAILED = re.compile(r"PytorchStreamWriter failed writing|unexpected pos \d+ vs|\d+ requested and \d+ written")
_NOTHING_LEFT = 1 << 20  # bytes


def full_disk(error: BaseException | None, doing: str, root: Path) -> str | None:
    """The message of an error that comes from a full disk, None for every other error.

    Args:
        doing: what could not go on, e.g. "instruct clip_vicuna-7b_cc558k_mix665k".
        root: the repository's root; the message says how much is free there.
    """
    free = shutil.disk_usage(root).free
    while error is not None:
        code, text = getattr(error, "errno", None), str(error)
        written = any(words in text for words in _WORDS) or code in (errno.ENOSPC, errno.EDQUOT)
        if written or (free < _NOTHING_LEFT and WRITE_FAILED.search(text)):
            return (
                f"{doing}: the disk of {root} is full ({free / 2**30:.2f} GiB free); nothing half-written was kept. "
                "Free some space (`spatialllm gc` shows what no plan needs), then run the same again"
            )
        error = error.__cause__ or error.__context__
    return None
