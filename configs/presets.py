"""A preset per environment family: the settings that a run starts from before flags change them.

Only CartPole's have been chosen by measurement (docs/benchmarks.md). Pendulum's learn in a trial
where the defaults do not; the others differ in what is plain from the family (longer runs, longer
rollouts where episodes are long).
"""

from __future__ import annotations

import re
from dataclasses import replace

from configs.settings import (
    AgentSettings,
    Hyperparameter,
    RunSettings,
    default_hyperparameters,
)

_MUJOCO = (
    "Ant|HalfCheetah|Hopper|Humanoid|HumanoidStandup|InvertedDoublePendulum|InvertedPendulum"
    "|Pusher|Reacher|Swimmer|Walker2d"
)


def _centred(**values: float) -> dict[str, Hyperparameter]:
    """The default hyperparameters, but for some that start at a value and have it as outer one."""
    names = default_hyperparameters()
    return names | {name: replace(names[name], start=x, outer=x) for name, x in values.items()}


# (pattern of Gymnasium ids, what differs from the defaults). The first that matches is taken.
_FAMILIES: tuple[tuple[str, dict[str, object]], ...] = (
    # Values grow to 100 at the default discount; tanh units alone get there slowly.
    (r"^CartPole", {"agent": AgentSettings(value_scale=20.0)}),
    # Costs of up to 16 a step, and a swing-up that is over within tens of steps.
    (
        r"^Pendulum",
        {
            "agent": AgentSettings(value_scale=100.0),
            "hyperparameters": _centred(gamma=0.9, entropy=1e-3),
        },
    ),
    (r"^(LunarLander|BipedalWalker)", {"steps": 2_000_000}),
    (rf"^({_MUJOCO})(-|$)", {"steps": 1_000_000, "agent": AgentSettings(rollout_length=32)}),
    (r"^ALE/|NoFrameskip", {"steps": 10_000_000, "agent": AgentSettings(rollout_length=20)}),
)


def for_env(env: str) -> RunSettings:
    """Settings to start from for an environment, whose id may lack namespace and version."""
    for pattern, changes in _FAMILIES:
        if re.search(pattern, env):
            return replace(RunSettings(env=env), **changes)  # type: ignore[arg-type]
    return RunSettings(env=env)
