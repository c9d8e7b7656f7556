"""Settings classes as flags: every field is one, so a field added to them needs nothing here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, get_type_hints

import docstring_parser
from cyclopts import Group, Parameter, Token

from selftuning.configs.settings import RunSettings, TuningSettings

# Fields whose bare name would say too little among all other flags.
_RENAMED: dict[tuple[type, str], str] = {
    (RunSettings, "extensions"): "extension",
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
    nested = dataclasses.is_dataclass(field.default)
    return nested or field.default is dataclasses.MISSING


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
        flags.append((name, Annotated[hint | None, parameter], None))
    # cyclopts takes a class for a builtin unless it knows the module.
    namespace = {"__module__": __name__}
    name = f"{settings_class.__name__}Flags"
    return dataclasses.make_dataclass(name, flags, frozen=True, namespace=namespace)


def given(flags: Any, settings_class: type) -> dict[str, Any]:
    """The flags that were given, by the names of their settings."""
    fields = fields_by_flag(settings_class)
    values = {fields[name]: value for name, value in vars(flags).items()}
    return {name: value for name, value in values.items() if value is not None}


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
