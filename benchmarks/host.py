"""Environments on the host: ours beside Stable-Baselines3, `python -m selftuning.benchmarks.host`.

The actor-critic (tuning on) and A2C have rollouts of the same length and networks of the same
size. Ours steps Gymnasium's environments, and EnvPool's where it is installed; theirs is
`DummyVecEnv`. The default agent, PPO, is there too, also acting while it learns. All take turns;
ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from selftuning.benchmarks.record import DOCS, markdown, with_table, write
from selftuning.benchmarks.speed import agents, turns
from selftuning.benchmarks.speed.turns import Contestant, Turn
from selftuning.configs import presets
from selftuning.configs.settings import RunSettings
from selftuning.envs import registry
from selftuning.training import host_devices

PICTURES = "Pictures84-v0"
# Tasks, and what EnvPool calls them.
TASKS = {
    "CartPole-v1": "envpool:CartPole-v1",
    "LunarLander-v3": "envpool:LunarLander-v3",
    "HalfCheetah-v5": "envpool:HalfCheetah-v5",
    PICTURES: None,
}
NUM_ENVS = (8, 64)
LENGTH = 16  # of a rollout
OURS, POOLED, DEFAULT = "actor-critic", "actor-critic on EnvPool", "default"
OVERLAP = "default, --overlap"
THEIRS = "Stable-Baselines3 A2C"
PAGE = DOCS / "performance.md"


class Pictures(gym.Env):
    """Random pictures of 84 x 84 x 4 bytes, the size of Atari's, in episodes of 100 steps."""

    observation_space = gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = gym.spaces.Discrete(6)

    def __init__(self) -> None:
        self._all = np.random.default_rng(0).integers(0, 256, (32, 84, 84, 4), np.uint8)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """The first picture."""
        super().reset(seed=seed)
        self._steps = 0
        return self._all[0], {}

    def step(self, action: Any) -> Any:
        """The next one, and a reward of 1."""
        self._steps += 1
        return self._all[self._steps % 32], 1.0, False, self._steps >= 100, {}


gym.register(PICTURES, lambda **_: Pictures())


def contestants(tasks: list[str], num_envs: tuple[int, ...], steps: int) -> Iterator[Contestant]:
    """All that there are for some tasks, `steps` environment steps a turn.

    Pictures take too long for more than a sixteenth of it, many environments and PPO's rollouts.
    """
    for task in tasks:
        pictures = task == PICTURES
        for number in num_envs[:1] if pictures else num_envs:
            group, made = f"{task}, {number} environments", steps // 16 if pictures else steps
            yield Contestant(group, OURS, partial(_ours, made, task, number, "actor_critic"))
            if (pooled := TASKS[task]) and importlib.util.find_spec("envpool"):
                yield Contestant(
                    group, POOLED, partial(_ours, made, pooled, number, "actor_critic")
                )
            if not pictures:
                for name, overlap in ((DEFAULT, False), (OVERLAP, True)):
                    ours = partial(_ours, made, task, number, None, overlap)
                    yield Contestant(group, name, ours)
            if importlib.util.find_spec("stable_baselines3"):
                yield Contestant(group, THEIRS, partial(_theirs, task, number, made))


def settings_of(task: str, num_envs: int, preset: str | None, overlap: bool = False) -> RunSettings:
    """What is trained: networks of 64 x 2, or those for pictures."""
    settings = presets.for_env(registry.resolve(task))
    if preset:
        settings = presets.with_method(settings, preset)
        settings = replace(settings, agent=replace(settings.agent, rollout_length=LENGTH))
    settings = replace(settings, agent=replace(settings.agent, overlap=overlap))
    return replace(settings, env=task, num_envs=num_envs, backend="host")


def _ours(
    steps: int, task: str, num_envs: int, preset: str | None, overlap: bool = False
) -> tuple[Turn, int]:
    return agents.training(settings_of(task, num_envs, preset, overlap), steps)


def _theirs(task: str, num_envs: int, steps: int) -> tuple[Turn, int]:
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env

    network = "CnnPolicy" if task == PICTURES else "MlpPolicy"
    envs = make_vec_env(task, n_envs=num_envs)
    agent = stable_baselines3.A2C(network, envs, n_steps=LENGTH, device="cpu", seed=0)
    made = -(-steps // (LENGTH * num_envs)) * LENGTH * num_envs
    return lambda: agent.learn(made), made


def measure(made: list[Contestant], repeats: int) -> list[dict[str, Any]]:
    """Groups one after the other; of each contestant its rate, and its median ratio to theirs."""
    rows = []
    for group, members in itertools.groupby(made, lambda one: one.group):
        ours = list(members)
        results = turns.measure(ours, repeats, tell=print)
        theirs = [x for one, x in zip(ours, results, strict=True) if one.name == THEIRS]
        for one, result in zip(ours, results, strict=True):
            of_theirs = turns.ratio(result, theirs[0]) if theirs else None
            rows.append(
                {
                    "group": group,
                    "name": one.name,
                    "steps_per_second": turns.rate(result),
                    "of_theirs": of_theirs,
                }
            )
            print(rows[-1], flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each number of environments of a task: rates, and ratios to A2C in brackets."""
    names = (OURS, POOLED, DEFAULT, OVERLAP, THEIRS)
    lines = []
    for group, members in itertools.groupby(rows, lambda row: row["group"]):
        found = {row["name"]: row for row in members}
        lines.append((group, *(_cell(found.get(name)) for name in names)))
    return markdown(("", *names), lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    rate, ratio = f"{row['steps_per_second']:,.0f}", row["of_theirs"]
    return rate if ratio is None or row["name"] == THEIRS else f"{rate} ({ratio:.1f})"


def main() -> None:
    """Measures, keeps the numbers and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[], choices=[[], *TASKS])
    parser.add_argument("--num-envs", type=int, nargs="+", default=list(NUM_ENVS))
    parser.add_argument("--steps", type=int, default=2**13, help="environment steps of a turn")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    host_devices.enable_for(1, overlap=True)
    made = list(contestants(asked.tasks or list(TASKS), tuple(asked.num_envs), asked.steps))
    rows = measure(made, asked.repeats)
    write("host", {"rows": rows})
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_table(text, "host", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
