"""What can be known to be wrong before anything runs: parameters that a stage would refuse when its turn comes."""

import importlib
import re
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from tasks.identity import settings
from tasks.identity.parse import parse
from tasks.identity.settings import Settings
from tasks.stages import spec


def check(config: Settings) -> None:
    """Parameters, seed and version of every stage run of the plan, read as its stage will read them.

    Raises:
        InputError: one is missing, unknown, of the wrong kind or out of its bounds.
    """
    config.check()
    commands = _commands(config)
    for stage, entries in config.plan.items():
        read = reader_of(stage, commands.get(stage, ""))
        if read is None:
            continue
        for name in entries:
            read(name, config.section(stage, name), settings.section_name(stage, config.scale))


def check_sources(config: Settings, runs: Iterable[str]) -> None:
    """That what the user gives to stage runs that are to be computed is where params.yaml says.

    Raises:
        InputError: it is not, as the stage would say when its turn comes.
    """
    commands = _commands(config)
    for run in runs:
        stage, _, name = run.partition("/")
        module = _module(commands.get(stage, ""))
        if module is not None and hasattr(module, "check_sources"):
            module.check_sources(f"{stage}.{config.scale}", name, config.section(stage, name), config.runtime)


def reader_of(stage: str, command: str) -> Callable[[str, dict[str, Any], str], Any] | None:
    """How a stage reads a section of params.yaml: (name of the stage run, section, where it stands); None where nobody
    knows, since it is somebody's own program."""
    if own := spec(stage).params:
        return lambda name, section, where: parse(own, section, where)
    module = _module(command)
    if module is None:
        return None
    if hasattr(module, "read_params"):
        return module.read_params
    return lambda name, section, where: parse(module.Params, section, where)


def _commands(config: Settings) -> dict[str, str]:
    """What dvc.yaml runs, by stage."""
    file = config.root / "dvc.yaml"
    stages = settings.read_yaml(file)["stages"] if file.exists() else {}
    return {stage: str(definition.get("do", {}).get("cmd")) for stage, definition in stages.items()}


def _module(command: str) -> ModuleType | None:
    """The module of a stage of this repository, by its command."""
    ours = re.fullmatch(r"python -m (tasks\.\w+) \$\{key\}", command)
    return importlib.import_module(ours[1]) if ours else None
