"""Messages name what was typed: flags on the command line, fields in a file."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from selftuning.configs.bench import BenchSettings
from selftuning.configs.convex import ConvexSettings
from selftuning.configs.errors import ConfigError
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings_flags import names_of_fields

_OF_STUDIES = "methods seeds points evaluations block mixed_blocks target launcher address workers"
_CLUSTER = "coordinator processes process join_timeout"
_OTHERS = f"out config preset wandb checkpoint_every save_environments {_CLUSTER} {_OF_STUDIES}"
_EDITS = {"low": "bounds", "high": "bounds"} | {
    x: x for x in ("start", "fix", "tune", "bounds", "outer")
}
# FIELD: ..., or FIELD of NAME: ..., where NAME is a hyperparameter or an argument.
_FIELD = re.compile(r"([\w.]+)((?: of \w+)?): (.*)")


def as_flags(error: ConfigError) -> ConfigError:
    """The error with a flag in place of the field of the settings that it sets."""
    match = _FIELD.fullmatch(str(error))
    if match is None or match[1] not in _flags():
        return error
    name = match[2].removeprefix(" of")
    return ConfigError(f"{_flags()[match[1]]}{name}: {match[3]}")


class Said(NamedTuple):
    """Where the settings of a command come from, each layer over those before.

    Attributes:
      file: None where there is none.
      preset: the name of a whole method; None where there is none.
      by_preset: fields that it has changed.
      typed: fields that flags have set since, and names of hyperparameters.
    """

    file: Path | None = None
    preset: str | None = None
    by_preset: Collection[str] = ()
    typed: Collection[str] = frozenset()


def by_whom(error: ConfigError, said: Said, certain: bool = False) -> ConfigError:
    """The error with the file or the preset that says so, or the flag.

    Args:
      error: of making what the settings ask for.
      said: where they come from.
      certain: whether it is of these settings whatever it names; else it may be of something else.
    """
    names, match = names_of_fields(), _FIELD.fullmatch(str(error))
    typed = {*said.typed, *(names.get(field, field) for field in said.typed)}
    by_flag = match and not {match[1], match[2].removeprefix(" of ")}.isdisjoint(typed)
    of_settings = certain or (match and match[1] in {*names, *names.values(), *_EDITS})
    if by_flag or not of_settings:
        return as_flags(error)
    if match and match[1] in said.by_preset:
        return ConfigError(f"--preset {said.preset}: {error}")
    if said.file is None or str(error).startswith(f"{said.file}:"):
        return as_flags(error)
    return ConfigError(f"{said.file}: {error}")


@contextmanager
def naming(said: Said) -> Iterator[None]:
    """Names whoever has said what is complained about inside, all of which is of these settings.

    Raises:
      ConfigError: as what is inside, with that name (`by_whom`).
    """
    try:
        yield
    except ConfigError as error:
        raise by_whom(error, said, certain=True) from error


@functools.cache
def _flags() -> Mapping[str, str]:
    names = names_of_fields()
    names |= {name: name for name in names.values()} | _EDITS
    names |= {name: name for name in _OTHERS.split()}
    for settings_class in (SearchSettings, ConvexSettings, BenchSettings):
        names |= {field.name: field.name for field in dataclasses.fields(settings_class)}
    return {field: f"--{name.replace('_', '-')}" for field, name in names.items()}
