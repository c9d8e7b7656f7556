"""How the searches that tuning is compared with are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from selftuning.configs.errors import require

Budget = Literal["member", "run"]
Fitness = Literal["return", "reward"]


@dataclass(frozen=True)
class SearchSettings:
    """How hyperparameters are searched for.

    The rules of population-based training are those of Jaderberg et al. (2017), whose truncation
    replaces 20% of the members, and who perturb by 1.2 or 0.8; a quarter of the members and
    resampling with probability 1/4 are Ray Tune's. A factor and its inverse, as here, have no
    drift.

    Attributes:
      members: P, members of each search. For Optuna: its trials if none were pruned.
      budget: environment steps of a search, S being those of one run (`RunSettings.steps`).
        "member": S for each member, P S together. "run": no more than S together, of which random
        search and Optuna spend half on all members and half on the best. What Optuna saves by
        pruning is spent on further trials, and in the end on the best.
      fitness: what members are compared by: the mean "return" of the episodes that ended in an
        interval, or the mean "reward" of its steps, for tasks whose episodes never end. A study
        finds out which.
      interval: environment steps of a member between two comparisons, rounded to whole cycles; in
        a study a tenth of its life at most.
      fraction: share of the members that copy others, and of those that are copied.
      factor: explored hyperparameters are multiplied or divided by it, on their scales.
      resample: probability of drawing an explored hyperparameter from its range instead.
      exploit: whether the worst members copy the best.
      explore: whether what was copied is then perturbed.
    """

    members: int = 8
    budget: Budget = "member"
    fitness: Fitness = "return"
    interval: int = 10_000
    fraction: float = 0.25
    factor: float = 1.2
    resample: float = 0.25
    exploit: bool = True
    explore: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigError for the first field that is not allowed."""
        require(2 <= self.members <= 10_000, "members", self.members, "between 2 and 10000")
        require(self.budget in get_args(Budget), "budget", self.budget, "member | run")
        require(self.fitness in get_args(Fitness), "fitness", self.fitness, "return | reward")
        require(self.interval >= 1, "interval", self.interval, "at least 1")
        require(0 < self.fraction <= 0.5, "fraction", self.fraction, "above 0 and at most 0.5")
        require(1 < self.factor < math.inf, "factor", self.factor, "a finite number above 1")
        require(0 <= self.resample <= 1, "resample", self.resample, "between 0 and 1")
