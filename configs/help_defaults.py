"""Defaults as `--help` shows them: those that apply to what the same line names, and why.

`run.py --env LunarLander --preset actor_critic --help` shows the steps of LunarLander and the
rollouts of the actor-critic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from selftuning.configs import files, flag_values, presets, studies
from selftuning.configs.errors import ConfigError
from selftuning.configs.hyperparameters import BUILT_IN, Hyperparameter
from selftuning.configs.settings import RunSettings

HELP = ("--help", "-h")
_NAMED = ("env", "preset", "config", "steps")

# What each layer of settings is called in words, and the settings up to and with it.
Layers = list[tuple[str, RunSettings]]

_layers: ContextVar[Layers | None] = ContextVar("layers", default=None)


@contextmanager
def applied(arguments: Sequence[str]) -> Iterator[None]:
    """Shows the defaults that apply to arguments, where they ask for help."""
    if not set(arguments).intersection(HELP):
        yield
        return
    token = _layers.set(_layers_of(arguments))
    try:
        yield
    finally:
        _layers.reset(token)


def shown(get: Callable[[RunSettings], Any]) -> str:
    """The default of a field, and where it comes from if that is no default of all runs.

    Args:
      get: settings -> the value.
    """
    value, why = _found(get)
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if value in ((), {}):
        text = "none"
    return f"{text}, {why}" if why else text


def shown_of_each(get: Callable[[str, Hyperparameter], str]) -> str:
    """The same of all hyperparameters: those of all runs first, and then what differs.

    Args:
      get: (name, hyperparameter) -> text, empty for one that is left out.
    """
    groups: dict[str, list[str]] = {"": []}
    for name in BUILT_IN:

        def of_one(settings: RunSettings, name: str = name) -> str:
            return get(name, settings.hyperparameters[name])

        text, why = _found(of_one)
        if text:
            groups.setdefault(why, []).append(text)
    parts = [
        f"{why}: {' '.join(texts)}" if why else " ".join(texts) for why, texts in groups.items()
    ]
    return "; ".join(part for part in parts if part)


def _found(get: Callable[[RunSettings], Any]) -> tuple[Any, str]:
    """A value, and which layer it is from; nothing for the first."""
    layers = _layers.get() or [("", RunSettings())]
    values = [get(settings) for _, settings in layers]
    changed = (n for n in range(len(values) - 1, 0, -1) if values[n] != values[n - 1])
    return values[-1], layers[next(changed, 0)][0]


def _layers_of(arguments: Sequence[str]) -> Layers:
    """The defaults of all runs, and what arguments name; what is wrong with them is left out."""
    said = dict(_said(arguments))
    make = _of_study if arguments[:1] == ["study"] else _of_run
    layers: Layers = [("", RunSettings())]
    try:
        for layer in make(said):
            layers.append(layer)
    except (ConfigError, ValueError):
        pass  # which the run will say
    return layers


def _said(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What flags name, however they are written."""
    for flag, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = flag.removeprefix("--").partition("=")
        if flag.startswith("--") and name in _NAMED:
            yield name, value if equals else following


def _of_run(said: dict[str, str]) -> Iterator[tuple[str, RunSettings]]:
    if "config" in said:
        settings = files.load(Path(said["config"]))
        yield f"in {said['config']}", settings
    else:
        env = said.get("env", RunSettings.env)
        settings = presets.for_env(env)
        yield f"for {env}", settings
        if "steps" in said:
            settings = replace(presets.for_env(env, _steps(said)), steps=settings.steps)
            yield f"for {said['steps']} steps", settings
    if "preset" in said:
        yield f"by --preset {said['preset']}", presets.with_method(settings, said["preset"])


def _of_study(said: dict[str, str]) -> Iterator[tuple[str, RunSettings]]:
    known: list[dict[str, Any]] = []
    yield f"for {RunSettings.env}", studies.layered(known).run
    if "preset" in said:
        known.append(dict(studies.preset(said["preset"])))
        yield f"by --preset {said['preset']}", studies.layered(known).run
    if "config" in said:
        known.append(dict(files.read(Path(said["config"]))))
        yield f"in {said['config']}", studies.layered(known).run
    if "env" in said:
        known.append({"run": {"env": said["env"]}})
        yield f"for {said['env']}", studies.layered(known).run
    if "steps" in said:
        before = studies.layered(known).run
        known.append({"run": {"steps": _steps(said)}})
        longer = replace(studies.layered(known).run, steps=before.steps)
        yield f"for {said['steps']} steps", longer


def _steps(said: dict[str, str]) -> int:
    return flag_values.whole(said["steps"])
