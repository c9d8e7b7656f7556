"""Settings from plain data: each value is taken for what it is, and nothing is made of it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, get_args, get_origin

import cattrs
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory
from cattrs.v import format_exception

from selftuning.configs import suggestions
from selftuning.configs.errors import ConfigError, shortened
from selftuning.configs.extensions import written
from selftuning.configs.hyperparameters import BUILT_IN, Hyperparameter

Settings = TypeVar("Settings")

_UNKNOWN = "unknown field "
_FIELD = re.compile(r"\w+: ")


def structure(data: Mapping[str, Any], kind: type[Settings], where: str) -> Settings:
    """Settings from plain data; fields left out keep their defaults.

    Args:
      data: names and values.
      kind: of the settings, a dataclass.
      where: the data come from, for messages.

    Raises:
      ConfigError: for the first unknown or mistyped field.
    """
    try:
        return _converter().structure(data, kind)
    except cattrs.BaseValidationError as error:
        # Lines of the form "PROBLEM @ settings.agent.hidden[0]", of which the place goes first.
        problem, _, place = cattrs.transform_error(error, "settings", _say)[0].rpartition(" @ ")
        place = re.sub(r"\['([^']*)'\]", r".\1", place).removeprefix("settings").removeprefix(".")
        unknown = _UNKNOWN if problem.startswith(_UNKNOWN) else ""
        # The problem begins with the name of a field, or is that of the place itself.
        dot = "." if unknown or _FIELD.match(problem) else ": "
        rest = problem.removeprefix(unknown)
        raise ConfigError(f"{where}: {unknown}{place}{dot if place else ''}{rest}") from error


@functools.cache  # it writes code for each class of settings
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in (int, bool, str):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(float, _number)
    of_origin: tuple[tuple[Any, Callable[[Any, Any], Any]], ...]
    of_origin = ((Literal, _choice), (dict, _mapping(converter)), (tuple, _list(converter)))
    for origin, hook in of_origin:
        converter.register_structure_hook_func(_has_origin(origin), hook)
    converter.register_structure_hook_func(lambda kind: kind == tuple[Any, ...], _extensions)
    converter.register_structure_hook_factory(is_dataclass, lambda kind: _of_class(kind, converter))
    return converter


def _has_origin(origin: Any) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) is origin


def _of_class(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    made = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def read(value: Any, kind: Any) -> Any:
        _require(isinstance(value, Mapping), value, "a mapping of settings")
        return made(value, kind)

    return read


def _mapping(converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    @functools.cache
    def made(kind: Any) -> Callable[[Any, Any], Any]:
        return mapping_structure_factory(kind, converter, dict)

    def read(value: Any, kind: Any) -> dict[str, Any]:
        _require(isinstance(value, Mapping), value, "a mapping of names")
        names = made(kind)(value, kind)
        return _without_outer(names) if get_args(kind)[1] is Hyperparameter else names

    return read


def _list(converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    def read(value: Any, kind: Any) -> tuple[Any, ...]:
        # One text is many texts of a letter each, in Python.
        _require(isinstance(value, (list, tuple)), value, "a list")
        return tuple(converter.structure(item, get_args(kind)[0]) for item in value)

    return read


def _without_outer(names: dict[str, Hyperparameter]) -> dict[str, Hyperparameter]:
    """Hyperparameters without values that the outer objective does not read.

    Files of version 0.1 have a number there, which never counted.
    """
    unread = {name for name, one in BUILT_IN.items() if not one.in_outer}
    return {
        name: replace(spec, outer=None) if name in unread else spec for name, spec in names.items()
    }


def _say(error: BaseException, kind: type | None) -> str:
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        name = min(error.extra_fields)
        close = suggestions.meant(name, [field.name for field in fields(error.cl)])
        return f"{_UNKNOWN}{name}" + (f"; did you mean {close}?" if close else "")
    told_by_path = isinstance(error, KeyError)
    return format_exception(error, kind) if told_by_path else str(error)


def _require(condition: bool, value: Any, allowed: str) -> None:
    if not condition:
        raise TypeError(f"{shortened(repr(value))} is not allowed; it must be {allowed}")


def _exactly(value: Any, kind: type) -> Any:
    words = {int: "a whole number", bool: "true | false", str: "text"}
    _require(type(value) is kind, value, words[kind])
    return value


def _choice(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    _require(isinstance(value, str) and value in choices, value, " | ".join(choices))
    return value


def _number(value: Any, _kind: type) -> float:
    # People write 1 for 1.0; and numbers are kept as text where YAML or JSON have none for them.
    try:
        _require(not isinstance(value, bool), value, "a number")
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{shortened(repr(value))} is not allowed; it must be a number") from error


def _extensions(value: Any, _kind: Any) -> tuple[Any, ...]:
    _require(isinstance(value, (list, tuple)), value, "a list")
    for item in value:
        _exactly(written(item), str)
    return tuple(value)
