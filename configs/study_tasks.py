"""The environments of a study: what the runs on each of them are made of.

Settings of the first stand in `run`. Each of the others has what its runs change in these, so that
a file shows how tasks differ and nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selftuning.configs import files, presets
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.extensions import extended
from selftuning.configs.settings import RunSettings

ENV = "env"
Plain = dict[str, Any]


def layered(layers: Sequence[Mapping[str, Any]]) -> tuple[Plain, dict[str, Plain]]:
    """Settings of the runs on the first environment, and what those on others change in them.

    Args:
      layers: of `study.yaml`, the later ones changing those before. What a layer says of all runs
        counts more than what those before say of one task.

    Raises:
      ConfigError: if environments are not named, or one is there twice.
    """
    envs = [RunSettings.env]
    for layer in layers:
        envs = _named(_mapping(layer, "run").get(ENV)) or envs
        envs = [*envs, *(name for name in _mapping(layer, "tasks") if name not in envs)]
    first, *others = ({env: _run_on(env, layers)} for env in envs)
    (run,) = first.values()
    return run, {env: changes(run, data) for other in others for env, data in other.items()}


def changes(run: Mapping[str, Any], other: Mapping[str, Any]) -> Plain:
    """What the second of two settings changes in the first, but for the environment.

    Raises:
      ConfigError: if the first has arguments of its environment that the second leaves out: these
        would reach it too.
    """
    named = run["environment"]["env_kwargs"].keys()
    if missing := sorted(named - other["environment"]["env_kwargs"].keys()):
        raise not_allowed(
            f"env_kwargs of {run[ENV]}",
            ", ".join(missing),
            f"said for {other[ENV]} as well, or the environment be named after it",
        )
    return {key: x for key, x in _changes(run, other).items() if key != ENV}


def changed(run: RunSettings, env: str, data: Mapping[str, Any]) -> Plain:
    """Settings of the runs on another environment, as plain data."""
    return files.merged(files.plain(run), {**data, ENV: env})


def _changes(one: Mapping[str, Any], two: Mapping[str, Any]) -> Plain:
    found: Plain = {}
    for key, new in two.items():
        old = one.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inner := _changes(old, new):
                found[key] = inner
        elif key not in one or old != new:
            found[key] = new
    return found


def _run_on(env: str, layers: Sequence[Mapping[str, Any]]) -> Plain:
    """All layers for one environment, on the preset that it has."""
    said: Plain = {}
    for layer in layers:
        task = _mapping(layer, "tasks").get(env) or {}
        if not isinstance(task, Mapping) or ENV in task:
            raise not_allowed(f"tasks.{env}", repr(task), "what its runs change, but for env")
        said = files.merged(files.merged(said, _mapping(layer, "run")), task)
    method = said.pop("preset", None)
    base = presets.for_env(env, said.get("steps"))
    base = presets.with_method(base, str(method)) if method else base
    base = extended(base, said.get("extensions", ()))
    return files.merged(files.plain(base), said) | {ENV: env}


def _mapping(layer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = layer.get(name)
    if not isinstance(found, Mapping | None):
        raise not_allowed(name, repr(found), "a mapping of settings")
    return found or {}


def _named(data: Any) -> list[str]:
    """Environments from a list, or from names that commas separate; none if nothing is said."""
    if data is None:
        return []
    names = [name.strip() for name in data.split(",")] if isinstance(data, str) else data
    if not isinstance(names, list | tuple) or not all(isinstance(x, str) and x for x in names):
        raise not_allowed(ENV, repr(data), "an environment, or several: A,B,C")
    data = names
    for number, name in enumerate(data):
        if name in data[:number]:
            raise ConfigError(f"{ENV}: {name} is there twice")
    if not data:
        raise not_allowed(ENV, "[]", "one environment at least")
    return list(data)
