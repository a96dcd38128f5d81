"""What can be known to be wrong before anything runs: parameters that a stage would refuse when its turn comes."""

import importlib
import re

from tasks.identity import settings
from tasks.identity.settings import Settings


def check(found: Settings) -> None:
    """Parameters, seed and version of every stage run of the plan, read as its stage will read them.

    Raises:
        InputError: one is missing, unknown or of the wrong kind.
    """
    found.check()
    file = found.root / "dvc.yaml"
    stages = settings.read_yaml(file)["stages"] if file.exists() else {}
    for stage, entries in found.plan.items():
        typed = str(stages.get(stage, {}).get("do", {}).get("cmd"))
        command = re.fullmatch(r"python -m (tasks\.\w+) \$\{key\}", typed)
        if not command:
            continue  # somebody's own program, which knows its parameters by itself
        module = importlib.import_module(command[1])
        for name in entries:
            section = found.section(stage, name)
            kind = module.params_kind(name, section) if hasattr(module, "params_kind") else module.Params
            settings.parse(kind, section, settings.section_name(stage, found.scale))
