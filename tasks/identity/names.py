"""What stage runs may be called: their names stand in shell commands (dvc.yaml: `cmd`), in paths and in DVC's keys.
A key of plan.yaml such as `x; touch PWNED` would run as a command, and one with a dot would be read as two keys."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from data_registry.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+=_-]*")
_VALUE = re.compile(r"[A-Za-z0-9+=_-]+([./][A-Za-z0-9+=_-]+)*")  # a slot's "stage/name", a section's "each.name"
_NOT_READ_BY_DVC = ("parts", "empty")  # of an entry; dvc.yaml puts the rest into paths


def check_name(name: object, where: str) -> str:
    """The name of a stage or stage run; InputError says where another one stands."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{where}: {name!r} is no name of a stage run: letters, digits and + - = _, a letter or digit first"
        )
    return name


def check_plan(plan: Mapping[str, Mapping[str, Mapping[str, Any]]], where: str) -> None:
    """Every stage, stage run and slot of a plan.

    Args:
        plan: {stage: {name: entry}}.
        where: what to call it in messages, such as "plan.yaml: plan".
    """
    for stage, entries in plan.items():
        check_name(stage, where)
        for name, entry in entries.items():
            check_name(name, f"{where}.{stage}")
            for slot, value in _values(entry):
                if not _VALUE.fullmatch(value):
                    raise InputError(f"{where}.{stage}.{name}.{slot}: {value!r} is no stage run STAGE/NAME")


def _values(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for slot, value in entry.items():
        if slot not in _NOT_READ_BY_DVC:
            yield from (
                (slot, text) for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)
            )
