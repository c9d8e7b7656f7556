"""The settings that a run starts from before flags change them.

`METHODS` has whole methods by name, those of the literature and one of our own. Two Colors has the
agent of its papers, but for what docs/two-colors.md says. All other environments share the
default agent, and differ in the length of a run. A longer run has more environments side by side.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from selftuning.configs.errors import not_allowed
from selftuning.configs.hyperparameters import BUILT_IN, Hyperparameter, default_hyperparameters
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings

_MUJOCO = (
    "Ant|HalfCheetah|Hopper|Humanoid|HumanoidStandup|InvertedDoublePendulum|InvertedPendulum"
    "|Pusher|Reacher|Swimmer|Walker2d"
)


def _centred(**values: float) -> dict[str, Hyperparameter]:
    """The default hyperparameters, but for some that start at a value.

    It is also their value in the outer objective, if that reads them.
    """
    changed = default_hyperparameters()
    for name, x in values.items():
        outer = x if BUILT_IN[name].in_outer else None
        changed[name] = replace(changed[name], start=x, outer=outer)
    return changed


def _only(names: dict[str, Hyperparameter], *tuned: str) -> dict[str, Hyperparameter]:
    """Hyperparameters of which only some are tuned."""
    return {name: replace(spec, tuned=name in tuned) for name, spec in names.items()}


def _two_colors() -> dict[str, Hyperparameter]:
    starts = {"learning_rate": 0.1, "entropy": 0.2, "lambda": 0.9, "l2_init": 1e-4}
    names = _only(_centred(**starts), "entropy")
    names["lambda"] = replace(names["lambda"], start=0.5)
    names["entropy"] = replace(names["entropy"], outer=0.14)
    return names


# The agent of Flennerhag et al. (2022): separate networks, plain gradient descent, one environment.
# Their trace decay is not known. With 0.9, as in our outer objective, updates after a change of
# signs are so large that policies die of them. They have no pull towards the first parameters:
# without it networks learn anew more slowly, the longer they have learned (docs/two-colors.md).
_TWO_COLORS: dict[str, object] = {
    "steps": 1_000_000,
    "num_envs": 1,
    "agent": AgentSettings(
        algorithm="actor_critic",
        rollout_length=16,
        hidden=(256, 256),
        activation="relu",
        inner_optimizer="sgd",
        regularize="l2_init",
        anneal_learning_rate=False,
        max_grad_norm=math.inf,
        normalize_advantage=False,
        normalize_observations=False,
        normalize_rewards=False,
    ),
    "hyperparameters": _two_colors(),
    "tuning": TuningSettings(
        inner_steps=1,
        target_steps=4,
        period=4,
        matching="none",
        parameter_weight=1.0,
        value_weight=0.0,
        context="reward",
        optimizer="adam",
        learning_rate=1e-3,
    ),
}

# The default agent has more environments where a run would have more rollouts than that, up to:
MOST_ROLLOUTS, MOST_ENVS = 2048, 64

# (pattern of Gymnasium ids, what differs from the defaults). The first that matches is taken. All
# but the agents of published experiments learn with one configuration, for longer or shorter.
_FAMILIES: tuple[tuple[str, dict[str, object]], ...] = (
    (r"^TwoColors", _TWO_COLORS),
    (r"^(CartPole|Pendulum|MountainCarContinuous)", {"steps": 100_000}),
    (r"^FrozenLake", {"steps": 300_000}),
    (r"^(MountainCar|LunarLander)", {"steps": 1_000_000}),
    (r"^BipedalWalker", {"steps": 2_000_000}),
    (rf"^({_MUJOCO})(-|$)", {"steps": 1_000_000}),
    (r"^MiniGrid", {"steps": 300_000}),
    (r"^ALE/|NoFrameskip|^ale:|^envpool:\w+-v5$|^gymnax:.*MinAtar", {"steps": 10_000_000}),
)


def for_env(env: str, steps: Any = None) -> RunSettings:
    """Settings to start from for an environment.

    Args:
      env: an id, which may lack namespace and version. A pattern may be of the whole of it, or of
        what follows the module or library before a colon.
      steps: what the user says of the length of the run, if anything. What is no number will be
        refused as that, and is no matter here.
    """
    settings = RunSettings(env=env)
    for pattern, changes in _FAMILIES:
        if re.search(pattern, env.rpartition(":")[2]) or re.search(pattern, env):
            settings = replace(settings, **changes)  # type: ignore[arg-type]
            break
    if settings.agent.algorithm != "ppo":
        return settings  # of a paper
    length = steps if isinstance(steps, numbers.Real) else settings.steps
    return replace(settings, num_envs=_environments(length, settings))


def _environments(steps: Any, settings: RunSettings) -> int:
    """Environments side by side: as many more as a longer run needs to learn from few rollouts.

    Small batches are quick at first, and their noise is what a long run is left with
    (docs/tasks.md, "The longer the run, the larger the batch").
    """
    num_envs, longest = settings.num_envs, MOST_ROLLOUTS * settings.agent.rollout_length
    # No division: whole numbers may be larger than any float.
    while num_envs < MOST_ENVS and steps > longest * num_envs:
        num_envs *= 2
    return num_envs


def _actor_critic(settings: RunSettings) -> RunSettings:
    """An advantage actor-critic with one update on each, short rollout (Mnih et al. 2016)."""
    if settings.agent.algorithm == "actor_critic":
        return settings  # that of Two Colors, or one that has been changed already
    hyperparameters = dict(settings.hyperparameters)
    hyperparameters["learning_rate"] = replace(hyperparameters["learning_rate"], start=3e-3)
    for name in ("lambda", "entropy", "critic"):
        hyperparameters[name] = replace(hyperparameters[name], tuned=True)
    return replace(
        settings,
        num_envs=4,
        hyperparameters=hyperparameters,
        agent=replace(
            settings.agent,
            algorithm="actor_critic",
            rollout_length=16,
            inner_optimizer="rms",
            anneal_learning_rate=False,
        ),
        tuning=replace(settings.tuning, period=4, optimizer="adam"),
    )


def _stacx(settings: RunSettings) -> RunSettings:
    """STACX (Zahavy et al. 2020): auxiliary heads, seven tuned hyperparameters, an outer KL.

    Those it tunes start at 0.99 of their outer value, as sigmoid(4.6) of it does.
    """
    settings = _actor_critic(settings)
    hyperparameters = dict(settings.hyperparameters)
    for name in ("gamma", "lambda", "policy", "critic", "entropy", "alpha_rho", "alpha_c"):
        hyperparameters[name] = replace(hyperparameters[name], tuned=True)
    return replace(
        settings,
        hyperparameters=hyperparameters,
        agent=replace(settings.agent, heads=3, correction="vtrace"),
        tuning=replace(settings.tuning, method="mg", outer_kl=1.0),
    )


def _q_lambda(settings: RunSettings) -> RunSettings:
    """Q(lambda) with a bootstrapped epsilon (Flennerhag et al. 2022)."""
    if settings.agent.algorithm == "ppo":
        settings = _actor_critic(settings)
    return replace(
        settings,
        hyperparameters=_only(settings.hyperparameters, "epsilon"),
        agent=replace(settings.agent, algorithm="q_lambda"),
        tuning=replace(
            settings.tuning,
            method="bmg",
            inner_steps=0,
            target_steps=16,
            period=16,
            matching="kl",
            parameter_weight=0.0,
        ),
    )


def _continual(settings: RunSettings) -> RunSettings:
    """For tasks that change: a learning rate that mg tunes and that comes back, and a barrier.

    On "Continual Gym Control" it is ahead of what is published on all four tasks
    (docs/continual.md).
    """
    return replace(
        settings,
        hyperparameters=_only(settings.hyperparameters, "learning_rate"),
        agent=replace(settings.agent, regularize="barrier", anneal_learning_rate=False),
        tuning=replace(settings.tuning, method="mg", context="none", trust_region_repay=0.01),
    )


# Methods of the literature, and one of our own, as changes to whatever an environment has.
METHODS: dict[str, Callable[[RunSettings], RunSettings]] = {
    "actor_critic": _actor_critic,
    "stacx": _stacx,
    "q_lambda": _q_lambda,
    "continual": _continual,
}


def with_method(settings: RunSettings, name: str) -> RunSettings:
    """Settings changed to a method of `METHODS`.

    Raises:
      ConfigError: if there is no method of that name.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise not_allowed("preset", repr(name), " | ".join(METHODS))
    return METHODS[name](settings)
