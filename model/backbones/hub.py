"""Where pretrained weights are: in a local folder, or on the hub at a pinned revision that the folder names.
Weights are read as safetensors only and no code of a repository is run."""

import json
from pathlib import Path
from typing import Any

from data_registry.errors import InputError


def resolve(folder: Path) -> tuple[str, dict[str, Any]]:
    """What to hand to `from_pretrained`: a path or hub id, and the options that keep it safe.

    Raises:
        InputError: the folder has neither weights nor a complete source.json.
    """
    folder = Path(folder)
    source = folder / "source.json"
    if source.exists():
        named = json.loads(source.read_text())
        missing = [key for key in ("repo", "revision") if not named.get(key)]
        if missing:
            raise InputError(f"{source}: {missing[0]!r} is missing; write the hub's repository and the commit to use")
        return named["repo"], {"revision": named["revision"], "trust_remote_code": False}
    if not (folder / "config.json").exists():
        raise InputError(f"{folder}: no config.json and no source.json here; run the foundation stage for it first")
    return str(folder), {"trust_remote_code": False, "local_files_only": True}
