"""Settings that nothing reads, as others are: who gives one by name is told so.

Presets, files and settings that are given as a whole hold what other methods read, so that one word
changes the method. There such settings forbid nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any, get_args

from selftuning.configs import extensions
from selftuning.configs.errors import not_allowed
from selftuning.configs.hyperparameter_flags import HyperparameterFlags, edited
from selftuning.configs.hyperparameters import BUILT_IN, Algorithm
from selftuning.configs.settings import (
    FEWEST_TO_TELL,
    AgentSettings,
    InnerOptimizer,
    Regularizer,
    RunSettings,
    TuningSettings,
)

_IMPLICIT = ("implicit_damping", "implicit_iterations")
_OF_REGIONS = ("trust_region", "trust_region_cut", "trust_region_repay")
_OF_TARGETS = ("target_steps", "target_by", "target_last", "target_state", "matching")
_TUNES_NOTHING = "with meta none, which tunes nothing"


def refuse_unread(
    settings: RunSettings, typed: Collection[str], edits: HyperparameterFlags | None = None
) -> None:
    """Raises ConfigError if a setting was given, by name, that has no effect.

    Args:
      settings: of the run, allowed ones.
      typed: fields that were given, as messages name them (tuning.period).
      edits: what was said of hyperparameters.
    """
    without = unread(settings)
    for field in typed:
        if field in without:
            raise not_allowed(field, value_of(settings, field), f"left out {without[field]}")
    for kind, name in edited(edits or HyperparameterFlags()):
        why = unread_edit(settings, kind, name)
        if why:
            raise refused_edit(settings, kind, name, why)


def value_of(settings: RunSettings, field: str) -> Any:
    """The value of a field that is named as in messages."""
    part, _, name = field.rpartition(".")
    return getattr(getattr(settings, part) if part else settings, name)


def unread(settings: RunSettings) -> dict[str, str]:
    """Fields without effect, as messages name them, and the setting that takes it from them.

    Of an algorithm of the user's own it is not known what it reads.
    """
    if "algorithm" in extensions.parts(settings.extensions):
        return {}
    rest = _rest_of_agent(settings.agent, settings.num_envs) | _rest_of_tuning(settings)
    if "entropy" not in settings.in_use:
        algorithm = settings.agent.algorithm
        rest["agent.anneal_entropy"] = f"for {algorithm}, which has no entropy weight"
    return rest


def _rest_of_agent(agent: AgentSettings, num_envs: int) -> dict[str, str]:
    scaled = agent.normalize_observations or agent.normalize_rewards
    short = f"with rollouts of fewer than {FEWEST_TO_TELL} steps (rollout_length * num_envs)"
    rules = (
        (not agent.can_reset(num_envs), short, "normalization_reset"),
        (not scaled, "without running scales", "normalization_memory"),
        (not agent.normalize_observations, "without normalize_observations", "normalization_reset"),
        (
            agent.algorithm == "q_lambda",
            "for q_lambda, which has no advantages",
            "normalize_advantage",
        ),
        (
            agent.algorithm == "q_lambda",
            "for q_lambda, whose actions are discrete",
            "action_bounds",
        ),
    )
    return {f"agent.{name}": why for applies, why, name in rules if applies}


def _rest_of_tuning(settings: RunSettings) -> dict[str, str]:
    tuning, own = settings.tuning, extensions.parts(settings.extensions)
    explores = settings.agent.algorithm == "q_lambda"
    mg, unrolled = tuning.method == "mg", tuning.differentiation == "unrolled"
    tunes_rate = settings.hyperparameters["learning_rate"].tuned
    if tuning.method == "none":
        read = ("method", "context") if tuning.context == "none" else ("method",)
        rest = [field.name for field in fields(TuningSettings) if field.name not in read]
        return {f"tuning.{name}": _TUNES_NOTHING for name in rest}
    rules: tuple[tuple[bool, str, tuple[str, ...]], ...] = (
        (mg, "with mg, which has no target", (*_OF_TARGETS, "parameter_weight")),
        (not mg, "with bmg, which judges by its target alone", ("outer_kl",)),
        (
            not mg and not settings.matches_values,
            "with outer_critic: a target by the outer loss has the values of the student",
            ("value_weight",),
        ),
        (
            mg and "outer_objective" in own,
            "with an outer objective of your own",
            ("value_weight",),
        ),
        (
            explores,
            "for q_lambda, which matches policies alone",
            ("value_weight", "parameter_weight", "target_last"),
        ),
        (unrolled, "where differentiation is unrolled", _IMPLICIT),
        (not unrolled, "where differentiation is implicit", ("horizon_mixing",)),
        (tuning.inner_steps < 2, "with fewer than 2 inner_steps", ("horizon_mixing",)),
        (not tunes_rate, "unless learning_rate is tuned", _OF_REGIONS),
        (
            tuning.optimizer == "ftrl" and tuning.context == "none" and not tunes_rate,
            "with the meta-optimizer ftrl, which has no step size (--meta-optimizer adam has)",
            ("learning_rate", "epsilon"),
        ),
        (tuning.context == "none", "where context is none", ("context_hidden",)),
    )
    return {f"tuning.{name}": why for applies, why, names in rules if applies for name in names}


def unread_edit(settings: RunSettings, kind: str, name: str) -> str:
    """Why nothing reads what was said of a hyperparameter; empty if something does.

    Args:
      settings: of the run.
      kind: start, fix, tune, bounds or outer.
      name: of the hyperparameter.
    """
    if kind == "fix" or "algorithm" in extensions.parts(settings.extensions):
        return ""  # what stands still anyway is as it was asked for
    if name not in settings.in_use:
        field, those = readers(settings.agent, name)
        return f"with {field} {getattr(settings.agent, field)} ({' | '.join(those)} would read it)"
    if kind == "start":
        return ""
    if settings.tuning.method == "none":
        # Returns by whose size rewards are divided have the outer discount.
        scales = (kind, name) == ("outer", "gamma") and settings.agent.normalize_rewards
        return "" if scales else _TUNES_NOTHING
    tuned = settings.hyperparameters[name].tuned
    return "" if tuned or kind != "bounds" else f"unless it is tuned (--tune {name})"


def refused_edit(settings: RunSettings, kind: str, name: str, why: str) -> Exception:
    """The error for what was said of a hyperparameter and is not read."""
    spec = settings.hyperparameters[name]
    if kind == "tune":
        return not_allowed("tune", name, f"left out {why}")
    value = f"{spec.low:g}:{spec.high:g}" if kind == "bounds" else getattr(spec, kind)
    return not_allowed(f"{kind} of {name}", value, f"left out {why}")


def readers(agent: AgentSettings, name: str) -> tuple[str, list[str]]:
    """The part of an agent that does not read a hyperparameter, and those that would."""
    parts = {
        "inner_optimizer": get_args(InnerOptimizer),
        "regularize": get_args(Regularizer),
        "algorithm": get_args(Algorithm),
        "correction": ("vtrace",),
    }
    wanted = BUILT_IN[name].read_by
    field = next(field for field, known in parts.items() if not set(known).isdisjoint(wanted))
    those = [reader for reader in wanted if reader in parts[field]]
    if field != "inner_optimizer" and "l2_init" not in those and agent.algorithm == "q_lambda":
        # which has no correction and no policy
        field, those = "algorithm", ["actor_critic", "ppo"]
    return field, those
