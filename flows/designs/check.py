"""What can be known to be wrong before anything runs: parameters that a stage would refuse when its turn comes."""

import importlib
import re
from collections.abc import Callable
from typing import Any

from tasks.identity import settings
from tasks.identity.parse import parse
from tasks.identity.settings import Settings
from tasks.stages import spec


def check(found: Settings) -> None:
    """Parameters, seed and version of every stage run of the plan, read as its stage will read them.

    Raises:
        InputError: one is missing, unknown, of the wrong kind or out of its bounds.
    """
    found.check()
    file = found.root / "dvc.yaml"
    stages = settings.read_yaml(file)["stages"] if file.exists() else {}
    for stage, entries in found.plan.items():
        read = reader_of(stage, str(stages.get(stage, {}).get("do", {}).get("cmd")))
        for name in entries if read else ():
            read(name, found.section(stage, name), settings.section_name(stage, found.scale))


def reader_of(stage: str, command: str) -> Callable[[str, dict[str, Any], str], Any] | None:
    """How a stage reads a section of params.yaml: (name of the stage run, section, where it stands); None where nobody
    knows, since it is somebody's own program."""
    if own := spec(stage).params:
        return lambda name, section, where: parse(own, section, where)
    ours = re.fullmatch(r"python -m (tasks\.\w+) \$\{key\}", command)
    if not ours:
        return None
    module = importlib.import_module(ours[1])
    if hasattr(module, "read_params"):
        return module.read_params
    return lambda name, section, where: parse(module.Params, section, where)
