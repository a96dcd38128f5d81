"""Outputs that git has (the tiny foundation models): a damaged one is brought back from there, not trained again."""

import io
import subprocess
import tarfile
from typing import Any

from tasks.identity.files import remove
from tasks.identity.identity import is_whole
from tasks.identity.paths import Paths
from tasks.stage.publishing import publish


def restore_committed(paths: Paths, identity: dict[str, Any]) -> bool:
    """Publish the output as the last commit has it, if it has one of this very identity; the claim must be ours."""
    folder = paths.out.relative_to(paths.root).as_posix()
    try:
        tree = subprocess.run(
            ["git", "archive", "--format=tar", f"HEAD:./{folder}"], cwd=paths.root, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, or an output that is not git's
        return False
    remove(paths.partial)
    paths.partial.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(tree)) as archive:
        archive.extractall(paths.partial, filter="data")
    if not is_whole(paths.partial, identity):
        remove(paths.partial)
        return False
    publish(paths, keep=False)
    return True
