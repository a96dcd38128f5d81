"""A user whom the system has no name for (a container's, of any number): libraries ask for a name and a home."""

import os
import pwd
import tempfile
from pathlib import Path


def name_user() -> None:
    """Give a user without a passwd entry a name and, where HOME is none that it may write to, a home.

    DVC, torch, MLflow and Prefect look for both when they are imported or begin to work, and fail without.
    """
    user = os.getuid()
    try:
        pwd.getpwuid(user)
    except KeyError:
        os.environ.setdefault("USER", f"user{user}")
        if not os.access(os.environ.get("HOME", ""), os.W_OK):
            os.environ["HOME"] = str(_private(Path(tempfile.gettempdir()) / f"spatialllm-home-{user}"))


def _private(folder: Path) -> Path:
    """A folder of this user alone, there from one process to the next unless somebody else was there first."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        return Path(tempfile.mkdtemp(prefix="spatialllm-home-"))
    ours = folder.stat().st_uid == os.getuid() and not folder.is_symlink()
    return folder if ours else Path(tempfile.mkdtemp(prefix="spatialllm-home-"))
