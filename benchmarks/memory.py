"""What K updates cost in memory: `python -m selftuning.benchmarks.memory`.

Bytes that compiled programs ask for, as XLA reports them: of the meta-gradient of mg through K
updates of the default agent on CartPole, from records in mixed mode and by reverse mode through
the updates made again. Nothing is run; the numbers are those of shapes.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from selftuning.agents import parts, self_tuning
from selftuning.agents.trajectory import empty_trajectory
from selftuning.benchmarks.record import write
from selftuning.configs import presets
from selftuning.configs.settings import RunSettings
from selftuning.envs import registry
from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.trust_region import advance
from selftuning.training import json_files

HORIZONS = (1, 4, 16, 64)
NUM_ENVS = 256


def settings_for(horizon: int, num_envs: int = NUM_ENVS) -> RunSettings:
    """The actor-critic with mg through K updates."""
    preset = presets.with_method(presets.for_env("CartPole-v1"), "actor_critic")
    tuning = replace(preset.tuning, method="mg", inner_steps=horizon, period=horizon + 1)
    return replace(preset, num_envs=num_envs, tuning=tuning)


def programs(settings: RunSettings):
    """Two functions of (state, steps, end, validation) for one number, and their arguments.

    The meta-gradient from the records `steps`, and that of reverse mode, which reads of them the
    data and the first state alone; the arguments are shapes.
    """
    task = registry.make(settings.env, settings.num_envs, "jax", settings.environment)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    learned = agent.algorithm
    engine, source = parts.learner(learned, settings), parts.source(settings)
    rule = parts.update_rule(settings)

    def mixed(state, steps, end, validation):
        return engine.meta_gradient(state, steps, end, validation)[0]

    def reverse(state, steps, end, validation):
        del end
        start = jax.tree.map(lambda x: x[0], steps.before)

        def outer_loss(raw):
            values = hp.Values(raw, state.values.fixed)

            def update(now, batch):
                used = source.apply(values, batch)

                def loss(params):
                    return learned.problem.inner_loss(params, now.params, used, batch)

                return advance(rule, None)(jax.grad(loss)(now.params), now, used, batch)[0], None

            params = jax.lax.scan(update, start, steps.batch)[0].params
            batch = jax.tree.map(lambda x: x[0], validation)
            return learned.problem.outer_loss(params, jax.lax.stop_gradient(params), batch)

        return jax.grad(outer_loss)(state.values.raw)

    def arguments(key):
        state = agent.init(key)
        spaces = task.spec.observation_space, task.spec.action_space
        size = settings.agent.rollout_length, settings.num_envs
        _, step = agent.inner_step(state, empty_trajectory(*spaces, *size))

        def many(tree, number):
            return jax.tree.map(lambda x: jnp.stack([x] * number), tree)

        steps = many(step, settings.tuning.inner_steps)
        return state.learner, steps, state.learner.inner, many(step.batch, 1)

    return mixed, reverse, arguments


def row(horizon: int, num_envs: int = NUM_ENVS) -> dict[str, int]:
    """Bytes for one K: of data, of records beside them, and of what either program adds."""
    mixed, reverse, arguments = programs(settings_for(horizon, num_envs))
    shapes = jax.eval_shape(arguments, jax.random.PRNGKey(0))
    _, steps, _, _ = shapes
    data = _bytes(steps.batch)
    return {
        "data": data,
        "records": _bytes(steps) - data,
        "mixed": _workspace(mixed, shapes),
        "reverse": _workspace(reverse, shapes),
    }


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _workspace(function: Any, shapes: Any) -> int:
    compiled = jax.jit(function).lower(*shapes).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None, "this backend does not say"
    return int(analysis.temp_size_in_bytes)


def main() -> None:
    """Compiles, and writes the numbers."""
    rows = {str(horizon): row(horizon) for horizon in HORIZONS}
    result = {"num_envs": NUM_ENVS, "rows": rows}
    print(json_files.text(result, indent=1), end="")
    write("memory", result)


if __name__ == "__main__":
    main()
