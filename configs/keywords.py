"""Settings from keyword arguments, by the names that the flags of the command line have."""

from __future__ import annotations

import dataclasses
import difflib
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from selftuning.configs import files, presets
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.extensions import extended
from selftuning.configs.hyperparameter_flags import HyperparameterFlags, edit
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.configs.settings_flags import fields_by_flag
from selftuning.configs.validate import validate

_EDITS = ("start", "fix", "tune", "bounds", "outer")
_PARTS: tuple[tuple[str | None, type], ...] = (
    (None, RunSettings),
    ("tuning", TuningSettings),
    ("agent", AgentSettings),
)


def run_settings(
    base: RunSettings | None,
    env: str | None,
    extensions: Sequence[Any] | None,
    preset: str | None,
    keywords: Mapping[str, Any],
) -> RunSettings:
    """Settings of a run: those to start from, with what keyword arguments change.

    Args:
      base: settings to start from; those that belong to the environment if None.
      env: id of the environment; that of `base` if None.
      extensions: terms and parts of the user's own; those of `base` if None.
      preset: a method of the literature, which is applied before the keywords.
      keywords: by the names of the flags with underscores (`meta`, `steps`, `hidden`, ...);
        `start`, `bounds` and `outer` are mappings by hyperparameter, `fix` and `tune` names.

    Raises:
      ConfigError: naming the keyword, the value it has and the values it may have.
    """
    if base is None:
        base = presets.for_env(env or RunSettings.env)
    base = extended(base, base.extensions if extensions is None else extensions)
    base = presets.with_method(base, preset) if preset else base
    where = _fields()
    changes: dict[str, Any] = {} if env is None else {"env": env}
    for name, value in keywords.items():
        if name in _EDITS:
            continue
        if name not in where:
            raise ConfigError(_unknown(name, (*where, *_EDITS)))
        part, field = where[name]
        into = changes if part is None else changes.setdefault(part, {})
        into[field] = _plain(value)
    settings = _with(base, changes)
    flags = HyperparameterFlags(
        **{name: _texts(name, keywords[name]) for name in _EDITS if name in keywords}
    )
    try:
        edited = edit(settings.hyperparameters, flags)
    except ConfigError as error:
        raise ConfigError(str(error).replace("--", "")) from error
    settings = dataclasses.replace(settings, hyperparameters=edited)
    validate(settings)
    return settings


def _fields() -> dict[str, tuple[str | None, str]]:
    """Where the setting of each keyword is: the part of the settings, and the field there."""
    return {
        flag: (part, field)
        for part, kind in _PARTS
        for flag, field in fields_by_flag(kind).items()
        if field not in ("env", "extensions")
    }


def _with(base: RunSettings, changes: Mapping[str, Any]) -> RunSettings:
    """Settings with changes, each of which is checked for its type."""
    parts = {
        part: dataclasses.replace(getattr(base, part), **_typed(kind, changes.get(part, {})))
        for part, kind in _PARTS
        if part is not None
    }
    own = {name: value for name, value in changes.items() if name not in parts}
    return dataclasses.replace(base, **_typed(RunSettings, own), **parts)


def _typed(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    structured: Any = files.structure(values, kind, "settings")
    return {name: getattr(structured, name) for name in values}


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """What the flags of that name would say."""
    if name in ("fix", "tune"):
        return (value,) if isinstance(value, str) else tuple(value)
    if not isinstance(value, Mapping):
        to = "(low, high)" if name == "bounds" else "numbers"
        raise not_allowed(name, repr(value), f"a mapping of hyperparameters to {to}")
    if name == "bounds":
        return tuple(f"{key}={':'.join(map(_number, ends))}" for key, ends in value.items())
    return tuple(f"{key}={_number(x)}" for key, x in value.items())


def _number(value: Any) -> str:
    return repr(float(value)) if isinstance(value, numbers.Real) else str(value)


def _plain(value: Any) -> Any:
    """Numbers of NumPy as Python's, sequences as lists."""
    if isinstance(value, (list, tuple, range)):
        return [_plain(item) for item in value]
    item = getattr(value, "item", None)
    return item() if item is not None and getattr(value, "ndim", None) == 0 else value


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"closest: {', '.join(close)}" if close else f"they are {', '.join(known)}"
    return f"{name}: there is no such setting; {hint}"
