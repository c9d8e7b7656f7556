"""What settings are allowed, as one pure function from settings to the first complaint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from selftuning.configs import extensions
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import (
    READ_BY,
    Hyperparameter,
    RunSettings,
    default_hyperparameters,
)

NAMES = tuple(default_hyperparameters())

# Values that make sense at all, both ends included. A tuned hyperparameter also has bounds inside.
DOMAINS = {
    "gamma": (0.0, 1.0),
    "lambda": (0.0, 1.0),
    "entropy": (0.0, math.inf),
    "critic": (0.0, math.inf),
    "policy": (0.0, math.inf),
    "alpha_rho": (0.0, 1.0),
    "alpha_c": (0.0, 1.0),
    "epsilon": (0.0, 1.0),
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
    "devices": (1, 2**17),
    "eval_episodes": (1, 10_000),
    "inner_steps": (0, 1000),
    "target_steps": (1, 1000),
    "implicit_iterations": (1, 1000),
    "heads": (1, 1000),
}
_COUNT = (1, 100_000)

_MAY_BE_INFINITE = ("max_grad_norm",)

# Numbers that may be 0, and the most they may be; others are above 0.
_FROM_ZERO = {
    "value_weight": math.inf,
    "parameter_weight": math.inf,
    "outer_kl": math.inf,
    "implicit_damping": math.inf,
    "horizon_mixing": 1.0,
}


def validate(settings: RunSettings) -> None:
    """Checks everything that can be known without building the environment.

    Raises:
      ConfigError: naming the setting, the value it has and the values it may have.
    """
    for prefix, part in (("", settings), ("agent.", settings.agent), ("tuning.", settings.tuning)):
        hints = get_type_hints(type(part))
        for field in fields(part):
            _check_field(prefix, field.name, getattr(part, field.name), hints[field.name])
    for name, widths in (
        ("agent.hidden", settings.agent.hidden),
        ("tuning.context_hidden", settings.tuning.context_hidden),
    ):
        for width in widths:
            _require(1 <= width <= 2**16, name, width, f"widths between 1 and {2**16}")
    names = (*NAMES, *extensions.load(settings.extensions))
    unknown = set(settings.hyperparameters) ^ set(names)
    if unknown:
        name = min(unknown)
        raise ConfigError(
            f"hyperparameters: {name!r} missing or unknown; they are {', '.join(names)}"
        )
    for name, hyperparameter in settings.hyperparameters.items():
        tuned = hyperparameter.tuned and settings.tuning.method != "none"
        _check_hyperparameter(name, hyperparameter, tuned, domain(name, settings.extensions))
    _require(
        settings.num_envs % settings.devices == 0,
        "num_envs",
        settings.num_envs,
        f"a multiple of {settings.devices}, the number of devices",
    )
    _check_agent(settings)
    if settings.tuning.method != "none":
        _check_tuning(settings)


def domain(name: str, modules: Sequence[str] = ()) -> tuple[float, float]:
    """Values of a hyperparameter that make sense at all, both ends included.

    Args:
      name: of the hyperparameter.
      modules: extensions, one of which may have added it.
    """
    if name in DOMAINS:
        return DOMAINS[name]
    return extensions.DOMAINS[extensions.load(modules)[name].scale]


def _check_agent(settings: RunSettings) -> None:
    """What the agent cannot do, or does not read."""
    agent = settings.agent
    if agent.algorithm == "q_lambda":
        added = ", ".join(settings.extensions)
        _require(not added, "extensions", added, "left out for q_lambda, whose loss has no terms")
        for name, value, only in (
            ("heads", agent.heads, 1),
            ("correction", agent.correction, "none"),
            ("outer_critic", agent.outer_critic, False),
        ):
            _require(value == only, f"agent.{name}", value, f"{only} for q_lambda")
    if agent.heads > 1:
        _require(
            agent.correction == "vtrace",
            "agent.correction",
            agent.correction,
            "vtrace: all heads but the first learn from actions that they have not chosen",
        )
    if settings.tuning.method == "none":
        return
    for name in sorted(_tuned(settings) - set(settings.in_use)):
        if name in READ_BY:
            allowed = f"{' | '.join(READ_BY[name])} to tune {name}"
            _require(False, "agent.inner_optimizer", agent.inner_optimizer, allowed)
        elif agent.algorithm == "q_lambda" or name == "epsilon":
            other = "q_lambda" if name == "epsilon" else "actor_critic"
            allowed = f"{other} to tune {name} (--preset q_lambda tunes epsilon alone)"
            _require(False, "agent.algorithm", agent.algorithm, allowed)
        _require(False, "agent.correction", agent.correction, f"vtrace to tune {name}")


def _check_tuning(settings: RunSettings) -> None:
    """What cannot be tuned in this way."""
    tuning, tuned = settings.tuning, _tuned(settings)
    explores = settings.agent.algorithm == "q_lambda"
    if explores:
        _require(tuning.method == "bmg", "tuning.method", tuning.method, "none | bmg for q_lambda")
        _require(tuning.matching == "kl", "tuning.matching", tuning.matching, "kl for q_lambda")
        others = ", ".join(sorted(tuned - {"epsilon"}))
        _require(not others, "tuned hyperparameters", others, "epsilon alone for q_lambda")
    steps, allowed = tuning.inner_steps, "0 for q_lambda" if explores else "at least 1"
    _require((steps == 0) == explores, "tuning.inner_steps", steps, allowed)
    if "learning_rate" in tuned:
        # It plays its start plus all past gradients: what the trust region lowers would come back.
        adaptive = tuning.optimizer != "ao_ftrl"
        allowed = "adam | ogd | omega to tune learning_rate"
        _require(adaptive, "tuning.optimizer", tuning.optimizer, allowed)
    if tuning.differentiation == "implicit":
        by_rule = ", ".join(sorted(tuned & {"learning_rate", *READ_BY}))
        allowed = f"unrolled to tune {by_rule}, which no minimiser depends on"
        _require(not by_rule, "tuning.differentiation", tuning.differentiation, allowed)
    if tuning.method == "bmg" and tuning.matching == "none":
        # An outer critic's target does not move the values that are matched.
        by_value = 0.0 if settings.agent.outer_critic and tuning.target_by == "outer" else 1.0
        weight = tuning.value_weight * settings.hyperparameters["critic"].outer * by_value
        weight += tuning.parameter_weight
        allowed = "reverse_kl | kl where nothing else is matched"
        _require(weight > 0, "tuning.matching", tuning.matching, allowed)
    if tuning.target_last == "policy":
        allowed = "full where target_by is learned"
        _require(tuning.target_by != "learned", "tuning.target_last", tuning.target_last, allowed)
    if tuning.resume == "student":
        window = tuning.inner_steps + (tuning.target_steps if tuning.method == "bmg" else 1)
        allowed = f"at least {window} (inner_steps and those that judge) to resume from the student"
        _require(tuning.period >= window, "tuning.period", tuning.period, allowed)
    if tuning.context != "none":
        for name in sorted(tuned):
            spec = settings.hyperparameters[name]
            allowed = f"between its bounds {spec.low:g}:{spec.high:g}, and not on them"
            inside = spec.low < spec.start < spec.high
            _require(inside, f"start of {name}", spec.start, allowed)
        if "learning_rate" in tuned:
            low = settings.hyperparameters["learning_rate"].low
            _require(low > 0, "low of learning_rate", low, "above 0 for a meta-network")


def _tuned(settings: RunSettings) -> set[str]:
    return {name for name, spec in settings.hyperparameters.items() if spec.tuned}


def check_count(name: str, value: int, prefix: str = "") -> None:
    """Checks a whole number by the name of its setting; raises ConfigError."""
    low, high = _COUNTS.get(name, _COUNT)
    allowed = f"a whole number between {low} and {high}"
    _require(low <= value <= high, prefix + name, value, allowed)


def _check_field(prefix: str, name: str, value: Any, hint: Any) -> None:
    if hint is int:
        check_count(name, value, prefix)
    elif hint is float and name in _FROM_ZERO:
        most = _FROM_ZERO[name]
        allowed = "a number between 0 and 1" if most == 1 else "a finite number of at least 0"
        _require(0 <= value <= most and math.isfinite(value), prefix + name, value, allowed)
    elif name in _MAY_BE_INFINITE:
        _require(value > 0, prefix + name, value, "a number above 0, inf for none")
    elif hint is float:
        _require(0 < value < math.inf, prefix + name, value, "a finite number above 0")
    elif get_origin(hint) is Literal:
        _require(value in get_args(hint), prefix + name, value, " | ".join(get_args(hint)))


def _check_hyperparameter(
    name: str, hyperparameter: Hyperparameter, tuned: bool, domain: tuple[float, float]
) -> None:
    least, most = domain
    allowed = "a finite number"
    if most < math.inf:
        allowed = f"a number between {least:g} and {most:g}"
    elif least > -math.inf:
        allowed += f" of at least {least:g}"
    for key in ("start", "low", "high", "outer"):
        value = getattr(hyperparameter, key)
        _require(
            least <= value <= most and math.isfinite(value), f"{key} of {name}", value, allowed
        )
    low, high = hyperparameter.low, hyperparameter.high
    if low >= high:
        raise ConfigError(f"bounds of {name}: {low:g}:{high:g} is empty; LOW must be below HIGH")
    if not tuned:
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
