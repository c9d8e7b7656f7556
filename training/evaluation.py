"""Greedy evaluation: returns of whole episodes, and an animation of one."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import special

from agents.self_tuning import SelfTuningAgent
from envs import registry
from envs.task import GraphTask, HostTask

# An episode is cut off here where the environment has no time limit of its own.
STEP_LIMIT = 27_000
_HOST_ENVS = 16
_FRAMES = 150
_IMAGE_WIDTH = 320
_LARGEST_GIF = 2_000_000  # bytes


class Interval(NamedTuple):
    """Mean and spread of returns, with Student's 95% interval of the mean."""

    episodes: int
    mean: float
    std: float
    low: float
    high: float


def summarise(returns: np.ndarray) -> Interval:
    """Describes returns [E]; from a single one there is no interval, and its ends are NaN."""
    mean, std = float(returns.mean()), float(returns.std())
    count = len(returns)
    if count < 2:
        return Interval(count, mean, std, math.nan, math.nan)
    half = float(special.stdtrit(count - 1, 0.975) * returns.std(ddof=1) / math.sqrt(count))
    return Interval(count, mean, std, mean - half, mean + half)


def evaluate(
    env_id: str, backend: str, agent: SelfTuningAgent, params: Any, episodes: int, seed: int
) -> np.ndarray:
    """Undiscounted returns [episodes] of the greedy policy, float64.

    Episodes run side by side, one an environment. The same arguments give the same returns.

    Args:
      env_id: a Gymnasium id.
      backend: "jax" or "host", as `TaskSpec.backend` says.
      agent: whose `mode` acts.
      params: its parameters.
      episodes: how many.
      seed: of the episodes, which are none of those of training with that seed.
    """
    seeds = np.random.SeedSequence([seed, 1]).generate_state(episodes)
    task = registry.make(env_id, _batch(episodes, backend), backend)
    if isinstance(task, GraphTask):
        key = jax.random.PRNGKey(seeds[0])
        return np.asarray(jax.jit(in_graph(task, agent))(params, key), np.float64)
    try:
        mode = jax.jit(agent.mode)
        batches = math.ceil(episodes / task.num_envs)
        returns = [_on_host(task, mode, params, int(seed)) for seed in seeds[:batches]]
    finally:
        task.close()
    return np.concatenate(returns)[:episodes]


def record(env_id: str, agent: SelfTuningAgent, params: Any, path: Path, seed: int) -> float:
    """Writes a GIF of one greedy episode and returns its return.

    Long episodes are thinned to at most 150 images and 2 MB, shown at the speed of the
    environment but for half a second at most.

    Raises:
      ConfigError: if the environment cannot be drawn.
    """
    # Images are drawn in memory; without a display SDL complains unless it looks for none.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    env = registry.make_render_env(env_id)
    mode = jax.jit(agent.mode)
    frames: list[np.ndarray] = []
    stride, total, ended, step = 1, 0.0, False, 0
    try:
        observation, _ = env.reset(seed=seed)
        while not ended and step < STEP_LIMIT:
            if step % stride == 0:
                frames.append(np.asarray(env.render()))
            if len(frames) > _FRAMES:
                frames, stride = frames[::2], 2 * stride
            action = np.asarray(mode(params, np.asarray(observation)[None]))[0]
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            ended = terminated or truncated
            step += 1
        frames.append(np.asarray(env.render()))
        fps = env.metadata.get("render_fps") or 30
    finally:
        env.close()
    _write_gif(path, frames, milliseconds=1000 * stride / fps)
    return total


def _batch(episodes: int, backend: str) -> int:
    """Environments side by side: all in-graph; on the host equal batches of at most 16."""
    return episodes if backend == "jax" else math.ceil(episodes / math.ceil(episodes / _HOST_ENVS))


def in_graph(task: GraphTask, agent: SelfTuningAgent):
    """Returns the pure function (params, key) -> greedy returns, one an environment [B]."""
    limit = task.spec.max_episode_steps or STEP_LIMIT

    def returns(params, key):
        def running(carry):
            step, _, _, _, done = carry
            return (step < limit) & ~done.all()

        def advance(carry):
            step, state, observation, total, done = carry
            state, timestep = task.step(state, agent.mode(params, observation))
            total = jnp.where(done, total, timestep.episode_return)
            return step + 1, state, timestep.observation, total, done | timestep.episode_end

        state, observation = task.init(key)
        total, done = jnp.zeros(task.num_envs), jnp.zeros(task.num_envs, bool)
        return jax.lax.while_loop(running, advance, (0, state, observation, total, done))[3]

    return returns


def _on_host(task: HostTask, mode: Any, params: Any, seed: int) -> np.ndarray:
    limit = task.spec.max_episode_steps or STEP_LIMIT
    observation = task.reset(seed)
    total, done = np.zeros(task.num_envs), np.zeros(task.num_envs, bool)
    for _ in range(limit):
        timestep = task.step(np.asarray(mode(params, observation)))
        total = np.where(done, total, timestep.episode_return)
        done = done | np.asarray(timestep.episode_end)
        observation = np.asarray(timestep.observation)
        if done.all():
            break
    return total


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
