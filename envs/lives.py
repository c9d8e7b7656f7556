"""Lives of registered environments (`envs.continual`), taken up where they have come to."""

from __future__ import annotations

from dataclasses import replace

from selftuning.configs.settings import EnvSettings

LIVES = tuple(
    f"Continual{name}-v0" for name in ("Acrobot", "CartPole", "LunarLander", "MountainCar")
)


def taken_up(env_id: str, options: EnvSettings, steps: int) -> EnvSettings:
    """Options of an environment whose life goes on after `steps` of its own steps.

    Those of an environment that has no life are what they were.
    """
    if env_id not in LIVES:
        return options
    before = options.env_kwargs.get("begins", 0)
    return replace(options, env_kwargs={**options.env_kwargs, "begins": before + steps})
