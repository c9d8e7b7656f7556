"""Lives of registered environments: taken up where they have come to, and judged where they are.

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
LIVES = tuple(_LIFE)


def taken_up(env_id: str, options: EnvSettings, steps: int) -> EnvSettings:
    """Options of an environment whose life goes on after `steps` of its own steps.

    Those of an environment that has no life are what they were.
    """
    if env_id not in LIVES or not steps:
        return options
    return _begun(options, _LIFE[env_id](**options.env_kwargs).begins + steps)


def as_last(env_id: str, options: EnvSettings, steps: int) -> EnvSettings:
    """Options of an environment that begins with the level of the last of `steps` own steps.

    An agent is judged by the level that it has learned last, with all steps of that level to come:
    where a life goes on, the level may be over within an episode.
    """
    if env_id not in LIVES or not steps:
        return options
    life: Any = _LIFE[env_id](**options.env_kwargs)
    level = (life.begins + steps - 1) // life.switch_every
    if isinstance(life, Lifetime) and not life.cyclic:
        level = min(level, life.levels - 1)
    return _begun(options, level * life.switch_every)


def _begun(options: EnvSettings, begins: int) -> EnvSettings:
    return replace(options, env_kwargs={**options.env_kwargs, "begins": begins})
