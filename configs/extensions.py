"""Hyperparameters of a user's own, which are tuned like all others, from a module of theirs.

    # my_terms.py
    from selftuning.configs.extensions import loss_term

    @loss_term(start=0.01, low=1e-5, high=1.0)
    def smoothness(seen):
        return seen.policy.kl_divergence(seen.next_policy)

`run.py --extension my_terms` adds `smoothness * mean(smoothness(seen))` to the loss of the
actor-critic. The name of the function is that of the hyperparameter. What functions are given is
described in `agents.terms`.

A module is an extension if what is made here is found in it. It is named in the settings and
imported wherever they go: that is all that a run and the processes of a study need to have in
common. Importing it may load JAX, but must not make arrays: devices are chosen later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, not_allowed, require
from selftuning.configs.hyperparameters import (
    BUILT_IN,
    DOMAINS,
    Definition,
    Hyperparameter,
    Scale,
)
from selftuning.configs.settings import RunSettings

Kind = Literal["loss", "reward", "value"]

# Also: the parameters of a meta-network, and columns of a study's table.
TAKEN = (*BUILT_IN, "network", "method", "run", "seed", "point", "env_steps")
TAKEN += ("return", "reward", "episodes", "solved_at", "greedy", "finite")


@dataclass(frozen=True)
class Own:
    """A hyperparameter that an extension adds.

    Attributes:
      definition: what it is, as of those that come with the project.
      kind: "loss" weighs a term of the loss, "reward" one of the rewards, "value" is only read
        by the terms of others.
      term: what is weighed; None for a value.
    """

    definition: Definition
    kind: Kind
    term: Callable[[Any], Any] | None = None

    @property
    def name(self) -> str:
        """Of the hyperparameter, everywhere."""
        return self.definition.name


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
) -> Own:
    """A hyperparameter that terms read as `seen.hyperparams[name]`, such as a temperature.

    Args:
      name: of it.
      start: as for `loss_term`, and so are the others.
      low: smallest value.
      high: largest value.
      tuned: whether meta-gradients move it.
      outer: its value in the outer objective; None for `start`.
      scale: on which it is tuned, searched and drawn.
      label: in words.
    """
    outer = start if outer is None else outer
    return _own(name, "value", _spec(start, low, high, tuned, outer), scale, label, None)


def load(names: Sequence[str]) -> dict[str, Own]:
    """What extensions add, by name, in the order in which they say it.

    Args:
      names: of the modules. They are found where Python finds modules, and in the working
        directory.

    Raises:
      ConfigError: if one is not there, cannot be imported, adds nothing, or uses a name again.
    """
    if not (isinstance(names, (list, tuple)) and all(isinstance(x, str) for x in names)):
        raise not_allowed("extensions", repr(names), "a list of modules")
    found: dict[str, Own] = {}
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(f"extensions: {name} is there twice")
        module = modules.imported(name, "extensions")
        added = [own for own in vars(module).values() if isinstance(own, Own)]
        if not added:
            raise ConfigError(
                f"extensions: {name} ({getattr(module, '__file__', 'no file')}) adds nothing; "
                "it must hold a loss_term, reward_term or hyperparameter of selftuning"
            )
        for own in added:
            if found.setdefault(own.name, own) is not own:
                raise ConfigError(f"extensions: {name}: there is another {own.name}")
    return found


def definitions(names: Sequence[str]) -> dict[str, Definition]:
    """All hyperparameters by name: those that come with the project, then those of extensions.

    Args:
      names: of the extensions.

    Raises:
      ConfigError: as `load`.
    """
    return BUILT_IN | {name: own.definition for name, own in load(names).items()}


def extended(settings: RunSettings, modules: Sequence[str]) -> RunSettings:
    """Settings with extensions and the hyperparameters these add; those there stay as they are.

    Args:
      settings: of a run.
      modules: names of the extensions.

    Raises:
      ConfigError: as `load`.
    """
    added = {name: own.definition.default for name, own in load(modules).items()}
    hyperparameters = settings.hyperparameters
    hyperparameters = hyperparameters | {k: x for k, x in added.items() if k not in hyperparameters}
    return replace(settings, extensions=tuple(modules), hyperparameters=hyperparameters)


def _spec(start: float, low: float, high: float, tuned: bool, outer: float) -> Hyperparameter:
    return Hyperparameter(float(start), float(low), float(high), tuned, float(outer))


def _decorator(kind: Kind, spec: Hyperparameter, scale: Scale, label: str):
    return lambda term: _own(term.__name__, kind, spec, scale, label, term)


def _own(name: str, kind: Kind, spec: Hyperparameter, scale: Scale, label: str, term: Any) -> Own:
    if name in TAKEN or not name.isidentifier():
        allowed = f"a name in Python other than {', '.join(TAKEN)}"
        raise not_allowed("extensions", repr(name), allowed)
    require(scale in DOMAINS, f"scale of {name}", repr(scale), " | ".join(DOMAINS))
    return Own(Definition(name, label or name, scale, spec, ("actor_critic",)), kind, term)
