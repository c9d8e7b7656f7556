"""Settings classes as flags: every field is one, so a field added to them needs nothing here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, get_type_hints

import docstring_parser
import yaml
from cyclopts import Group, Parameter, Token

from selftuning.configs.errors import not_allowed
from selftuning.configs.settings import EnvSettings, RunSettings, TuningSettings

# Fields whose bare name would say too little among all other flags.
_RENAMED: dict[tuple[type, str], str] = {
    (RunSettings, "extensions"): "extension",
    (EnvSettings, "wrappers"): "wrapper",
    (TuningSettings, "method"): "meta",
    (TuningSettings, "optimizer"): "meta_optimizer",
    (TuningSettings, "learning_rate"): "meta_learning_rate",
}


def fields_by_flag(settings_class: type) -> dict[str, str]:
    """Names of the flags of a settings class, and the fields that they set."""
    return {
        _RENAMED.get((settings_class, field.name), field.name): field.name
        for field in dataclasses.fields(settings_class)
        if not _is_nested(field)
    }


def _is_nested(field: dataclasses.Field) -> bool:
    # Hyperparameters are the one mapping that has flags of its own.
    return dataclasses.is_dataclass(field.default) or field.name == "hyperparameters"


def flags_of(settings_class: type, group: Group, without: Sequence[str] = ()) -> Any:
    """A dataclass with the fields of a settings class as flags that may be left out (None).

    Nested settings and the hyperparameters are left out; they have flags of their own. So are the
    fields named in `without`.
    """
    parsed = docstring_parser.parse(settings_class.__doc__ or "")
    docs = {entry.arg_name: " ".join((entry.description or "").split()) for entry in parsed.params}
    hints = get_type_hints(settings_class)
    flags: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(settings_class):
        default = field.default
        if _is_nested(field) or field.name in without:
            continue
        mapping = field.default_factory is dict
        default = () if mapping else default
        several = isinstance(default, tuple)
        shown = " ".join(map(str, default)) or "none" if isinstance(default, tuple) else default
        parameter = Parameter(
            help=docs.get(field.name, ""),
            group=group,
            show_default=str(shown),
            converter=whole_number if hints[field.name] is int else None,
            consume_multiple=several,
            negative_iterable=(),
        )
        name = _RENAMED.get((settings_class, field.name), field.name)
        hint = hints[field.name]
        if hint == tuple[Any, ...]:
            hint = tuple[str, ...]  # objects have no flags, but their modules have names
        if mapping:
            hint = tuple[str, ...]  # name=value
        flags.append((name, Annotated[hint | None, parameter], None))
    # cyclopts takes a class for a builtin unless it knows the module.
    namespace = {"__module__": __name__}
    name = f"{settings_class.__name__}Flags"
    return dataclasses.make_dataclass(name, flags, frozen=True, namespace=namespace)


def given(flags: Any, settings_class: type) -> dict[str, Any]:
    """The flags that were given, by the names of their settings."""
    fields = fields_by_flag(settings_class)
    mappings = {f.name for f in dataclasses.fields(settings_class) if f.default_factory is dict}
    values = {fields[name]: value for name, value in vars(flags).items() if value is not None}
    return {
        name: pairs(name, value) if name in mappings else value for name, value in values.items()
    }


def pairs(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """A mapping from texts name=value, with values as in YAML.

    Raises:
      ConfigError: if a text has another form.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals or not key.isidentifier():
            raise not_allowed(name, repr(text), "name=value, with a value as in YAML")
    return found


def whole_number(_type: object, tokens: Sequence[Token]) -> int:
    """Reads 500000, 500_000 and 5e5 alike, and does not round 1.5 as cyclopts would."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        return _integral(text)


def _integral(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{text!r} is not a whole number")
    return int(number)
