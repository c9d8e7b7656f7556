"""Settings classes as flags: every field is one, so a field added to them needs nothing here."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, get_type_hints

import docstring_parser
from cyclopts import Group, Parameter

from selftuning.configs import help_defaults, yaml_text
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.settings import AgentSettings, EnvSettings, RunSettings, TuningSettings

# Parts of the settings of a run that have flags, by the prefix of their fields in messages.
PARTS: Mapping[str, type] = {
    "": RunSettings,
    "environment.": EnvSettings,
    "tuning.": TuningSettings,
    "agent.": AgentSettings,
}

# Fields whose bare name would say too little among all other flags.
_RENAMED: dict[tuple[type, str], str] = {
    (RunSettings, "extensions"): "extension",
    (EnvSettings, "wrappers"): "wrapper",
    (TuningSettings, "method"): "meta",
    (TuningSettings, "optimizer"): "meta_optimizer",
    (TuningSettings, "learning_rate"): "meta_learning_rate",
    (TuningSettings, "epsilon"): "meta_epsilon",
}


def fields_by_flag(settings_class: type) -> dict[str, str]:
    """Names of the flags of a settings class, and the fields that they set."""
    return {
        _RENAMED.get((settings_class, field.name), field.name): field.name
        for field in dataclasses.fields(settings_class)
        if not _is_nested(field)
    }


def names_of_fields() -> dict[str, str]:
    """Names of flags, by the fields of a run that they set, as messages name them: agent.hidden."""
    return {
        f"{prefix}{field}": name
        for prefix, settings_class in PARTS.items()
        for name, field in fields_by_flag(settings_class).items()
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
        several = mapping or isinstance(default, tuple)
        parameter = Parameter(
            help=docs.get(field.name, ""),
            group=group,
            show_default=_shown(settings_class, field),
            consume_multiple=1 if several else None,  # or more
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


def _shown(settings_class: type, field: dataclasses.Field) -> Any:
    """What `--help` shows as the default of a field."""
    part = {kind: name for name, kind in PARTS.items()}.get(settings_class)
    if part is None:  # nothing that an environment or a preset changes
        return str(field.default)

    def get(settings: RunSettings) -> Any:
        return getattr(getattr(settings, part.rstrip(".")) if part else settings, field.name)

    if settings_class is RunSettings and field.name == "env":
        return RunSettings.env
    return lambda _: help_defaults.shown(get)


def given(flags: Any, settings_class: type) -> dict[str, Any]:
    """The flags that were given, by the names of their settings."""
    fields = fields_by_flag(settings_class)
    mappings = {f.name for f in dataclasses.fields(settings_class) if f.default_factory is dict}
    values = {fields[name]: value for name, value in vars(flags).items() if value is not None}
    return {
        name: pairs(name, value) if name in mappings else value for name, value in values.items()
    }


def fields_of(changes: Collection[str], parts: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Fields as messages name them: those of the run, and those of its parts."""
    return (*changes, *(f"{part}.{name}" for part, names in parts.items() for name in names))


def changed(before: RunSettings, after: RunSettings) -> tuple[str, ...]:
    """Fields in which settings differ, as messages name them."""
    return tuple(x for x in names_of_fields() if attrgetter(x)(before) != attrgetter(x)(after))


def pairs(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """A mapping from texts name=value, with values as in YAML.

    Raises:
      ConfigError: if a text has another form, or a name is there twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise not_allowed(name, repr(text), "name=value, with a value as in YAML")
        if key in found:
            raise ConfigError(f"{name} of {key}: said twice")
        found[key] = yaml_text.read(value, f"{name} of {key}")
    return found
