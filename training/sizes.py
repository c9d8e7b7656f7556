"""Whether a run fits into this machine at all, before anything is allocated for it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import gymnasium as gym
import jax
import numpy as np
from gymnasium import spaces

from selftuning.agents.torsos import picture
from selftuning.configs import extensions
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.envs.spaces import shape
from selftuning.envs.task import TaskSpec

_NUMBER = 4  # bytes of a float32
_NETWORKS = 2  # policy and value
_COPIES = 4  # of parameters: themselves, their gradient, and two moments of Adam
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check(spec: TaskSpec, settings: RunSettings) -> None:
    """Refuses a run whose observations or actions need more memory than there is.

    It counts what is needed at the least: a rollout of observations and of those that follow, and
    the first and last layers of the networks.

    Raises:
      ConfigError: with the size.
    """
    there = min(_memory(), _of_device())
    seen, acted = spec.observation_space, spec.action_space
    steps = settings.agent.rollout_length * settings.num_envs
    rollout = 2 * steps * math.prod(shape(seen)) * np.dtype(seen.dtype).itemsize
    if rollout > there:
        raise ConfigError(
            f"num_envs * rollout_length: {steps} is not allowed; it must be smaller: with "
            f"observations of shape {shape(seen)} a rollout takes {_gigabytes(rollout)}, and there "
            f"are {_gigabytes(there)}"
        )
    for what, space, layer in (
        ("observation", seen, _first_layer(seen, settings)),
        ("action", acted, spaces.flatdim(acted) * (settings.agent.hidden or (1,))[-1]),
    ):
        needed = layer * _NUMBER * _COPIES
        if needed > there:
            raise ConfigError(
                f"env: {spec.env_id!r} has the {what} space {space}, for which networks take "
                f"{_gigabytes(needed)}; there are {_gigabytes(there)}"
            )


def _first_layer(seen: gym.Space, settings: RunSettings) -> int:
    """Parameters of the layers that see observations; 0 where they are not dense ones."""
    agent = settings.agent
    if "torso" in extensions.parts(settings.extensions) or picture(seen, agent.torso) is not None:
        return 0
    return _NETWORKS * spaces.flatdim(seen) * (agent.hidden or (1,))[0]


def _memory() -> float:
    """Bytes of memory that this process may have; infinite if the system does not say."""
    found = [math.inf]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in _LIMITS:
        path = Path(name)
        text = path.read_text(encoding="ascii").strip() if path.is_file() else ""
        found += [int(text)] if text.isdigit() else []
    return min(found)


def _of_device() -> float:
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", math.inf)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"
