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
      label: in words, for plots and reports.
      scale: on which it is tuned, searched and drawn: "log" for positive values, "unit" for
        log-odds of values between 0 and 1, "linear" for any, in units of its declared range.
      default: what a run does with it unless told otherwise.
      read_by: the parts of the agent that read it: values of `AgentSettings.algorithm`,
        `correction`, `inner_optimizer` or `regularize`, or `ANY_OPTIMIZER`. One of them is enough.
      at_most: largest value that makes sense, where that is less than the scale allows.
      at_least: smallest one, where that is more than the scale allows.
      about: what it does, for help.
    """

    name: str
    label: str
    scale: Scale
    default: Hyperparameter
    read_by: tuple[str, ...]
    at_most: float = math.inf
    at_least: float = -math.inf
    about: str = ""

    @property
    def domain(self) -> tuple[float, float]:
        """Values that make sense at all, both ends included."""
        least, most = DOMAINS[self.scale]
        return max(least, self.at_least), min(most, self.at_most)

    @property
    def in_outer(self) -> bool:
        """Whether the outer objective reads it, at a value of its own."""
        return self.default.outer is not None


# What is in use follows from who reads it, so that algorithms are named here.
Algorithm = Literal["actor_critic", "ppo", "q_lambda"]
_RETURNS: tuple[Algorithm, ...] = ("actor_critic", "ppo", "q_lambda")
_LOSS: tuple[Algorithm, ...] = ("actor_critic", "ppo")
_OFF_POLICY = ("vtrace",)

_BUILT_IN = (
    Definition(
        "gamma",
        "discount gamma",
        "unit",
        Hyperparameter(start=0.99, low=0.1, high=0.9999, tuned=True, outer=0.99),
        read_by=_RETURNS,
        about="how much a reward counts one step later",
    ),
    Definition(
        "lambda",
        "trace decay lambda",
        "unit",
        Hyperparameter(start=0.95, low=0.01, high=0.999, tuned=False, outer=0.95),
        read_by=_RETURNS,
        about="how far returns rely on rewards rather than on the critic",
    ),
    Definition(
        "entropy",
        "entropy weight",
        "log",
        Hyperparameter(start=0.01, low=1e-5, high=1.0, tuned=False, outer=0.01),
        read_by=_LOSS,
        about="weight of the policy's entropy in the loss",
    ),
    Definition(
        "critic",
        "critic weight",
        "log",
        Hyperparameter(start=0.5, low=1e-3, high=10.0, tuned=False, outer=0.5),
        read_by=_LOSS,
        about="weight of the critic's error in the loss",
    ),
    Definition(
        "policy",
        "policy weight",
        "log",
        Hyperparameter(start=1.0, low=1e-2, high=10.0, tuned=False, outer=1.0),
        read_by=_LOSS,
        about="weight of the policy gradient in the loss",
    ),
    Definition(
        "clip",
        "clip range",
        "log",
        Hyperparameter(start=0.2, low=0.02, high=1.0, tuned=False, outer=0.2),
        read_by=("ppo",),
        at_least=1e-3,  # ratios are measured in units of it
        about="how far updates on one rollout may change the probability of an action",
    ),
    Definition(
        "alpha_rho",
        "V-trace alpha_rho",
        "unit",
        Hyperparameter(start=0.99, low=0.01, high=0.9999, tuned=False, outer=1.0),
        read_by=_OFF_POLICY,
        about="how much of V-trace's clipped weight is used for TD errors",
    ),
    Definition(
        "alpha_c",
        "V-trace alpha_c",
        "unit",
        Hyperparameter(start=0.99, low=0.01, high=0.9999, tuned=False, outer=1.0),
        read_by=_OFF_POLICY,
        about="how much of V-trace's clipped weight is used for traces",
    ),
    # The outer objective judges what was learned, not how it was explored or by which steps.
    Definition(
        "epsilon",
        "exploration epsilon",
        "unit",
        Hyperparameter(start=0.1, low=1e-3, high=0.999, tuned=False),
        read_by=("q_lambda",),
        about="share of actions that are random",
    ),
    Definition(
        "learning_rate",
        "learning rate",
        "log",
        Hyperparameter(start=1e-3, low=1e-6, high=1e-1, tuned=False),
        read_by=(ANY_OPTIMIZER,),
        about="step size of the inner optimizer",
    ),
    Definition(
        "momentum",
        "momentum",
        "unit",
        Hyperparameter(start=0.9, low=0.0, high=0.999, tuned=False),
        read_by=("momentum", "adam", "accelerated", "trac"),
        at_most=0.9999,  # an average that never forgets never moves
        about="how slowly the average of past gradients changes",
    ),
    Definition(
        "hint_weight",
        "hint weight",
        "log",
        Hyperparameter(start=0.5, low=0.0, high=10.0, tuned=False),
        read_by=("accelerated",),
        about="weight of the guess of the next gradient",
    ),
    Definition(
        "l2_init",
        "pull to the start",
        "log",
        Hyperparameter(start=1e-3, low=1e-6, high=1.0, tuned=False),
        read_by=("l2_init",),
        about="weight of half the squared distance of parameters from their initial ones",
    ),
    Definition(
        "barrier",
        "barrier weight",
        "log",
        Hyperparameter(start=3e-3, low=1e-5, high=1.0, tuned=False, outer=3e-3),
        read_by=("barrier",),
        about="weight of KL(uniform || policy), which keeps every action possible",
    ),
)
BUILT_IN: dict[str, Definition] = {one.name: one for one in _BUILT_IN}


def default_hyperparameters() -> dict[str, Hyperparameter]:
    """What a run does with the hyperparameters of the agent, by name; not those of extensions."""
    return {name: one.default for name, one in BUILT_IN.items()}
