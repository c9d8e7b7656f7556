"""The contestants of `run.py bench`: parts of our agent on CartPole, and other libraries' agents.

What is stepped at random or only rolled out says what the environment and acting cost; A2C is
the agent without tuning, and the tuned ones are that agent and nothing else changed. Others take
part where they are installed, with their own defaults but for what is said here.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from selftuning.agents import self_tuning
from selftuning.benchmarks.speed import roofline
from selftuning.benchmarks.speed.turns import Contestant, Turn
from selftuning.configs import presets
from selftuning.configs.bench import BenchSettings
from selftuning.configs.settings import RunSettings
from selftuning.envs import registry
from selftuning.envs.task import GraphTask, HostTask
from selftuning.training.rollout import collect_in_graph, collect_on_host
from selftuning.training.runner import graph_cycle, make_runner

ENV = "CartPole-v1"
HOST_ENVS = 64
STEPS = 2**18  # environment steps of a turn, whole cycles of all contestants in-graph
HOST_STEPS = 2**12  # likewise on the host

RANDOM, ROLLOUT, A2C = "random actions", "rollout only", "A2C"
MG, BMG = "A2C + mg, every update", "A2C + bmg, every update"
EVERY_FOURTH = "A2C + bmg, every fourth update"
DEFAULT = "PPO + bmg, as by default"
OTHERS = "other libraries, as they come"
REJAX, SB3 = "rejax PPO", "Stable-Baselines3 A2C"


def group_name(num_envs: int, width: int | None, backend: str) -> str:
    """Of the contestants that are compared with each other."""
    network = f", {width} x 2" if width else ""
    return f"{num_envs} environments{network}, {backend}"


def all_of(settings: BenchSettings) -> list[Contestant]:
    """The contestants that are there, ours first."""
    steps = max(1, round(STEPS * settings.scale))
    host_steps = max(1, round(HOST_STEPS * settings.scale))
    result: list[Contestant] = []
    for num_envs in settings.num_envs:
        for width in settings.widths:
            result += ours(num_envs, width, "jax", steps)
    result += ours(HOST_ENVS, settings.widths[0], "host", host_steps)
    return [*result, *others(settings, steps, host_steps)]


def settings_of(name: str, num_envs: int, width: int, backend: str) -> RunSettings:
    """The preset of the task with one of our agents."""
    preset = presets.for_env(ENV)
    if name != DEFAULT:
        preset = presets.with_method(preset, "actor_critic")
    changes: dict[str, dict[str, Any]] = {
        A2C: {"method": "none"},
        MG: {"method": "mg", "inner_steps": 1, "period": 1},
        BMG: {"method": "bmg", "inner_steps": 1, "target_steps": 1, "period": 1},
        EVERY_FOURTH: {},
    }
    return replace(
        preset,
        num_envs=num_envs,
        backend=backend,  # type: ignore[arg-type]
        agent=replace(preset.agent, hidden=(width, width)),
        tuning=replace(preset.tuning, **changes.get(name, {})),
    )


def ours(num_envs: int, width: int, backend: str, steps: int) -> Iterator[Contestant]:
    """Parts and wholes of our agent on one kind of task."""
    group = group_name(num_envs, width, backend)
    acting = settings_of(A2C, num_envs, width, backend)
    spec = registry.make(ENV, 1, "jax").spec
    counts = roofline.flops(acting, *roofline.ends(spec))
    yield Contestant(group, RANDOM, partial(_random, acting, steps))
    yield Contestant(group, ROLLOUT, partial(_rollout, acting, steps), counts["acting"])
    for name in (A2C, MG, BMG, EVERY_FOURTH):
        settings = settings_of(name, num_envs, width, backend)
        total = sum(roofline.flops(settings, *roofline.ends(spec)).values())
        yield Contestant(group, name, partial(training, settings, steps), total)
    default = settings_of(DEFAULT, num_envs, width, backend)
    yield Contestant(group, DEFAULT, partial(training, default, steps))


def training(settings: RunSettings, steps: int) -> tuple[Turn, int]:
    """A run, as `run.py` makes it, but for its log -> (turn, environment steps of a turn)."""
    task = registry.make(settings.env, settings.num_envs, settings.backend, settings.environment)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    runner = make_runner(task, agent, settings)
    state = runner.init(jax.random.PRNGKey(0))
    cycles = max(1, steps // runner.steps_per_cycle)
    run = runner.compile(state, cycles)

    def turn():
        nonlocal state
        state = jax.block_until_ready(run(state)[0])

    return turn, cycles * runner.steps_per_cycle


def training_many(settings: RunSettings, seeds: Sequence[int], steps: int) -> tuple[Turn, int]:
    """Runs of all seeds as one program, divided over the devices -> (turn, steps of a turn).

    Args:
      settings: of each run, which is in-graph.
      seeds: whose number the number of devices may not divide: then fewer devices take part.
      steps: environment steps of each seed in a turn, rounded up to whole cycles.
    """
    task = registry.make(settings.env, settings.num_envs, "jax", settings.environment)
    assert isinstance(task, GraphTask)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    init, cycle = graph_cycle(task, agent, settings)
    cycle_steps = make_runner(task, agent, settings).steps_per_cycle
    cycles = -(-steps // cycle_steps)

    def run(states):
        def step(states, _):
            states, metrics = jax.vmap(cycle, (0, None))(states, None)
            return states, metrics.reward

        return jax.lax.scan(step, states, None, cycles)

    # Runs are independent. Each device scans those that it has, and waits for no other.
    mesh = Mesh(np.array(jax.devices()[: math.gcd(len(seeds), jax.device_count())]), ("runs",))
    runs, rewards = PartitionSpec("runs"), PartitionSpec(None, "runs")
    on_each = jax.shard_map(
        run, mesh=mesh, in_specs=runs, out_specs=(runs, rewards), check_vma=False
    )
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in seeds])
    state = jax.jit(jax.vmap(init), out_shardings=NamedSharding(mesh, runs))(keys, None)
    compiled = jax.jit(on_each, donate_argnums=0).lower(state).compile()

    def turn():
        nonlocal state
        state = jax.block_until_ready(compiled(state)[0])

    return turn, len(seeds) * cycles * cycle_steps


def _rollout(settings: RunSettings, steps: int) -> tuple[Turn, int]:
    task = registry.make(settings.env, settings.num_envs, settings.backend, settings.environment)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    params = agent.params(agent.init(jax.random.PRNGKey(0)))
    length = settings.agent.rollout_length
    times = max(1, steps // (length * task.num_envs))
    made = times * length * task.num_envs
    if isinstance(task, HostTask):
        compiled = agent._replace(act=jax.jit(agent.act))
        return _repeated(collect_on_host(task, compiled, length), params, task, times), made
    collect = collect_in_graph(task, agent, length)

    def one(state, key):
        env_state, observation, trajectory, _ = collect(params, *state, key)
        # What is collected is read, or nothing of it would be made.
        return (env_state, observation), jax.tree.map(lambda x: jnp.sum(x * 1.0), trajectory)

    return _scanned(task, one, times), made


def _random(settings: RunSettings, steps: int) -> tuple[Turn, int]:
    task = registry.make(settings.env, settings.num_envs, settings.backend, settings.environment)
    times = max(1, steps // task.num_envs)
    space = task.spec.action_space
    assert isinstance(space, gym.spaces.Discrete)
    if isinstance(task, HostTask):
        rng = np.random.default_rng(0)
        task.reset(0)

        def turn():
            for _ in range(times):
                task.step(rng.integers(0, space.n, task.num_envs))

        return turn, times * task.num_envs

    def one(state, key):
        action = jax.random.randint(key, (task.num_envs,), 0, int(space.n))
        env_state, timestep = task.step(state[0], action)
        return (env_state, timestep.observation), jnp.sum(timestep.reward)

    return _scanned(task, one, times), times * task.num_envs


def _scanned(task: GraphTask, one: Callable[[Any, jax.Array], Any], times: int) -> Turn:
    """One program that goes on from where the last turn has ended."""
    key = jax.random.PRNGKey(0)
    state = jax.jit(task.init)(key)

    def run(state, key):
        return jax.lax.scan(one, state, jax.random.split(key, times))

    compiled = jax.jit(run, donate_argnums=0).lower(state, key).compile()

    def turn():
        nonlocal state, key
        key, used = jax.random.split(key)
        state, sums = compiled(state, used)
        jax.block_until_ready(sums)

    return turn


def _repeated(collect: Callable[..., Any], params: Any, task: HostTask, times: int) -> Turn:
    observation, key = task.reset(0), jax.random.PRNGKey(0)

    def turn():
        nonlocal observation, key
        for _ in range(times):
            key, used = jax.random.split(key)
            observation, _, _ = collect(params, observation, used)

    return turn


def others(settings: BenchSettings, steps: int, host_steps: int) -> Iterator[Contestant]:
    """Agents of other libraries, where these are installed."""
    if importlib.util.find_spec("rejax"):
        for num_envs in settings.num_envs:
            name = f"{REJAX}, {num_envs} environments"
            yield Contestant(OTHERS, name, partial(_rejax, num_envs, steps))
    if importlib.util.find_spec("stable_baselines3"):
        name = f"{SB3}, {_SB3_ENVS} environments"
        yield Contestant(OTHERS, name, partial(_sb3, host_steps))


_SB3_ENVS = 8


def _rejax(num_envs: int, steps: int) -> tuple[Turn, int]:
    """PPO with PureJaxRL's rollouts: 128 steps, 4 epochs of 4 minibatches; networks 64 x 2."""
    from rejax import PPO

    length = 128
    made = max(1, steps // (num_envs * length)) * num_envs * length
    agent = PPO.create(
        env=ENV,
        num_envs=num_envs,
        num_steps=length,
        num_epochs=4,
        num_minibatches=4,
        total_timesteps=made,
        eval_freq=made,
        skip_initial_evaluation=True,
    ).replace(eval_callback=lambda agent, state, key: ())
    key = jax.random.PRNGKey(0)
    train = jax.jit(agent.train).lower(key).compile()

    def turn():
        nonlocal key
        key, used = jax.random.split(key)
        jax.block_until_ready(train(used))

    return turn, made


def _sb3(steps: int) -> tuple[Turn, int]:
    """A2C, one process, networks 64 x 2."""
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env

    agent = stable_baselines3.A2C(
        "MlpPolicy", make_vec_env(ENV, n_envs=_SB3_ENVS), device="cpu", seed=0
    )
    made = -(-steps // (agent.n_steps * _SB3_ENVS)) * agent.n_steps * _SB3_ENVS

    def turn():
        agent.learn(made)

    return turn, made
