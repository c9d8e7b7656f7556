"""Hyperparameters. Each of them is described once, by a `Definition`.

Settings, flags, checks, tuning, searches, plots and reports read what they need of it there. To
add one that comes with the project, add an entry to `BUILT_IN`; a user's own are declared by
`configs.extensions`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Scale = Literal["log", "unit", "linear"]

# Values that make sense on each scale, both ends included.
DOMAINS: dict[Scale, tuple[float, float]] = {
    "log": (0.0, math.inf),
    "unit": (0.0, 1.0),
    "linear": (-math.inf, math.inf),
}

# In `Definition.read_by`: every inner optimiser, those of extensions too.
ANY_OPTIMIZER = "any inner optimizer"


@dataclass(frozen=True)
class Hyperparameter:
    """What a run does with a hyperparameter.

    Attributes:
      start: value at the first step.
      low: smallest value that tuning may reach.
      high: largest value that tuning may reach.
      tuned: whether meta-gradients move it; if not, it keeps `start`.
      outer: its value in the outer objective, which is never tuned; None for what the outer
        objective does not read.
    """

    start: float
    low: float
    high: float
    tuned: bool
    outer: float | None = None


@dataclass(frozen=True)
class Definition:
    """What a hyperparameter is, in whatever run.

    Attributes:
      name: in flags, files and tables.
      label: in words, for help, plots and reports.
      scale: on which it is tuned, searched and drawn: "log" for positive values, "unit" for
        log-odds of values between 0 and 1, "linear" for any, in units of its declared range.
      default: what a run does with it unless told otherwise.
      read_by: the parts of the agent that read it: values of `AgentSettings.algorithm`,
        `correction` or `inner_optimizer`, or `ANY_OPTIMIZER`. One of them is enough.
      at_most: largest value that makes sense, where that is less than the scale allows.
    """

    name: str
    label: str
    scale: Scale
    default: Hyperparameter
    read_by: tuple[str, ...]
    at_most: float = math.inf

    @property
    def domain(self) -> tuple[float, float]:
        """Values that make sense at all, both ends included."""
        least, most = DOMAINS[self.scale]
        return least, min(most, self.at_most)

    @property
    def in_outer(self) -> bool:
        """Whether the outer objective reads it, at a value of its own."""
        return self.default.outer is not None


def _define(
    name: str,
    label: str,
    scale: Scale,
    read_by: tuple[str, ...],
    *,
    start: float,
    low: float,
    high: float,
    tuned: bool = False,
    outer: float | None = None,
    at_most: float = math.inf,
) -> Definition:
    default = Hyperparameter(start, low, high, tuned, outer)
    return Definition(name, label, scale, default, read_by, at_most)


_RETURNS, _LOSS, _OFF_POLICY = ("actor_critic", "q_lambda"), ("actor_critic",), ("vtrace",)

# fmt: off
_BUILT_IN = (
    _define("gamma", "discount gamma", "unit", _RETURNS,
            start=0.99, low=0.1, high=0.9999, tuned=True, outer=0.99),
    _define("lambda", "trace decay lambda", "unit", _RETURNS,
            start=0.95, low=0.01, high=0.999, tuned=True, outer=0.95),
    _define("entropy", "entropy weight", "log", _LOSS,
            start=0.01, low=1e-5, high=1.0, tuned=True, outer=0.01),
    _define("critic", "critic weight", "log", _LOSS,
            start=0.5, low=1e-3, high=10.0, tuned=True, outer=0.5),
    _define("policy", "policy weight", "log", _LOSS,
            start=1.0, low=1e-2, high=10.0, outer=1.0),
    _define("alpha_rho", "V-trace mixing alpha_rho", "unit", _OFF_POLICY,
            start=0.99, low=0.01, high=0.9999, outer=1.0),
    _define("alpha_c", "V-trace mixing alpha_c", "unit", _OFF_POLICY,
            start=0.99, low=0.01, high=0.9999, outer=1.0),
    # The outer objective judges what was learned, not how it was explored or by which steps.
    _define("epsilon", "exploration epsilon", "unit", ("q_lambda",),
            start=0.1, low=1e-3, high=0.999),
    _define("learning_rate", "learning rate", "log", (ANY_OPTIMIZER,),
            start=3e-3, low=1e-6, high=1e-1),
    # An average that never forgets never moves.
    _define("momentum", "momentum", "unit", ("momentum", "adam", "accelerated"),
            start=0.9, low=0.0, high=0.999, at_most=0.9999),
    _define("hint_weight", "hint weight", "log", ("accelerated",),
            start=0.5, low=0.0, high=10.0),
)
# fmt: on
BUILT_IN: dict[str, Definition] = {one.name: one for one in _BUILT_IN}


def default_hyperparameters() -> dict[str, Hyperparameter]:
    """What a run does with the hyperparameters of the agent, by name; not those of extensions."""
    return {name: one.default for name, one in BUILT_IN.items()}
