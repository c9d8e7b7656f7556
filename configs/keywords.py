"""Settings from keyword arguments, by the names that the flags of the command line have."""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args, get_origin, get_type_hints

from selftuning.configs import presets, suggestions
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.extensions import extended
from selftuning.configs.hyperparameter_flags import HyperparameterFlags, edit
from selftuning.configs.settings import (
    AgentSettings,
    EnvSettings,
    RunSettings,
    TuningSettings,
    without_none,
)
from selftuning.configs.settings_flags import fields_by_flag, fields_of, names_of_fields
from selftuning.configs.unread import refuse_unread
from selftuning.configs.validate import validate

_EDITS = ("start", "fix", "tune", "bounds", "outer")
_PARTS: tuple[tuple[str | None, type], ...] = (
    (None, RunSettings),
    ("environment", EnvSettings),
    ("tuning", TuningSettings),
    ("agent", AgentSettings),
)


def run_settings(
    base: RunSettings | None,
    env: str | None,
    extensions: Sequence[Any] | None,
    preset: str | None,
    keywords: Mapping[str, Any],
    others: Sequence[str] = (),
) -> RunSettings:
    """Settings of a run: those to start from, with what keyword arguments change.

    Args:
      base: settings to start from; those that belong to the environment if None.
      env: id of the environment; that of `base` if None.
      extensions: terms and parts of the user's own; those of `base` if None.
      preset: a whole method, which is applied before the keywords.
      keywords: by the names of the flags with underscores (`meta`, `steps`, `hidden`, ...);
        `start`, `bounds` and `outer` are mappings by hyperparameter, `fix` and `tune` names.
      others: names of the caller's further arguments, which a slip may have meant.

    Raises:
      ConfigError: naming the keyword, the value it has and the values it may have.
    """
    if base is None:
        base = presets.for_env(env or RunSettings.env, _plain(keywords.get("steps")))
    elif not isinstance(base, RunSettings):
        raise not_allowed("settings", repr(base), "a RunSettings")
    if extensions is not None and (isinstance(extensions, str) or not _is_sequence(extensions)):
        raise not_allowed("extensions", repr(extensions), "a list")
    base = extended(base, base.extensions if extensions is None else extensions)
    base = presets.with_method(base, preset) if preset else base
    changes: dict[str | None, dict[str, Any]] = {part: {} for part, _ in _PARTS}
    if env is not None:
        changes[None]["env"] = env
    where = _fields()
    for name, value in keywords.items():
        if name in where:
            part, field, hint = where[name]
            changes[part][field] = _typed(name, value, hint)
        elif name not in _EDITS:
            raise ConfigError(_unknown(name, (*where, *_EDITS, *others)))
    texts = {name: _texts(name, keywords[name]) for name in _EDITS if name in keywords}
    inner = {p: dataclasses.replace(getattr(base, p), **changes[p]) for p, _ in _PARTS if p}
    settings = dataclasses.replace(base, **changes[None], **inner)
    try:
        edits = HyperparameterFlags(**texts)
        edited = edit(settings.hyperparameters, edits)
        settings = dataclasses.replace(settings, hyperparameters=edited)
        validate(settings)
        # None leaves out what may be left out.
        said = {p: [x for x, value in changes[p].items() if value is not None] for p in changes}
        typed = fields_of(said[None], {p: said[p] for p, _ in _PARTS if p})
        refuse_unread(settings, typed, edits)
    except ConfigError as error:
        raise ConfigError(as_typed(str(error))) from error
    return settings


@contextmanager
def naming_keywords() -> Iterator[None]:
    """Complaints about a field of the settings begin with the keyword that sets it."""
    try:
        yield
    except ConfigError as error:
        field, colon, rest = str(error).partition(": ")
        names = names_of_fields()
        if "." not in field or field not in names:
            raise
        raise ConfigError(f"{names[field]}{colon}{rest}") from error


def _fields() -> dict[str, tuple[str | None, str, Any]]:
    """Of each keyword: the part of the settings that it is in, the field there, and its type."""
    return {
        flag: (part, field, get_type_hints(kind)[field])
        for part, kind in _PARTS
        for flag, field in fields_by_flag(kind).items()
        if field not in ("env", "extensions")
    }


def as_typed(message: str) -> str:
    """A message about a field of the settings, or a flag, as one about the keyword that sets it."""
    prefix, _, rest = message.partition(": ")
    names = names_of_fields()
    if prefix in names:
        return f"{names[prefix]}: {rest}"
    # What is a flag on the command line is a mapping here.
    message = re.sub(r"--bounds (\w+)=LOW:HIGH", r'bounds={"\1": (LOW, HIGH)}', message)
    message = re.sub(r"(?<=.)--(fix|tune) (\w+)", r'\1=["\2"]', message)
    message = re.sub(r"--(start|outer) (\w+)=([-+.\w]+)", r'\1={"\2": \3}', message)
    message = re.sub(r"--(\w+) (\d+)", r"\1=\2", message)
    return message.replace("--", "")


def _typed(name: str, value: Any, hint: Any) -> Any:
    """A value as a field of that type holds it; numbers of NumPy become Python's.

    Raises:
      ConfigError: if it is of another type.
    """
    found, allowed = _converted(_plain(value), hint)
    if allowed:
        raise not_allowed(name, repr(value), allowed)
    return found


def _converted(value: Any, hint: Any) -> tuple[Any, str]:
    """The value as that type, or what it must be in words."""
    if value is None and hint != without_none(hint):
        return None, ""
    hint = without_none(hint)
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return value, "" if value in choices else " | ".join(map(str, choices))
    if get_origin(hint) is dict:
        mapping = isinstance(value, Mapping)
        return dict(value) if mapping else value, "" if mapping else "a mapping of names to values"
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        words = "a list of texts" if item is str else "a list of whole numbers"
        if isinstance(value, str) or not _is_sequence(value):
            return value, words
        items = [_converted(_plain(x), item) for x in value]
        return tuple(x for x, _ in items), words if any(wrong for _, wrong in items) else ""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if hint is int:
        whole = number and (isinstance(value, int) or float(value).is_integer())
        return int(value) if whole else value, "" if whole else "a whole number"
    if hint is float:
        return _as_float(value) if number else value, "" if number else "a number"
    words = {bool: "True or False", str: "text"}[hint]
    return value, "" if isinstance(value, hint) else words


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """What the flags of that name would say."""
    if name in ("fix", "tune"):
        names = (value,) if isinstance(value, str) else value
        if not _is_sequence(names) or not all(isinstance(x, str) for x in names):
            raise not_allowed(name, repr(value), "a list of names of hyperparameters")
        return tuple(names)
    to = "(low, high)" if name == "bounds" else "numbers"
    if not isinstance(value, Mapping):
        raise not_allowed(name, repr(value), f"a mapping of hyperparameters to {to}")
    if name != "bounds":
        return tuple(f"{key}={_number(name, key, x)}" for key, x in value.items())
    texts = []
    for key, ends in value.items():
        if isinstance(ends, str) or not _is_sequence(ends) or len(ends) != 2:
            raise not_allowed(f"bounds of {key}", repr(ends), "a pair (low, high)")
        texts.append(f"{key}={':'.join(_number(name, key, end) for end in ends)}")
    return tuple(texts)


def _number(name: str, key: str, value: Any) -> str:
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise not_allowed(f"{name} of {key}", repr(value), "a number")
    return repr(_as_float(value))


def _as_float(value: Any) -> float:
    """A number as a float; what is too large for one is infinite, and refused as that."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (Sequence, set, frozenset)) or getattr(value, "ndim", 0) == 1


def _plain(value: Any) -> Any:
    """A number of NumPy as Python's."""
    item = getattr(value, "item", None)
    return item() if item is not None and getattr(value, "ndim", None) == 0 else value


def _unknown(name: str, known: Sequence[str]) -> str:
    close = suggestions.meant(name, known, 'start={{"{}": VALUE}}')
    hint = f"did you mean {close}?" if close else f"they are {', '.join(known)}"
    return f"{name}: there is no such setting; {hint}"
