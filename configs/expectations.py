"""Settings that are allowed, and cost more, or do less, than most people expect: what to expect."""

from __future__ import annotations

import math

from selftuning.configs.settings import RunSettings

_MUCH_WORK = 20  # times that of training alone
_MANY_HEADS = 32
_MANY_PARAMETERS = 50_000_000  # of one network
_LONG_ROLLOUT = 20_000_000  # steps that are held in memory
_OTHER_HORIZON = 5  # times the one that rewards are scaled for, or a part of it
_LARGE_FOR_WEIGHTS = 0.01  # a step of a network whose weights add up to one hyperparameter


def warnings(settings: RunSettings) -> list[str]:
    """What to expect of sizes that may not have been meant, a line each.

    Args:
      settings: of a run, allowed ones.
    """
    return [*_of_tuning(settings), *_of_agent(settings), *_of_scales(settings)]


def _of_tuning(settings: RunSettings) -> list[str]:
    tuning, agent = settings.tuning, settings.agent
    tuned = any(spec.tuned for spec in settings.hyperparameters.values())
    if tuning.method == "none" or not tuned:
        return []
    judges = tuning.target_steps if tuning.method == "bmg" else 1
    sizes = f"inner_steps {tuning.inner_steps}, target_steps {judges}"
    # ppo makes its K updates on one rollout, in parts of it, and is judged by the whole next one.
    again = agent.algorithm == "ppo"
    per_rollout = settings.updates_per_rollout
    updates = tuning.inner_steps + judges * (agent.minibatches if again else 1)
    rollouts = 2 if again else tuning.inner_steps + judges
    cycle, said = settings.steps_per_cycle, []
    first = math.ceil(rollouts / tuning.period) * cycle
    if first > math.ceil(settings.steps / cycle) * cycle:
        said.append(
            f"{sizes}: the first meta-gradient comes after {first:,} environment steps, and this "
            f"run has {settings.steps:,}: nothing is tuned"
        )
    every = tuning.period * per_rollout
    work = updates / every
    if work > _MUCH_WORK:
        said.append(
            f"{sizes}: every {every} updates a meta-gradient goes over {updates}, about "
            f"{work:.0f} times the work of training; --period {math.ceil(updates / per_rollout)} "
            "is 1 time"
        )
    if tuning.context != "none" and tuning.step_size > _LARGE_FOR_WEIGHTS:
        said.append(
            f"context {tuning.context}, meta_learning_rate {tuning.step_size:g}: each weight "
            "of the meta-network moves by as much at a time, and all of them together may take "
            "hyperparameters to their bounds; try --meta-learning-rate 0.001"
        )
    return said


def _of_agent(settings: RunSettings) -> list[str]:
    agent, said = settings.agent, []
    if agent.heads > _MANY_HEADS:
        said.append(
            f"heads {agent.heads}: each update computes the losses of {agent.heads} policies, of "
            "which one acts; Zahavy et al. (2020) have 3"
        )
    parameters = sum(a * b for a, b in zip(agent.hidden, agent.hidden[1:], strict=False))
    if parameters > _MANY_PARAMETERS:
        gigabytes = 4 * parameters / 1e9
        said.append(
            f"hidden {' '.join(map(str, agent.hidden))}: {parameters:,} parameters or more in each "
            f"of two networks, {gigabytes:.1f} GB, of which training keeps several copies"
        )
    rollout = agent.rollout_length * settings.num_envs
    if rollout > _LONG_ROLLOUT:
        updates = math.ceil(settings.steps / rollout)
        said.append(
            f"rollout_length {agent.rollout_length}, num_envs {settings.num_envs}: memory holds "
            f"rollouts of {rollout:,} steps, and the run has {updates:,} of them"
        )
    return said


def _of_scales(settings: RunSettings) -> list[str]:
    gamma = settings.hyperparameters["gamma"]
    stays = settings.tuning.method == "none" or not gamma.tuned
    if not stays or not settings.agent.normalize_rewards or gamma.outer is None:
        return []
    own, scaled_for = (1 - gamma.start), (1 - gamma.outer)  # one over their horizons
    if own <= scaled_for * _OTHER_HORIZON and scaled_for <= own * _OTHER_HORIZON:
        return []
    times = "of any size"
    if own and scaled_for:
        times = f"about {scaled_for / own:.3g} times as large as usual"
    return [
        f"gamma stays at {gamma.start:g}, and rewards are divided by the size of returns at its "
        f"outer value, {gamma.outer:g}, so that values are {times}; with "
        f"--outer gamma={gamma.start:g} they are scaled for it"
    ]
