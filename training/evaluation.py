"""Evaluation: returns of whole episodes, and an animation of one.

An episode may last as long as the task's time limit says. Of tasks that have none, some end
episodes all the same (Atari games), and some never do (continuing tasks). Nobody need say
which: episodes side by side are all cut off after `HORIZON` steps if not one of them has ended
by then, and else at `STEP_LIMIT`. Where no episode has ended there are no returns to speak of;
what is reported then is the reward a step. Both kinds of task obey the same rule.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import special

from selftuning.agents.self_tuning import SelfTuningAgent, compiled
from selftuning.configs.settings import EnvSettings
from selftuning.envs import registry
from selftuning.envs.answers import BadAnswerError, shown
from selftuning.envs.task import GraphTask, HostTask, Task, TaskSpec

# Where the environment has no time limit of its own, an episode is cut off
STEP_LIMIT = 27_000  # here,
HORIZON = 5_000  # or here, if none of those beside it has ended either.
_HOST_ENVS = 16
IMAGES = 150  # of an animation
_IMAGE_WIDTH = 320
_LARGEST_GIF = 2_000_000  # bytes


class Evaluation(NamedTuple):
    """Episodes of the greedy policy.

    Attributes:
      rewards: undiscounted sum of the rewards of each, [E] float64.
      steps: lengths, [E].
      ended: whether it ended, by itself or by the task's time limit, [E] bool; else it was cut.
    """

    rewards: np.ndarray
    steps: np.ndarray
    ended: np.ndarray

    @property
    def returns(self) -> np.ndarray | None:
        """The rewards, if any episode has ended: where none does, they measure the horizon."""
        return self.rewards if self.ended.any() else None

    @property
    def reward_per_step(self) -> float:
        """Mean over all steps."""
        return float(self.rewards.sum() / self.steps.sum())

    @property
    def mean(self) -> float:
        """Mean return; where no episode ends, mean reward a step."""
        return float(self._judged.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Student's 95% interval of the mean; NaN from a single episode."""
        described = summarise(self._judged)
        return described.low, described.high

    @property
    def _judged(self) -> np.ndarray:
        return self.rewards / self.steps if self.returns is None else self.returns


class Interval(NamedTuple):
    """Mean and spread of numbers, one an episode, with Student's 95% interval of the mean."""

    episodes: int
    mean: float
    std: float
    low: float
    high: float


def summarise(values: np.ndarray) -> Interval:
    """Describes numbers [E]; from a single one there is no interval, and its ends are NaN."""
    mean, std = float(values.mean()), float(values.std())
    count = len(values)
    if count < 2:
        return Interval(count, mean, std, math.nan, math.nan)
    half = float(special.stdtrit(count - 1, 0.975) * values.std(ddof=1) / math.sqrt(count))
    return Interval(count, mean, std, mean - half, mean + half)


def evaluate(
    env_id: str,
    backend: str,
    agent: SelfTuningAgent,
    params: Any,
    episodes: int,
    seed: int,
    options: EnvSettings | None = None,
    stochastic: bool = False,
) -> Evaluation:
    """Runs episodes of the agent, whose actions are the most probable ones unless told otherwise.

    They run side by side, one an environment (on the host at most 16 at a time). The same
    arguments give the same episodes. All begin afresh: a task that changes with the steps of
    its own clock is seen where `options` say that it begins (`envs.lives.as_last`).

    Args:
      env_id: a Gymnasium id.
      backend: how it is stepped, as `RunSettings.backend`.
      agent: whose `mode` acts.
      params: its parameters.
      episodes: how many.
      seed: of the episodes, which are none of those of training with that seed.
      options: how the environment is made, as in training.
      stochastic: whether actions are drawn from the policy, as in training.
    """
    with task_for(env_id, backend, episodes, options or EnvSettings()) as task:
        return on_task(task, agent, params, episodes, seed, stochastic)


@contextmanager
def task_for(env_id: str, backend: str, episodes: int, options: EnvSettings) -> Iterator[Task]:
    """Environments for so many episodes, which are closed in the end.

    Args:
      env_id: a Gymnasium id.
      backend: how they are stepped, as `RunSettings.backend`.
      episodes: all at once in-graph; on the host in equal batches of at most 16.
      options: how environments are made.
    """
    batches = 1
    if not registry.in_graph(env_id, backend, options):
        batches = math.ceil(episodes / _HOST_ENVS)
    task = registry.make(env_id, math.ceil(episodes / batches), backend, options)
    try:
        yield task
    finally:
        if isinstance(task, HostTask):
            task.close()


def on_task(
    task: Task,
    agent: SelfTuningAgent,
    params: Any,
    episodes: int,
    seed: int,
    stochastic: bool = False,
) -> Evaluation:
    """As `evaluate`, on a task that is there already; its B environments run batch after batch."""
    return evaluator(task, agent, episodes, stochastic)(params, seed)


def evaluator(
    task: Task, agent: SelfTuningAgent, episodes: int, stochastic: bool = False
) -> Callable[[Any, int], Evaluation]:
    """`on_task` as a function of parameters and a seed, which compiles once."""
    batches = math.ceil(episodes / task.num_envs)
    if isinstance(task, GraphTask):
        in_graph = jax.jit(episodes_in_graph(task, agent, stochastic))

        def batch(params, seed):
            return in_graph(params, jax.random.PRNGKey(seed))
    else:
        acting = compiled(agent)

        def batch(params, seed):
            return _on_host(task, acting, params, int(seed), stochastic)

    def run(params: Any, seed: int) -> Evaluation:
        rows = [batch(params, seed) for seed in _seeds(seed, episodes)[:batches]]
        rewards, steps, ended = (
            np.concatenate(column)[:episodes] for column in zip(*rows, strict=True)
        )
        return Evaluation(rewards.astype(np.float64), steps, ended)

    return run


def _seeds(seed: int, episodes: int) -> np.ndarray:
    """Of batches of episodes, none of which are those of training with that seed."""
    return np.random.SeedSequence([seed, 1]).generate_state(episodes)


def _chooser(agent: SelfTuningAgent, stochastic: bool):
    """(params, what is acted on, key, step) -> actions for the task."""

    def drawn(params, seen, key, step):
        action, _ = agent.act(params, seen, jax.random.fold_in(key, step))
        return agent.to_task(action)

    return drawn if stochastic else lambda params, seen, key, step: agent.mode(params, seen)


def drawable(env_id: str, options: EnvSettings | None = None) -> gym.Env:
    """An environment for `record`, to be closed by the caller.

    Raises:
      ConfigError: if the environment cannot be drawn.
    """
    # Images are drawn in memory; without a display SDL complains unless it looks for none.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    return registry.make_render_env(env_id, options or EnvSettings())


def record(
    env: gym.Env,
    agent: SelfTuningAgent,
    params: Any,
    path: Path,
    seed: int,
    limit: int = STEP_LIMIT,
    stochastic: bool = False,
) -> Evaluation:
    """Writes a GIF of one episode, and returns it.

    On the host it is the first of the greedy episodes that `evaluate` runs with that seed.
    In-graph environments draw their numbers in another way, and it is one episode more.

    Long episodes are thinned to at most 150 images and 2 MB, shown at the speed of the
    environment but for half a second at most.

    Args:
      env: from `drawable`.
      agent: whose `mode` acts.
      params: its parameters.
      path: file to write.
      seed: of the evaluation.
      limit: steps after which it is cut off; `IMAGES` shows each of them.
      stochastic: whether actions are drawn from the policy.
    """
    agent = compiled(agent)
    choose, key = _chooser(agent, stochastic), jax.random.PRNGKey(seed)
    frames: list[np.ndarray] = []
    stride, total, ended, step = 1, 0.0, False, 0
    # As `envs.vector` seeds the first environment of the first batch.
    first = int(np.random.SeedSequence(int(_seeds(seed, 1)[0])).generate_state(1)[0])
    for space in (env.unwrapped.action_space, env.unwrapped.observation_space):
        space.seed(first)
    observation, _ = env.reset(seed=first)
    seen = agent.begin(np.asarray(observation)[None])
    while not ended and step < limit:
        if step % stride == 0:
            frames.append(_image(env.render()))
        if len(frames) > IMAGES:
            frames, stride = frames[::2], 2 * stride
        action = np.asarray(choose(params, seen, key, step))[0]
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        ended = terminated or truncated
        seen = agent.follow(params, seen, np.asarray(observation)[None], np.asarray([ended]))
        step += 1
    frames.append(_image(env.render()))
    fps = env.metadata.get("render_fps") or 30
    _write_gif(path, frames, milliseconds=1000 * stride / fps)
    return Evaluation(np.asarray([total]), np.asarray([step]), np.asarray([ended]))


def _image(drawn: Any) -> np.ndarray:
    """An image of `render`, [height, width, 3] uint8 (or gray, or with transparency)."""
    is_image = isinstance(drawn, np.ndarray) and drawn.dtype == np.uint8 and drawn.ndim in (2, 3)
    if not is_image:
        raise BadAnswerError(f"render() returned {shown(drawn)}, and no image of uint8")
    return drawn


def _limits(spec: TaskSpec) -> tuple[int, int]:
    """Steps of an episode at most: where one beside it has ended, and where none has."""
    limit = spec.max_episode_steps or STEP_LIMIT
    return limit, limit if spec.max_episode_steps else min(HORIZON, STEP_LIMIT)


def in_graph(task: GraphTask, agent: SelfTuningAgent):
    """Returns the pure function (params, key) -> greedy rewards, one an environment [B].

    They are summed over an episode, which is cut off as the module says.
    """
    episodes = episodes_in_graph(task, agent)
    return lambda params, key: episodes(params, key)[0]


def episodes_in_graph(task: GraphTask, agent: SelfTuningAgent, stochastic: bool = False):
    """Returns the pure function (params, key) -> (rewards, steps, ended), each [B]."""
    limit, horizon = _limits(task.spec)
    choose = _chooser(agent, stochastic)

    def episodes(params, key):
        def running(carry):
            step, _, _, (_, _, done) = carry
            return (step < jnp.where(done.any(), limit, horizon)) & ~done.all()

        def advance(carry):
            step, state, seen, (total, steps, done) = carry
            state, timestep = task.step(state, choose(params, seen, key, step))
            seen = agent.follow(params, seen, timestep.observation, timestep.episode_end)
            total = jnp.where(done, total, timestep.episode_return)
            steps = jnp.where(done, steps, timestep.episode_length)
            results = total, steps, done | timestep.episode_end
            return step + 1, state, seen, results

        state, observation = task.init(key)
        zeros = jnp.zeros(task.num_envs)
        results = zeros, zeros.astype(jnp.int32), zeros.astype(bool)
        return jax.lax.while_loop(running, advance, (0, state, agent.begin(observation), results))[
            3
        ]

    return episodes


def _on_host(
    task: HostTask, agent: SelfTuningAgent, params: Any, seed: int, stochastic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One episode of each environment: (rewards, steps, ended), each [B]."""
    limit, horizon = _limits(task.spec)
    choose, key = _chooser(agent, stochastic), jax.random.PRNGKey(seed)
    seen = agent.begin(task.reset(seed))
    total, steps = np.zeros(task.num_envs), np.zeros(task.num_envs, np.int32)
    done, step = np.zeros(task.num_envs, bool), 0
    while step < (limit if done.any() else horizon) and not done.all():
        timestep = task.step(np.asarray(choose(params, seen, key, step)))
        total = np.where(done, total, timestep.episode_return)
        steps = np.where(done, steps, timestep.episode_length)
        done = done | np.asarray(timestep.episode_end)
        following = np.asarray(timestep.observation)
        seen = agent.follow(params, seen, following, timestep.episode_end)
        step += 1
    return total, steps, done


def _write_gif(path: Path, frames: list[np.ndarray], milliseconds: float) -> None:
    """Writes an animation, of every second image (and again) until the file is small."""
    images = [Image.fromarray(frame) for frame in frames]
    if images[0].width > _IMAGE_WIDTH:
        height = round(images[0].height * _IMAGE_WIDTH / images[0].width)
        images = [image.resize((_IMAGE_WIDTH, height)) for image in images]
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # Viewers slow images down that are shown for less, and nobody waits for much more.
        duration = min(max(20.0, milliseconds), 500.0)
        images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0)
        if path.stat().st_size <= _LARGEST_GIF or len(images) == 1:
            return
        images, milliseconds = images[::2], 2 * milliseconds
