"""Runs whole cycles of an agent on a task: rollouts, inner steps, and one meta-step.

The in-graph runner is one jitted scan; the host runner is a Python loop over the same
agent. Both report the same metrics, in time order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents.memory import observation_of
from selftuning.agents.self_tuning import AgentState, SelfTuningAgent, compiled
from selftuning.agents.window import kept
from selftuning.configs.errors import require
from selftuning.configs.settings import RunSettings
from selftuning.envs.task import GraphTask, HostTask, Task, Timestep
from selftuning.training import divergence, parallel
from selftuning.training.rollout import collect_in_graph, collect_on_host

# Updates in one piece of straight code. A meta-step evaluates networks at parameters and data where
# an update has just done so. XLA computes equal expressions once (common subexpressions), but only
# within one computation: the body of a loop is another one, and hands out what it returns and
# nothing else. So updates that a meta-step reads are no loop but stand beside it, written out. Each
# of them makes the program longer to compile, hence a limit. The products that
# are saved are counted in tests/test_training_sharing.py.
_UNROLLED = 4

# How learning goes is looked at in one cycle of so many, and in the last of each chunk.
_LOOK_EVERY = 8

# Of what runs once: it takes XLA longer to optimise than it ever saves.
ONCE = {"xla_backend_optimization_level": 0}


class TrainState(NamedTuple):
    """What a run carries from cycle to cycle.

    Attributes:
      agent: the agent's state.
      env: state of the in-graph environments; () on the host, where they keep their own.
      observation: what is acted on next [B, ...], with what is remembered (`agents.memory`).
      key: uint32 [2].
      actor: that collects the next rollout, where it is not that of the agent; () elsewhere.
    """

    agent: AgentState
    env: Any
    observation: Any
    key: jax.Array
    actor: Any = ()


class CycleMetrics(NamedTuple):
    """N cycles of S steps of each of B environments, in time order.

    Environment steps up to and with entry (n, s): (n * S + s + 1) * B.

    Attributes:
      episode_end: [N, S, B] bool, whether an episode ended at this step.
      episode_return: [N, S, B] float32, undiscounted, of its episode up to this step.
      reward: [N] float32, mean of a step: all there is to see where no episode ends.
      hyperparameters: values by name after the cycle, [N] or [N, H].
      diagnostics: of the meta-step by name, [N].
      not_finite: by name, the first entry of a cycle that is not finite [N]; see
        `training.divergence`.
      learning: how learning goes by name, in the last rollout of the cycle [N]; NaN where nobody
        looked (`agents.learning_metrics`).
    """

    episode_end: Any
    episode_return: Any
    reward: Any
    hyperparameters: dict[str, Any]
    diagnostics: dict[str, Any]
    not_finite: dict[str, Any]
    learning: dict[str, Any]


class Runner(NamedTuple):
    """A task and an agent, ready to run.

    Attributes:
      steps_per_cycle: environment steps of all environments in one cycle.
      init: (key, start values or None) -> TrainState.
      compile: (state, num_cycles) -> run, a function state -> (state, CycleMetrics) that
        runs that many cycles and compiles nothing more. It may consume its argument.
      in_background: whether `run` returns before its work is done.
      whole: TrainState -> what a checkpoint holds of it beside the agent, a pytree of arrays.
      again: (TrainState of `init`, agent's state, what `whole` said, whether environments of the
        host were restored) -> TrainState that goes on from there, bit for bit. Environments of the
        host that were not restored begin new episodes.
    """

    steps_per_cycle: int
    init: Callable[..., TrainState]
    compile: Callable[[TrainState, int], Callable[[TrainState], tuple[TrainState, CycleMetrics]]]
    in_background: bool
    whole: Callable[[TrainState], Any]
    again: Callable[..., TrainState]


def make_runner(task: Task, agent: SelfTuningAgent, settings: RunSettings) -> Runner:
    """The runner for a task of either kind on `settings.devices` devices.

    The task has `settings.num_envs` environments; one on the host those of this process.

    Raises:
      ConfigError: if there are not so many devices.
    """
    where = parallel.placement(settings)
    make = _in_graph if isinstance(task, GraphTask) else _host
    functions = make(task, agent, settings, where)  # type: ignore[arg-type]
    return Runner(settings.steps_per_cycle, *functions)


def _in_graph(
    task: GraphTask, agent: SelfTuningAgent, settings: RunSettings, where: parallel.Placement
):
    init, cycle = graph_cycle(task, agent, settings)
    shapes = jax.eval_shape(init, jax.random.PRNGKey(0))
    states = TrainState(
        where.of_copies(shapes.agent),
        where.of_environments(shapes.env),
        where.divided,
        where.everywhere,  # type: ignore[arg-type]
    )

    def compile_cycles(state, num_cycles):
        def run(state):
            # A meta-step may also read updates of the cycle before. Where cycles are short, several
            # of them are written out, so that those stand in the same piece.
            # Updates on one rollout are a loop of their own, and have nothing to share.
            again = any(stretch.evaluated_again for stretch in agent.window.stretches)
            again = again and agent.algorithm.reuse is None
            unroll = max(1, _UNROLLED // settings.tuning.period) if again else 1
            return jax.lax.scan(cycle, state, looked_at(num_cycles), num_cycles, unroll=unroll)

        placed = jax.jit(
            run,
            donate_argnums=0,
            in_shardings=(states,),
            out_shardings=(states, where.everywhere),
        )
        return placed.lower(state).compile()

    def again(fresh, agent_state, rest, restored=False):
        # Typed keys of environments are saved as the numbers that they are made of.
        saved = TrainState(agent_state, **rest)
        return jax.device_put(jax.tree.map(_like, fresh, saved), states)

    def whole(state):
        rest = {"env": state.env, "observation": state.observation, "key": state.key}
        return jax.tree.map(_numbers, rest)

    started = jax.jit(init, out_shardings=states, compiler_options=ONCE)
    return started, compile_cycles, True, whole, again


def _numbers(x: jax.Array) -> jax.Array:
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x


def _like(fresh: jax.Array, saved: Any) -> Any:
    is_key = jnp.issubdtype(fresh.dtype, jax.dtypes.prng_key)
    return jax.random.wrap_key_data(saved, impl=jax.random.key_impl(fresh)) if is_key else saved


def graph_cycle(task: GraphTask, agent: SelfTuningAgent, settings: RunSettings):
    """Pure (init, cycle) of the in-graph runner, for those who vmap over seeds or starts.

    `init` is (key, start values or None) -> TrainState; `cycle` has the form that
    `jax.lax.scan` takes, (state, look) -> (state, CycleMetrics of that cycle, no axis N). `look` is
    a bool, whether to look how learning goes; with None that is left out of the program.

    Raises:
      ConfigError: if acting is to overlap with learning, which is for environments of the host.
    """
    allowed = "false inside jit, or used with --backend host"
    require(not settings.agent.overlap, "agent.overlap", "true", allowed)
    collect = collect_in_graph(task, agent, settings.agent.rollout_length)

    def init(key, start_values=None):
        key, key_agent, key_env = jax.random.split(key, 3)
        env_state, observation = task.init(key_env)
        seen = agent.begin(observation)
        return TrainState(agent.init(key_agent, start_values), env_state, seen, key)

    def learn(agent_state, trajectory, key, look):
        if look is None:
            return *agent.inner_step(agent_state, trajectory, key), {}
        return agent.learn(agent_state, trajectory, key, look)

    def rollout_and_step(keep, state: TrainState, look):
        key, key_rollout = jax.random.split(state.key)
        env_state, observation, trajectory, timesteps = collect(
            agent.params(state.agent), state.env, state.observation, key_rollout
        )
        agent_state, record, learning = learn(state.agent, trajectory, key_rollout, look)
        found = divergence.in_rollout(timesteps)
        state = TrainState(agent_state, env_state, observation, key)
        return state, (keep(record), timesteps, found, learning)

    def cycle(state, look):
        parts, timesteps, found = [], [], []
        learning: dict[str, Any] = {}
        left = sum(stretch.updates for stretch in agent.window.stretches)
        for stretch in agent.window.stretches:
            left -= stretch.updates
            last = jnp.arange(stretch.updates, 0, -1) + left == 1
            state, (records, steps, bad, learning) = jax.lax.scan(
                partial(rollout_and_step, stretch.keep),
                state,
                None if look is None else last & look,
                stretch.updates,
                unroll=stretch.evaluated_again and stretch.updates <= _UNROLLED,
            )
            parts.append(records)
            timesteps.append(steps)
            found.append(bad)
        agent_state, info = agent.meta_step(state.agent, parts)
        pieces = zip(timesteps, found, strict=True)
        steps, bad = jax.tree.map(lambda *x: jnp.concatenate(x), *pieces)
        params = agent_state.learner.inner.params
        bad = divergence.of_cycle(bad, params, settings.agent.rollout_length * task.num_envs)
        learning = jax.tree.map(lambda x: x[-1], learning)
        metrics = _metrics(agent.hyperparameters(agent_state), info, bad, learning, steps)
        return state._replace(agent=agent_state), metrics

    return init, cycle


def looked_at(cycles: int) -> np.ndarray:
    """In which cycles of a chunk to look how learning goes, bool [cycles]."""
    return np.arange(cycles)[::-1] % _LOOK_EVERY == 0


def _metrics(hyperparameters, info, not_finite, learning, timesteps: Timestep) -> CycleMetrics:
    """Metrics of one cycle; `timesteps` are [period, T, B]."""

    def in_time_order(x):
        return x.reshape(-1, x.shape[-1])

    return CycleMetrics(
        in_time_order(timesteps.episode_end),
        in_time_order(timesteps.episode_return),
        timesteps.reward.mean(),
        hyperparameters,
        info,
        not_finite,
        learning,
    )


def _host(task: HostTask, agent: SelfTuningAgent, settings: RunSettings, where: parallel.Placement):
    agent, overlap = compiled(agent), settings.agent.overlap
    acting = parallel.acting_device() if overlap else None
    collect = collect_on_host(task, agent, settings.agent.rollout_length)
    learn, split = jax.jit(agent.learn), jax.jit(jax.random.split)
    finite, last_usable = jax.jit(divergence.all_finite), cast(Any, None)

    @jax.jit
    def report(agent_state):
        # Environments of the host look at their own numbers (envs.vector).
        all_are = divergence.all_finite(agent_state.learner.inner.params)
        not_finite = {"parameters": jnp.where(all_are, divergence.NONE, 0)}
        return {"hyperparameters": agent.hyperparameters(agent_state), "not_finite": not_finite}

    @jax.jit
    def meta_step(agent_state, records):
        return agent.meta_step(agent_state, kept(agent.window, records))

    def init(key, start_values=None):
        key, key_agent, key_env = jax.random.split(key, 3)
        init_agent = jax.jit(agent.init, out_shardings=where.everywhere, compiler_options=ONCE)
        seen, agent_state = begun(key_env), init_agent(key_agent, start_values)
        if not overlap:
            return TrainState(agent_state, (), seen, key)
        return TrainState(agent_state, (), seen, jax.device_put(key, acting), latest(agent_state))

    def begun(key):
        """What is acted on at the start of the episodes that a key draws."""
        drawn = jax.random.randint(parallel.process_key(key), (), 0, np.iinfo(np.int32).max)
        return agent.begin(task.reset(int(drawn)))

    def whole(state):
        return {"key": state.key, "actor": state.actor, "observation": state.observation}

    def again(fresh, agent_state, rest, restored=False):
        if restored:
            seen = rest["observation"]
        else:  # other episodes than those that the run began with
            seen = begun(jax.random.fold_in(jnp.asarray(rest["key"]), 1))
        agent_state = jax.device_put(agent_state, where.of_copies(agent_state))
        key, actor = (jax.device_put(x, acting) for x in (rest["key"], rest["actor"]))
        return TrainState(agent_state, (), seen, key, actor)

    def latest(agent_state):
        """The actor of a state. With overlap it is still being computed when this returns."""
        actor = parallel.here(agent.params(agent_state))
        return jax.device_put(actor, acting) if overlap else actor

    def usable(actor):
        """The actor, or the last one that was finite: no environment is sent a NaN for an action.

        The loop hears of it when the chunk is done (`training.divergence`).
        """
        nonlocal last_usable
        if last_usable is None or finite(actor):
            last_usable = actor
        return last_usable

    def rollout_and_step(state, look):
        key, key_rollout = split(state.key)
        actor = latest(state.agent)
        seen, trajectory, timesteps = collect(
            usable(state.actor if overlap else actor),
            state.observation,
            parallel.process_key(key_rollout),
        )
        key_learning = np.asarray(key_rollout)  # of no device: it was drawn where the agent acts
        divided = where.divide(trajectory)
        agent_state, *learned = learn(state.agent, divided, key_learning, look)
        following = TrainState(agent_state, (), seen, key, actor if overlap else ())
        return following, *learned, timesteps

    def cycle(state, look):
        records, steps, learning = [], [], {}
        for left in reversed(range(settings.tuning.period)):
            now = look & (left == 0)
            state, record, learning, timesteps = rollout_and_step(state, now)
            records.append(record)
            steps.append(timesteps)
        agent_state, info = meta_step(state.agent, records)
        known = report(agent_state) | {"info": info, "learning": learning}
        metrics = _metrics(**known, timesteps=_stack(steps))
        return state._replace(agent=agent_state), metrics

    def compile_cycles(state, num_cycles):
        # Compiled by one use on an empty trajectory: no environment is stepped for it.
        empty = agent.empty(settings.agent.rollout_length, task.num_envs)
        actor, seen = latest(state.agent), state.observation
        agent.act(actor, seen, state.key)
        ended = np.zeros(task.num_envs, bool)
        agent.follow(actor, seen, observation_of(seen), ended)
        look, key = np.bool_(False), np.asarray(state.key)
        agent_state, record, _ = learn(state.agent, where.divide(empty), key, look)
        records = [record] * settings.tuning.period
        report(meta_step(agent_state, records)[0])

        def run(state):
            rows = []
            for look in looked_at(num_cycles):
                state, metrics = cycle(state, look)
                rows.append(metrics)
            return state, _of_all_processes(_stack(rows))

        return run

    return init, compile_cycles, False, whole, again


def _of_all_processes(metrics: CycleMetrics) -> CycleMetrics:
    """Those of all environments, where there are those of this process's [N, S, B]."""
    end, returns = parallel.gathered((metrics.episode_end, metrics.episode_return), axis=2)
    reward = parallel.gathered(metrics.reward[:, None], axis=1).mean(1)
    return metrics._replace(episode_end=end, episode_return=returns, reward=reward)


def _stack(rows: list[Any]) -> Any:
    return jax.tree.map(lambda *x: np.stack(x), *rows)
