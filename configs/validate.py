"""What settings are allowed, as one pure function from settings to the first complaint."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from selftuning.configs import extensions
from selftuning.configs.errors import ConfigError, not_allowed, require
from selftuning.configs.hyperparameters import Definition, Hyperparameter
from selftuning.configs.settings import AgentSettings, EnvSettings, RunSettings, without_none
from selftuning.configs.unread import readers

# Whole numbers, both ends included; others start at 1. The upper ends are far above use: they turn
# a slip of the keyboard into a message where there would be an exhausted memory.
_COUNTS = {
    "seed": (0, 2**31 - 1),
    "steps": (1, 10**12),
    "num_envs": (1, 2**17),
    "devices": (1, 2**17),
    "env_workers": (0, 1024),
    "eval_episodes": (1, 10_000),
    "eval_every": (0, 10**12),
    "max_episode_steps": (0, 10**9),
    "frame_stack": (1, 100),
    "inner_steps": (0, 1000),
    "target_steps": (1, 1000),
    "implicit_iterations": (1, 1000),
    "heads": (1, 1000),
}
_COUNT = (1, 100_000)

# Numbers of other sizes are infinite, or 0, where an agent computes with them.
_LEAST, _MOST = 1.2e-38, 3.4e38
_LONGEST_ID = 150  # bytes of an environment's id, which is in the name of a run's directory

_MAY_BE_INFINITE = ("step_timeout", "max_grad_norm", "normalization_memory", "normalization_reset")

# Numbers that may be 0, and the most they may be; others are above 0.
_FROM_ZERO = {
    "value_weight": math.inf,
    "parameter_weight": math.inf,
    "outer_kl": math.inf,
    "implicit_damping": math.inf,
    "horizon_mixing": 1.0,
    "sticky_actions": 1.0,
    "trust_region_repay": 1.0,
}


def validate(settings: RunSettings) -> None:
    """Checks everything that can be known without building the environment.

    Raises:
      ConfigError: naming the setting, the value it has and the values it may have.
    """
    groups = {f"{name}.": getattr(settings, name) for name in ("environment", "agent", "tuning")}
    for prefix, part in {"": settings, **groups}.items():
        hints = get_type_hints(type(part))
        for field in fields(part):
            value, hint = getattr(part, field.name), hints[field.name]
            kind = without_none(hint)
            if value is not None or kind == hint:
                _check_field(prefix, field.name, value, kind)
    for name, widths in (
        ("agent.hidden", settings.agent.hidden),
        ("tuning.context_hidden", settings.tuning.context_hidden),
    ):
        for width in widths:
            require(1 <= width <= 2**16, name, width, f"widths between 1 and {2**16}")
    short = 0 < len(settings.env.encode(errors="replace")) <= _LONGEST_ID and settings.env.strip()
    require(bool(short), "env", repr(settings.env), f"an id of at most {_LONGEST_ID} bytes")
    _check_environment(settings.environment)
    known = extensions.definitions(settings.extensions)
    extensions.parts(settings.extensions)
    unknown = set(settings.hyperparameters) ^ set(known)
    if unknown:
        name = min(unknown)
        raise ConfigError(
            f"hyperparameters: {name!r} missing or unknown; they are {', '.join(known)}"
        )
    for name, hyperparameter in settings.hyperparameters.items():
        tuned = hyperparameter.tuned and settings.tuning.method != "none"
        _check_hyperparameter(known[name], hyperparameter, tuned)
    require(
        settings.num_envs % settings.devices == 0,
        "num_envs",
        settings.num_envs,
        f"a multiple of {settings.devices}, the number of devices",
    )
    _check_agent(settings)
    if settings.tuning.method != "none":
        _check_tuning(settings)


def _check_environment(environment: EnvSettings) -> None:
    for name, value in environment.env_kwargs.items():
        named = isinstance(name, str) and name.isidentifier()
        require(named, "environment.env_kwargs", repr(name), "names of arguments")
        allowed = "text, a number, True, False, None, or lists and mappings of these"
        require(_is_plain(value), f"environment.env_kwargs of {name}", repr(value), allowed)
    for wrapper in environment.wrappers:
        module, colon, name = wrapper.rpartition(":")
        allowed = "module:Name of a Gymnasium wrapper"
        named = bool(module and colon and name.isidentifier())
        require(named, "environment.wrappers", repr(wrapper), allowed)


def _is_plain(value: Any) -> bool:
    """Whether a file of settings can hold the value as it is."""
    match value:
        case dict():
            return all(isinstance(key, str) for key in value) and _is_plain(list(value.values()))
        case list() | tuple():
            return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _check_agent(settings: RunSettings) -> None:
    """What the agent cannot do, or does not read."""
    agent = settings.agent
    if agent.algorithm == "q_lambda":
        _check_extensions_of_loss(settings)
    if agent.algorithm != "actor_critic":
        for name, value, only in (
            ("heads", agent.heads, 1),
            ("outer_critic", agent.outer_critic, False),
        ):
            allowed = f"{only} for {agent.algorithm}; --preset actor_critic has others"
            require(value == only, f"agent.{name}", value, allowed)
    if agent.algorithm == "ppo":
        steps, what = agent.rollout_length * settings.num_envs, "rollout_length * num_envs"
        if agent.core != "none":
            steps, what = settings.num_envs, f"num_envs, whose sequences {agent.core} needs whole"
        allowed = f"a divisor of {steps}, {what}"
        divides = steps % agent.minibatches == 0
        require(divides, "agent.minibatches", agent.minibatches, allowed)
    else:
        for name in ("epochs", "minibatches"):
            value = getattr(agent, name)
            allowed = f"left out for {agent.algorithm}: only ppo learns from a rollout again"
            require(value == getattr(AgentSettings, name), f"agent.{name}", value, allowed)
    if agent.algorithm == "q_lambda":
        for name in ("core", "correction", "overlap", "share_convolutions"):
            value, only = getattr(agent, name), getattr(AgentSettings, name)
            require(value == only, f"agent.{name}", value, f"{only} for q_lambda")
        allowed = "none | l2_init for q_lambda, which has no policy"
        require(not agent.barrier, "agent.regularize", agent.regularize, allowed)
    if agent.heads > 1:
        require(
            agent.off_policy,
            "agent.correction",
            agent.correction,
            "vtrace: all heads but the first learn from actions that they have not chosen",
        )
    require(
        settings.devices == 1 or not agent.overlap,
        "devices",
        settings.devices,
        "1 with overlap",
    )
    if settings.tuning.method == "none":
        return
    for name in sorted(_tuned(settings) - set(settings.in_use)):
        raise _unread(agent, name)


def _check_extensions_of_loss(settings: RunSettings) -> None:
    terms = [
        one.name for one in extensions.load(settings.extensions).values() if one.kind != "rule"
    ]
    parts = extensions.parts(settings.extensions)
    if "outer_objective" in parts:
        terms.append(parts["outer_objective"].name)
    allowed = f"left out for {settings.agent.algorithm}, whose loss has no terms"
    require(not terms, "extensions", ", ".join(terms), allowed)


def _unread(agent: AgentSettings, name: str) -> ConfigError:
    """What has to change in the agent for one of its parts to read a hyperparameter."""
    field, those = readers(agent, name)
    allowed = f"{' | '.join(those)} to tune {name}"
    if field == "algorithm" and agent.algorithm == "q_lambda":
        allowed += " (--preset q_lambda tunes epsilon alone)"
    return not_allowed(f"agent.{field}", getattr(agent, field), allowed)


def _check_tuning(settings: RunSettings) -> None:
    """What cannot be tuned in this way."""
    tuning, tuned = settings.tuning, _tuned(settings)
    explores = settings.agent.algorithm == "q_lambda"
    if explores:
        require(tuning.method == "bmg", "tuning.method", tuning.method, "none | bmg for q_lambda")
        require(tuning.matching == "kl", "tuning.matching", tuning.matching, "kl for q_lambda")
        others = ", ".join(sorted(tuned - {"epsilon"}))
        require(not others, "tuned hyperparameters", others, "epsilon alone for q_lambda")
    steps, allowed = tuning.inner_steps, "0 for q_lambda" if explores else "at least 1"
    require((steps == 0) == explores, "tuning.inner_steps", steps, allowed)
    reused = settings.agent.algorithm == "ppo"
    if reused:
        most = settings.agent.epochs * settings.agent.minibatches
        allowed = f"at most {most}, epochs * minibatches, the updates on one rollout"
        require(steps <= most, "tuning.inner_steps", steps, allowed)
    if "learning_rate" in tuned:
        # It plays its start plus all past gradients: what the trust region lowers would come back.
        adaptive = tuning.optimizer != "ao_ftrl"
        allowed = "adam | ogd | omega to tune learning_rate"
        require(adaptive, "tuning.optimizer", tuning.optimizer, allowed)
    if tuning.differentiation == "implicit":
        by_rule = ", ".join(sorted(tuned - set(settings.in_loss)))
        allowed = f"unrolled to tune {by_rule}, which no minimiser depends on"
        require(not by_rule, "tuning.differentiation", tuning.differentiation, allowed)
    if tuning.method == "bmg" and tuning.matching == "none":
        by_value = settings.outer["critic"] if settings.matches_values else 0.0
        weight = tuning.value_weight * by_value + tuning.parameter_weight
        allowed = "reverse_kl | kl where nothing else is matched"
        require(weight > 0, "tuning.matching", tuning.matching, allowed)
    if tuning.target_last == "policy":
        allowed = "full where target_by is learned"
        require(tuning.target_by != "learned", "tuning.target_last", tuning.target_last, allowed)
    if tuning.continue_from == "student":
        window = tuning.inner_steps + (tuning.target_steps if tuning.method == "bmg" else 1)
        window = 2 if reused else window
        allowed = f"at least {window} (inner_steps and those that judge) to continue from it"
        require(tuning.period >= window, "tuning.period", tuning.period, allowed)
    if tuning.context != "none":
        for name in sorted(tuned):
            spec = settings.hyperparameters[name]
            allowed = f"between its bounds {spec.low:g}:{spec.high:g}, and not on them"
            inside = spec.low < spec.start < spec.high
            require(inside, f"start of {name}", spec.start, allowed)
        if "learning_rate" in tuned:
            low = settings.hyperparameters["learning_rate"].low
            require(low > 0, "low of learning_rate", low, "above 0 for a meta-network")


def check_checkpoint_every(seconds: float) -> None:
    """Raises ConfigError unless so many seconds may pass from one checkpoint to the next."""
    allowed = "seconds, 0 or more; inf for none before the end"
    require(seconds >= 0, "checkpoint_every", seconds, allowed)


def _tuned(settings: RunSettings) -> set[str]:
    return {name for name, spec in settings.hyperparameters.items() if spec.tuned}


def check_count(name: str, value: int, prefix: str = "") -> None:
    """Checks a whole number by the name of its setting; raises ConfigError."""
    low, high = _COUNTS.get(name, _COUNT)
    allowed = f"a whole number between {low} and {high}"
    require(low <= value <= high, prefix + name, value, allowed)


def _check_field(prefix: str, name: str, value: Any, hint: Any) -> None:
    require(value is not None, prefix + name, value, "given")
    if hint is float:
        held = value == 0 or not math.isfinite(value) or _LEAST <= abs(value) <= _MOST
        require(held, prefix + name, value, f"a number between {_LEAST:g} and {_MOST:g}, or 0")
    if hint is int:
        check_count(name, value, prefix)
    elif hint is float and name in _FROM_ZERO:
        most = _FROM_ZERO[name]
        allowed = "a number between 0 and 1" if most == 1 else "a finite number of at least 0"
        require(0 <= value <= most and math.isfinite(value), prefix + name, value, allowed)
    elif name in _MAY_BE_INFINITE:
        require(value > 0, prefix + name, value, "a number above 0, inf for none")
    elif hint is float:
        require(0 < value < math.inf, prefix + name, value, "a finite number above 0")
    elif get_origin(hint) is Literal:
        require(value in get_args(hint), prefix + name, value, " | ".join(get_args(hint)))


def _check_hyperparameter(
    definition: Definition, hyperparameter: Hyperparameter, tuned: bool
) -> None:
    name, (least, most) = definition.name, definition.domain
    allowed = "a finite number"
    if most < math.inf:
        allowed = f"a number between {least:g} and {most:g}"
    elif least > -math.inf:
        allowed += f" of at least {least:g}"
    values = {key: getattr(hyperparameter, key) for key in ("start", "low", "high", "outer")}
    if not definition.in_outer:
        outer = values.pop("outer")
        require(
            outer is None,
            f"outer of {name}",
            outer,
            "left out: it is no part of the outer objective",
        )
    for key, value in values.items():
        inside = value is not None and least <= value <= most and math.isfinite(value)
        require(inside, f"{key} of {name}", value, allowed)
        held = value == 0 or _LEAST <= abs(value) <= _MOST
        require(held, f"{key} of {name}", value, f"a number between {_LEAST:g} and {_MOST:g}, or 0")
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
