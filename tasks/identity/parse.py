"""Values from YAML as dataclasses, each checked against its annotation and the bounds written beside it.
Every wrong value is one message that names file, key and what may stand there."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from data_registry import ranges
from data_registry.errors import InputError, nearest

T = TypeVar("T")
_ANY_NUMBER = ranges.Bounds()
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    list: "a list",
    dict: "keys with values",
    Mapping: "keys with values",
}


def parse(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Values from YAML as a dataclass, each checked against its annotation.

    Args:
        kind: a dataclass; fields with defaults may be absent; nested dataclasses, lists, tuples, dicts, unions with
            None, Literal and `data_registry.ranges` are understood.
        values: e.g. a section of params.yaml.
        where: what to call it in errors, e.g. "params.yaml: align.tiny".

    Raises:
        InputError: an unknown or missing key, a value of the wrong kind or out of its bounds; NaN and infinity are.
    """
    expect(isinstance(values, Mapping), values, "keys with values", where)
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"{kind.__name__}: no dataclass")
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    for key in values:
        if key not in fields:
            raise InputError(f"{where}.{key}: unknown key, {nearest(str(key), fields)}")
    hints = _hints(kind)
    parsed = {}
    for name, field in fields.items():
        if name in values:
            parsed[name] = convert(hints[name], values[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}.{name}: missing; add it")
    return kind(**parsed)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def convert(hint: Any, value: Any, where: str) -> Any:
    """One value by an annotation; raises as `parse`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Annotated:
        converted = convert(args[0], value, where)
        ranges.refuse(hint, converted, where)
        return converted
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return convert(_of_union([a for a in args if a is not type(None)], value), value, where)
    if origin is typing.Literal:
        if value not in args or isinstance(value, bool) != any(value is a for a in args if isinstance(a, bool)):
            raise InputError(f"{where}: {value!r} is unknown, known: {', '.join(map(str, args))}")
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return parse(hint, value, where)
    if origin in (list, tuple):
        return _sequence(origin, args, value, where)
    if origin is dict:
        expect(isinstance(value, Mapping), value, "keys with values", where)
        return {k: convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    expect(_fits(hint, value), value, _WORDS.get(hint, hint), where)
    if hint is float:
        value = float(value)
        if fault := _ANY_NUMBER.fault(value):
            raise InputError(f"{where}: {value!r}: {fault}")
    return value


def _sequence(kind: type, args: tuple[Any, ...], value: Any, where: str) -> Any:
    expect(isinstance(value, list | tuple), value, "a list", where)
    if kind is tuple and args[-1:] != (Ellipsis,):
        expect(len(value) == len(args), value, f"a list of {len(args)}", where)
        return tuple(convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    return kind(convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))


def _fits(hint: type, value: Any) -> bool:
    if isinstance(value, bool):  # which Python counts among the whole numbers
        return hint is bool
    return isinstance(value, int | float if hint is float else hint)


def _of_union(hints: list[Any], value: Any) -> Any:
    """The annotation of several that a value is meant for, by its kind; the last where it is of none."""
    return next((hint for hint in hints[:-1] if _could_be(hint, value)), hints[-1])


def _could_be(hint: Any, value: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _could_be(args[0], value)
    if origin is typing.Literal:
        return value in args
    if dataclasses.is_dataclass(hint) or origin is dict:
        return isinstance(value, Mapping)
    if origin in (list, tuple):
        return isinstance(value, list | tuple)
    return _fits(hint, value)


def keys(value: Any, where: str) -> Mapping[str, Any]:
    """A section, which may be left empty.

    Raises:
        InputError: it is something else than keys with values.
    """
    expect(value is None or isinstance(value, Mapping), value, "keys with values", where)
    return value or {}


def expect(fits: bool, value: Any, wanted: Any, where: str) -> None:
    """InputError unless a value fits; `wanted` says what does."""
    if not fits:
        raise InputError(f"{where}: expected {wanted}, found {value!r}")
