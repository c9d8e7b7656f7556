"""Environments: a Gymnasium id in, one batched task interface out (`envs.registry.make`).

Importing it registers the environments that are its own with Gymnasium.
"""

import gymnasium

gymnasium.register("TwoColors-v0", "selftuning.envs.hosted:TwoColorsEnv")
gymnasium.register("SwitchingMDP-v0", "selftuning.envs.hosted:SwitchingMDPEnv")

# Episodes of these have the time limit of their source, TRAC's "Continual Gym Control" (2024).
for _name in ("CartPole", "Acrobot", "MountainCar"):
    gymnasium.register(
        f"Continual{_name}-v0",
        f"selftuning.envs.hosted:Continual{_name}Env",
        max_episode_steps=400,
    )
gymnasium.register(
    "ContinualLunarLander-v0",
    "selftuning.envs.continual:continual_lunar_lander",
    max_episode_steps=400,
)
