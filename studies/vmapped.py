"""Many runs of one agent as one program.

It is vmapped over runs and sharded over all devices, which need not talk to each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from selftuning.agents import self_tuning
from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.configs.errors import not_allowed
from selftuning.configs.settings import RunSettings
from selftuning.configs.studies import Start
from selftuning.envs import registry
from selftuning.envs.task import GraphTask
from selftuning.training import sizes

_LARGEST_CHUNK = 2**26  # bytes of rows that are on the device at once


def task_and_agent(settings: RunSettings) -> tuple[GraphTask, SelfTuningAgent]:
    """The task in-graph, and the agent for it.

    Raises:
      ConfigError: if the environment cannot be stepped in-graph.
    """
    task = registry.make(settings.env, settings.num_envs, "jax", settings.environment)
    if not isinstance(task, GraphTask):
        raise not_allowed("env", settings.env, "one stepped in-graph")
    sizes.check(task.spec, settings)
    return task, self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)


def cycles_for(settings: RunSettings) -> int:
    """Cycles of a run that hold at least the environment steps of its settings."""
    return math.ceil(settings.steps / settings.steps_per_cycle)


def start_values(settings: RunSettings, starts: Sequence[Start]) -> dict[str, jax.Array]:
    """Start values by name [R]: those of each run, and else those of the settings."""
    return {
        name: jnp.asarray([start.get(name, spec.start) for start in starts], float)
        for name, spec in settings.in_use.items()
    }


def sharded(state: Any) -> Any:
    """The state of R runs, leaves [R, ...], on as many devices as divide R."""
    return jax.device_put(state, NamedSharding(_mesh(state), PartitionSpec("runs")))


def _mesh(state: Any) -> Mesh:
    runs = jax.tree.leaves(state)[0].shape[0]
    return Mesh(np.array(jax.devices()[: math.gcd(runs, jax.device_count())]), ("runs",))


def compile_steps(
    step: Callable[..., Any], state: Any, most: int
) -> Callable[[Any, int, int], tuple[Any, Any]]:
    """Compiles a scan whose rows go to the host in chunks that the device has room for.

    Runs are independent: each device scans those that it has. The number of steps of a chunk is
    an argument of the program: one is compiled for chunks of all lengths, and where they are cut
    changes no result.

    Args:
      step: (state, number of the step) -> (state, row), both with leaves [R, ...] for any R.
      state: to compile for, as `sharded` puts it.
      most: steps that are asked for at a time.

    Returns:
      A function (state, first, count) -> (state, rows) of `count` steps numbered from `first`. It
      consumes `state`; rows are in NumPy, leaves [count, R, ...].
    """
    row_shapes = jax.eval_shape(step, state, 0)[1]
    bytes_ = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(row_shapes))
    size = min(most, max(1, _LARGEST_CHUNK // bytes_))

    def run(state, first, count):
        rows = jax.tree.map(
            lambda x: jnp.zeros((size, *x.shape), x.dtype), jax.eval_shape(step, state, first)[1]
        )

        def body(i, carry):
            state, rows = carry
            state, row = step(state, first + i)
            return state, jax.tree.map(lambda all_, x: all_.at[i].set(x), rows, row)

        return jax.lax.fori_loop(0, count, body, (state, rows))

    spec = PartitionSpec("runs")
    on_each = jax.shard_map(
        run,
        mesh=_mesh(state),
        in_specs=(spec, PartitionSpec(), PartitionSpec()),
        out_specs=(spec, PartitionSpec(None, "runs")),
        check_vma=False,
    )
    compiled = jax.jit(on_each, donate_argnums=0).lower(state, 0, 0).compile()

    def advance(state, first, count):
        chunks = []
        for begin in range(0, count, size):
            length = min(size, count - begin)
            # Put where it is already, but for empty arrays, which XLA leaves anywhere.
            state, rows = compiled(sharded(state), first + begin, length)
            chunks.append(jax.tree.map(lambda x, n=length: np.asarray(x)[:n], rows))
        return state, jax.tree.map(lambda *x: np.concatenate(x), *chunks)

    return advance
