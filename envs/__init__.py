"""Environments: a Gymnasium id in, one batched task interface out (`envs.registry.make`).

Importing it registers the environments that are its own with Gymnasium.
"""

import gymnasium

gymnasium.register("TwoColors-v0", "selftuning.envs.hosted:TwoColorsEnv")
gymnasium.register("SwitchingMDP-v0", "selftuning.envs.hosted:SwitchingMDPEnv")
