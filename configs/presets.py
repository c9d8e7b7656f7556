"""A preset per environment family: the settings that a run starts from before flags change them.

Only CartPole's, which are the defaults, have been chosen by measurement; the others differ in
what is plain from the family (longer runs, longer rollouts where episodes are long).
"""

from __future__ import annotations

import re
from dataclasses import replace

from configs.settings import AgentSettings, RunSettings

# (pattern of Gymnasium ids, what differs from the defaults). The first that matches is taken.
_MUJOCO = (
    "Ant|HalfCheetah|Hopper|Humanoid|HumanoidStandup|InvertedDoublePendulum|InvertedPendulum"
    "|Pusher|Reacher|Swimmer|Walker2d"
)
_FAMILIES: tuple[tuple[str, dict[str, object]], ...] = (
    # Values grow to 100 at the default discount; tanh units alone get there slowly.
    (r"^CartPole", {"agent": AgentSettings(value_scale=20.0)}),
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
