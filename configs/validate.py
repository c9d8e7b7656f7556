"""What settings are allowed, as one pure function from settings to the first complaint."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from configs.errors import ConfigError
from configs.settings import READ_BY, Hyperparameter, RunSettings, default_hyperparameters

NAMES = tuple(default_hyperparameters())

# Values that make sense at all, both ends included. A tuned hyperparameter also has bounds inside.
DOMAINS = {
    "gamma": (0.0, 1.0),
    "lambda": (0.0, 1.0),
    "entropy": (0.0, math.inf),
    "critic": (0.0, math.inf),
    "learning_rate": (0.0, math.inf),
    "momentum": (0.0, 0.9999),  # an average that never forgets never moves
    "hint_weight": (0.0, math.inf),
}

# Whole numbers, both ends included; others start at 1. The upper ends are far above use: they turn
# a slip of the keyboard into a message where there would be an exhausted memory.
_COUNTS = {
    "seed": (0, 2**31 - 1),
    "steps": (1, 10**12),
    "num_envs": (1, 2**17),
    "eval_episodes": (1, 10_000),
    "inner_steps": (1, 1000),
    "target_steps": (1, 1000),
}
_COUNT = (1, 100_000)


def validate(settings: RunSettings) -> None:
    """Checks everything that can be known without building the environment.

    Raises:
      ConfigError: naming the setting, the value it has and the values it may have.
    """
    for prefix, part in (("", settings), ("agent.", settings.agent), ("tuning.", settings.tuning)):
        hints = get_type_hints(type(part))
        for field in fields(part):
            _check_field(prefix, field.name, getattr(part, field.name), hints[field.name])
    for width in settings.agent.hidden:
        _require(1 <= width <= 2**16, "agent.hidden", width, f"widths between 1 and {2**16}")
    unknown = set(settings.hyperparameters) ^ set(NAMES)
    if unknown:
        name = min(unknown)
        raise ConfigError(
            f"hyperparameters: {name!r} missing or unknown; they are {', '.join(NAMES)}"
        )
    for name, hyperparameter in settings.hyperparameters.items():
        _check_hyperparameter(name, hyperparameter)
    _check_learners(settings)


def _check_learners(settings: RunSettings) -> None:
    """What cannot be tuned by these optimisers."""
    inner, meta = settings.agent.inner_optimizer, settings.tuning.optimizer
    tuned = {name for name, spec in settings.hyperparameters.items() if spec.tuned}
    for name in sorted(tuned - set(settings.in_use)):
        _require(
            False, "agent.inner_optimizer", inner, f"{' | '.join(READ_BY[name])} to tune {name}"
        )
    if settings.tuning.method != "none" and meta == "ao_ftrl" and "learning_rate" in tuned:
        # It plays its start plus all past gradients: what the trust region lowers would come back.
        _require(False, "tuning.optimizer", meta, "adam | ogd | omega to tune learning_rate")


def check_count(name: str, value: int, prefix: str = "") -> None:
    """Checks a whole number by the name of its setting; raises ConfigError."""
    low, high = _COUNTS.get(name, _COUNT)
    allowed = f"a whole number between {low} and {high}"
    _require(low <= value <= high, prefix + name, value, allowed)


def _check_field(prefix: str, name: str, value: Any, hint: Any) -> None:
    if hint is int:
        check_count(name, value, prefix)
    elif hint is float:
        _require(0 < value < math.inf, prefix + name, value, "a finite number above 0")
    elif get_origin(hint) is Literal:
        _require(value in get_args(hint), prefix + name, value, " | ".join(get_args(hint)))


def _check_hyperparameter(name: str, hyperparameter: Hyperparameter) -> None:
    least, most = DOMAINS[name]
    allowed = (
        f"a number between {least:g} and {most:g}"
        if most < math.inf
        else f"a finite number of at least {least:g}"
    )
    for key in ("start", "low", "high", "outer"):
        value = getattr(hyperparameter, key)
        _require(
            least <= value <= most and math.isfinite(value), f"{key} of {name}", value, allowed
        )
    low, high = hyperparameter.low, hyperparameter.high
    if low >= high:
        raise ConfigError(f"bounds of {name}: {low:g}:{high:g} is empty; LOW must be below HIGH")
    if not hyperparameter.tuned:
        return
    start, way_out = hyperparameter.start, f"; keep it there with --fix {name}"
    if not low <= start <= high:
        way_out += f" or move the bounds with --bounds {name}=LOW:HIGH"
        raise ConfigError(
            f"start of {name}: {start:g} is outside its bounds {low:g}:{high:g}{way_out}"
        )
    if start in (least, most):  # tuning moves a logit or a logarithm, which is infinite there
        raise ConfigError(f"start of {name}: {start:g} cannot be tuned from{way_out}")


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{name}: {value} is not allowed; it must be {allowed}")
