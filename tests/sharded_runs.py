"""Makes four short runs and writes their rewards: for tests that need another number of devices.

Usage: python -m tests.sharded_runs OUT.npz
"""

import sys
from dataclasses import replace

import jax
import numpy as np

from selftuning.configs import presets
from selftuning.studies import programs, vmapped
from selftuning.studies.plan import Run
from selftuning.training.runner import graph_cycle

if __name__ == "__main__":
    settings = presets.for_env("CartPole-v1")
    agent = replace(settings.agent, rollout_length=32, epochs=2, minibatches=2)
    settings = replace(settings, agent=agent)
    init, cycle = graph_cycle(*vmapped.task_and_agent(settings), settings)
    starts = (0.5, 0.9, 0.95, 0.99)
    runs = [Run(n, n, {"gamma": start}) for n, start in enumerate(starts)]
    state = vmapped.sharded(jax.jit(jax.vmap(init))(*programs.begin_with(settings, runs, 4)))
    advance = vmapped.compile_steps(programs.step_of(cycle, 475.0), state, 8)
    _, rows = advance(state, 0, 8)
    devices = len(jax.tree.leaves(state)[0].sharding.device_set)
    gamma = rows.hyperparameters["gamma"]
    np.savez(sys.argv[1], total=rows.total, gamma=gamma, devices=devices)
