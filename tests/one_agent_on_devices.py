"""One agent on as many devices as JAX finds; for `test_training_parallel`.

Usage: python -m tests.one_agent_on_devices OUT.npz BACKEND
"""

import sys

import jax
import numpy as np

from selftuning.agents import self_tuning
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.envs import registry
from selftuning.training.runner import make_runner

CYCLES = 3


def main(out: str, backend: str) -> None:
    # A window of K + L = 5 over periods of 2 reaches back to trajectories of earlier cycles.
    settings = RunSettings(
        num_envs=16,
        agent=AgentSettings(algorithm="actor_critic", hidden=(8,), rollout_length=8),
        tuning=TuningSettings(inner_steps=2, target_steps=3, period=2, optimizer="adam"),
        devices=jax.device_count(),
    )
    task = registry.make("CartPole-v1", settings.num_envs, backend)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    runner = make_runner(task, agent, settings)
    state = runner.init(jax.random.PRNGKey(0))
    run = runner.compile(state, CYCLES)
    for _ in range(2):
        state, metrics = run(state)
    values = {
        "devices": settings.devices,
        "environments_each": len(state.env.episode_length.addressable_data(0)) if state.env else 0,
        "params": np.concatenate([x.ravel() for x in jax.tree.leaves(state.agent.learner)]),
        "history": np.asarray(state.agent.history.batch.trajectory.observation),
        "episode_return": metrics.episode_return,
        "episode_end": metrics.episode_end,
        **{f"value of {name}": x for name, x in metrics.hyperparameters.items()},
        **{f"diagnostic {name}": x for name, x in metrics.diagnostics.items()},
    }
    np.savez(out, **values)


if __name__ == "__main__":
    main(*sys.argv[1:])
