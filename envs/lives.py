"""Lives of environments: taken up where they have come to, and judged where they are.

An environment lives if it changes with the steps of a clock that goes on when an episode ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from selftuning.configs.settings import EnvSettings
from selftuning.envs.continual import Lifetime, lifetime
from selftuning.envs.switching_mdp import SwitchingMDP
from selftuning.envs.two_colors import TwoColors

CONTINUAL = tuple(
    f"Continual{name}-v0" for name in ("Acrobot", "CartPole", "LunarLander", "MountainCar")
)
# What knows when levels change, from arguments of the environment.
_LIFE: Mapping[str, Callable[..., Lifetime | SwitchingMDP | TwoColors]] = {
    **dict.fromkeys(CONTINUAL, lambda **settings: lifetime(settings)),
    "SwitchingMDP-v0": SwitchingMDP,
    "TwoColors-v0": TwoColors,
}
_given: dict[str, Any] = {}  # of environments that were given as objects, by their ids


def remember(env_id: str, env: Any) -> None:
    """Remembers the life of an environment that was given as an object, if it has one.

    It has if it knows when its levels change, `lifetime` or `begins`, `switch_every` and `levels`,
    and can be made to begin later (`Continual.beginning`).
    """
    life = getattr(env, "lifetime", env)
    if hasattr(env, "beginning") and hasattr(life, "begins"):
        _given[env_id] = life


def is_life(env_id: str) -> bool:
    """Whether an environment changes over its life."""
    return env_id in _given or _name(env_id) in _LIFE


def taken_up(env_id: str, options: EnvSettings, steps: int) -> EnvSettings:
    """Options of an environment whose life goes on after `steps` of its own steps.

    Those of an environment that has no life are what they were.
    """
    if not steps or not is_life(env_id):
        return options
    _, begins = _life(env_id, options)
    return _begun(options, begins + steps)


def as_last(env_id: str, options: EnvSettings, steps: int) -> EnvSettings:
    """Options of an environment that begins with the level of the last of `steps` own steps.

    An agent is judged by the level that it has learned last, with all steps of that level to come:
    where a life goes on, the level may be over within an episode.
    """
    if not steps or not is_life(env_id):
        return options
    life, begins = _life(env_id, options)
    level = (begins + steps - 1) // life.switch_every
    ends = isinstance(life, Lifetime) and not life.cyclic
    level = min(level, life.levels - 1) if ends else level % life.levels
    return _begun(options, level * life.switch_every)


def _name(env_id: str) -> str:
    return env_id.rpartition(":")[2]  # without the module that is imported for it


def _life(env_id: str, options: EnvSettings) -> tuple[Any, int]:
    """What knows when levels change, and the step at which the first environment begins."""
    if env_id in _given:
        life = _given[env_id]
        return life, options.env_kwargs.get("begins", life.begins)
    settings = {name: x for name, x in options.env_kwargs.items() if name != "render_mode"}
    life = _LIFE[_name(env_id)](**settings)
    return life, life.begins


def _begun(options: EnvSettings, begins: int) -> EnvSettings:
    return replace(options, env_kwargs={**options.env_kwargs, "begins": begins})
