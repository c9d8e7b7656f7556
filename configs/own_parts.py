"""What a user makes parts of their own with; `configs.extensions` finds them.

A part is a record with the user's function in it. Nothing here loads JAX.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, not_allowed, require
from selftuning.configs.hyperparameters import (
    ANY_OPTIMIZER,
    BUILT_IN,
    DOMAINS,
    Definition,
    Hyperparameter,
    Scale,
)

Kind = Literal["loss", "reward", "value", "rule"]
PartKind = Literal["torso", "update_rule", "outer_objective", "algorithm"]

# Also: the parameters of a meta-network, and columns of a study's table.
TAKEN = (*BUILT_IN, "network", "method", "run", "seed", "point", "env_steps")
TAKEN += ("return", "reward", "episodes", "solved_at", "greedy", "finite")


@dataclass(frozen=True)
class Own:
    """A hyperparameter that an extension adds.

    Attributes:
      definition: what it is, as of those that come with the project.
      kind: "loss" weighs a term of the loss, "reward" one of the rewards, "value" is only read
        by the terms of others, "rule" by an update rule.
      term: what is weighed; None for a value.
      module: that it was made in.
    """

    definition: Definition
    kind: Kind
    term: Callable[[Any], Any] | None = None
    module: str = ""

    @property
    def name(self) -> str:
        """Of the hyperparameter, everywhere."""
        return self.definition.name


@dataclass(frozen=True)
class Part:
    """A part of the agent that an extension puts in place of the project's own.

    Attributes:
      kind: which part.
      function: that makes it, or is it.
    """

    kind: PartKind
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """In messages."""
        return getattr(self.function, "__name__", self.kind)

    @property
    def module(self) -> str:
        """That it was made in."""
        return getattr(self.function, "__module__", "")

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Calls the function, as `call` does; what goes wrong is one line that says where."""
        return call(f"{self.kind} {self.name}", self.function, *arguments, **options)


def torso(function: Callable[[Any], Any]) -> Part:
    """Makes of `function(observation)` the body of the networks, in place of layers by width.

    It is given a batch of observations [B, *obs] and returns features [B, F]. It may use Haiku
    modules, and is called once for each network, policy and value, which share nothing. Linear
    layers to logits and values come after it.

        @torso
        def residual(observation):
            x = hk.Linear(64)(observation)
            return x + jax.nn.relu(hk.Linear(64)(x))
    """
    return Part("torso", function)


def update_rule(function: Callable[[], Any]) -> Part:
    """Makes of `function()` the rule that moves the parameters, in place of `--inner-optimizer`.

    It returns a `selftuning.metagrad.update_rules.UpdateRule`, which reads `learning_rate` and what
    is declared with `hyperparameter(..., of="update_rule")`. Gradients are clipped before it sees
    them (`--max-grad-norm`).
    """
    return Part("update_rule", function)


def outer_objective(function: Callable[[Any], Any]) -> Part:
    """Makes of `function(seen)` what the hyperparameters serve, in place of the outer loss.

    It is given the first head of the agent on a rollout (`agents.terms.Seen`), with targets and
    advantages at the outer values, and returns a scalar that is to be small. In `mg` the student is
    judged by it, in `bmg` its target descends it. Gradients flow through `seen.policy` and
    `seen.value`, not through targets, advantages and `seen.frozen`.

        @outer_objective
        def returns_alone(seen):
            return -(seen.policy.log_prob(seen.trajectory.action) * seen.advantage).mean()
    """
    return Part("outer_objective", function)


def algorithm(function: Callable[..., Any]) -> Part:
    """Makes of `function(observation_space, action_space, settings)` what is learned.

    It returns an `selftuning.agents.algorithm.Algorithm`, which reads the hyperparameters that the
    one named by `--algorithm` would read, and those of extensions.
    """
    return Part("algorithm", function)


def loss_term(
    *,
    start: float,
    low: float,
    high: float,
    tuned: bool = True,
    outer: float = 0.0,
    scale: Scale = "log",
    label: str = "",
) -> Callable[[Callable[[Any], Any]], Own]:
    """Makes of `function(seen)` a term that is added to the loss of every head.

    Args:
      start: weight at the first step.
      low: smallest value that tuning may reach.
      high: largest value that tuning may reach.
      tuned: whether meta-gradients move it, unless flags say otherwise.
      outer: weight in the outer objective, which is never tuned; 0 leaves the term out there.
      scale: on which it is tuned, searched and drawn: "log" for positive values, "unit" for
        log-odds of values between 0 and 1, "linear" for any, in units of `high - low`.
      label: in words, for plots and reports; the name if left out.

    Returns:
      A decorator of functions (`agents.terms.Seen`) -> numbers of any shape, whose mean is taken.
    """
    return _decorator("loss", _spec(start, low, high, tuned, outer), scale, label)


def reward_term(
    *,
    start: float,
    low: float,
    high: float,
    tuned: bool = True,
    outer: float = 0.0,
    scale: Scale = "log",
    label: str = "",
) -> Callable[[Callable[[Any], Any]], Own]:
    """Makes of `function(seen)` a term that is added to rewards before returns are made of them.

    What is logged as rewards and returns stays that of the environment.

    Args:
      start: as for `loss_term`, and so are the others.
      low: smallest value.
      high: largest value.
      tuned: whether meta-gradients move it.
      outer: weight in the outer objective.
      scale: on which it is tuned, searched and drawn.
      label: in words.

    Returns:
      A decorator of functions (`agents.terms.Seen`) -> numbers [T, B].
    """
    return _decorator("reward", _spec(start, low, high, tuned, outer), scale, label)


def hyperparameter(
    name: str,
    *,
    start: float,
    low: float,
    high: float,
    tuned: bool = True,
    outer: float | None = None,
    scale: Scale = "log",
    label: str = "",
    of: Literal["terms", "update_rule"] = "terms",
) -> Own:
    """A hyperparameter that terms read as `seen.hyperparams[name]`, such as a temperature.

    Args:
      name: of it.
      start: as for `loss_term`, and so are the others.
      low: smallest value.
      high: largest value.
      tuned: whether meta-gradients move it.
      outer: its value in the outer objective; None for `start`. That of a rule has none.
      scale: on which it is tuned, searched and drawn.
      label: in words.
      of: who reads it, terms or an update rule.
    """
    module = sys._getframe(1).f_globals.get("__name__", "")
    require(of in ("terms", "update_rule"), f"of of {name}", repr(of), "'terms' or 'update_rule'")
    if of == "update_rule":
        require(outer is None, f"outer of {name}", outer, "left out: only the rule reads it")
        spec = replace(_spec(start, low, high, tuned, 0.0), outer=None)
        return _own(name, "rule", spec, scale, label, None, module)
    outer = start if outer is None else outer
    return _own(name, "value", _spec(start, low, high, tuned, outer), scale, label, None, module)


def call(
    name: str,
    function: Callable[..., Any],
    *arguments: Any,
    convert: Callable[[Any], Any] = lambda result: result,
    where: Callable[..., Any] | None = None,
) -> Any:
    """What a user's function returns, after `convert`, which may raise errors of its own about it.

    Args:
      name: of the function, for messages.
      function: that is called.
      *arguments: of the function.
      convert: of what it returns.
      where: the place that is named where no line of the user's has raised the error; `function`
        if None.

    Raises:
      ConfigError: if it raises anything, in one line with the place in the user's file.
    """
    try:
        return convert(function(*arguments))
    except ConfigError:
        raise
    except Exception as error:
        said = modules.said(error, where or function)
        raise ConfigError(f"extensions: {name}: {type(error).__name__}: {said}") from error


def _spec(start: float, low: float, high: float, tuned: bool, outer: float) -> Hyperparameter:
    return Hyperparameter(float(start), float(low), float(high), tuned, float(outer))


def _decorator(kind: Kind, spec: Hyperparameter, scale: Scale, label: str):
    return lambda term: _own(term.__name__, kind, spec, scale, label, term, term.__module__)


def _own(
    name: str,
    kind: Kind,
    spec: Hyperparameter,
    scale: Scale,
    label: str,
    term: Callable[[Any], Any] | None,
    module: str,
) -> Own:
    if name in TAKEN or not name.isidentifier():
        allowed = f"a name in Python other than {', '.join(TAKEN)}"
        raise not_allowed("extensions", repr(name), allowed)
    require(scale in DOMAINS, f"scale of {name}", repr(scale), " | ".join(DOMAINS))
    read_by = (ANY_OPTIMIZER,) if kind == "rule" else ("actor_critic",)
    return Own(Definition(name, label or name, scale, spec, read_by), kind, term, module)
