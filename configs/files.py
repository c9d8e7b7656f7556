"""Settings as YAML: written complete, so that a file alone reruns its run, and read strictly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import yaml

import selftuning
from selftuning.configs import versions as file_versions
from selftuning.configs import yaml_text
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.extensions import Own, Part, extended, given_again, written
from selftuning.configs.hyperparameters import default_hyperparameters
from selftuning.configs.settings import RunSettings
from selftuning.configs.structuring import structure

Settings = TypeVar("Settings")

NAME = "config.yaml"  # of the settings in a run directory
_VERSIONS_OF = ("jax", "dm-haiku", "rlax", "optax", "gymnasium", "numpy")


def dump(settings: Any) -> str:
    """The settings as YAML text: a comment with library versions, a stamp, and every field."""
    return f"# Written with {', '.join(f'{k} {v}' for k, v in versions().items())}\n" + (
        yaml.safe_dump(file_versions.stamp() | plain(settings), sort_keys=False)
    )


def versions() -> dict[str, str]:
    """Of this package and the libraries that results depend on, by name."""
    libraries = {name: version(name) for name in _VERSIONS_OF}
    return {"selftuning": selftuning.__version__} | libraries


def plain(settings: Any) -> dict[str, Any]:
    """Settings as data that YAML and JSON can hold: mappings, lists, text and numbers."""
    return _plain(settings)


def for_json(value: Any) -> Any:
    """Plain data with infinities as text, which JSON has no numbers for."""
    if isinstance(value, Mapping):
        return {key: for_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [for_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def load(path: Path, extensions: Sequence[Any] = (), *, trained: bool = False) -> RunSettings:
    """Reads settings; fields and hyperparameters that the file leaves out keep their defaults.

    Args:
      path: of the file.
      extensions: more of them than the file names, and those that it could not hold.
      trained: whether they are of an agent that is to act, and not to be trained anew.

    Raises:
      ConfigError: if the file is missing, is no YAML, is of a newer format, or has an unknown or
        mistyped field; it says so if a newer version wrote it.
    """
    with file_versions.explained([read(path)], str(path)) as (data,):
        if extensions:
            data = data | {"extensions": given_again(data.get("extensions", ()), extensions)}
        data = _with_scales(data, str(path), trained)
        return structure(_with_all_hyperparameters(data, str(path)), RunSettings, str(path))


def _with_scales(data: dict[str, Any], where: str, trained: bool) -> dict[str, Any]:
    """Settings of versions 0.1 and 0.2, in which rewards and observations had no running scales."""
    agent = data.get("agent")
    if not isinstance(agent, Mapping) or "value_scale" not in agent:
        return data
    rest = {name: value for name, value in agent.items() if name != "value_scale"}
    if not trained and agent["value_scale"] != 1:
        raise not_allowed(
            f"{where}: agent.value_scale",
            agent["value_scale"],
            "left out: rewards are scaled by themselves now (normalize_rewards)",
        )
    # What values were multiplied by has no influence on what a trained agent does.
    as_it_was: dict[str, Any] = {"normalize_observations": False, "normalize_rewards": False}
    as_it_was |= {"torso": "nature", "action_bounds": "clip"}
    as_it_was |= {"algorithm": "actor_critic", "anneal_learning_rate": False}
    return data | {"agent": as_it_was | rest}


def _with_all_hyperparameters(data: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Settings of a run as plain data, where what is not said of hyperparameters is the default."""
    said, known = data.get("hyperparameters", {}), default_hyperparameters()
    if not isinstance(said, Mapping):
        return data  # which is an error that `structure` tells
    if said.keys() - known.keys():
        known = extended(RunSettings(), data.get("extensions", ())).hyperparameters
    for name in said:
        if name not in known:
            raise ConfigError(f"{where}: unknown hyperparameter {name}")
    return merged({"hyperparameters": {name: plain(spec) for name, spec in known.items()}}, data)


def read(path: Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Raises:
      ConfigError: if the file is missing, is no YAML, or holds something else.
    """
    data = yaml_text.read_file(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no settings: it must be a mapping of their names")
    return _renamed(data)


def _renamed(data: Any) -> Any:
    """Settings of versions before 0.3, in which `tuning.continue_from` was called `resume`."""
    if isinstance(data, list):
        return [_renamed(item) for item in data]
    if not isinstance(data, dict):
        return data
    new = {key: _renamed(value) for key, value in data.items()}
    tuning = new.get("tuning")
    if isinstance(tuning, dict) and "resume" in tuning:
        named = {"continue_from" if key == "resume" else key: x for key, x in tuning.items()}
        new["tuning"] = named
    return new


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data with changes in it: mappings are merged, everything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merged(old, value)
        result[key] = value
    return result


def _plain(value: Any) -> Any:
    """Dataclasses as mappings, tuples as lists, extensions as names: no tags of Python's own."""
    if isinstance(value, Own | Part):
        return written(value)
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
