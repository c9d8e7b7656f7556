"""Settings of tuning that nothing reads, as others are: who gives one by name is told so.

Presets, files and settings that are given as a whole hold what other methods read, so that one word
changes the method. There such settings forbid nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from selftuning.configs import extensions
from selftuning.configs.errors import not_allowed
from selftuning.configs.settings import RunSettings

_IMPLICIT = ("implicit_damping", "implicit_iterations")
_OF_REGIONS = ("trust_region", "trust_region_cut", "trust_region_repay")
_OF_TARGETS = ("target_steps", "target_by", "target_last", "target_state", "matching")


def refuse_unread(settings: RunSettings, given: Iterable[str]) -> None:
    """Raises ConfigError if a field of `TuningSettings` was given, by name, that has no effect."""
    without = unread(settings)
    for name in given:
        if name in without:
            value = getattr(settings.tuning, name)
            raise not_allowed(f"tuning.{name}", value, f"left out {without[name]}")


def unread(settings: RunSettings) -> dict[str, str]:
    """The fields of `TuningSettings` without effect, and the setting that takes it from them.

    Of an algorithm of the user's own it is not known what it reads. With `--meta none` next to
    nothing is read: that is how tuning is left out of a command, and nobody is told.
    """
    tuning, own = settings.tuning, extensions.parts(settings.extensions)
    if tuning.method == "none" or "algorithm" in own:
        return {}
    explores = settings.agent.algorithm == "q_lambda"
    mg, unrolled = tuning.method == "mg", tuning.differentiation == "unrolled"
    tunes_rate = settings.hyperparameters["learning_rate"].tuned
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
            ("learning_rate",),
        ),
        (tuning.context == "none", "where context is none", ("context_hidden",)),
    )
    return {name: why for applies, why, names in rules if applies for name in names}
