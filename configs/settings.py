"""Typed settings of a run. Every number that shapes a run is a field here.

Settings are static: they choose shapes, numbers of steps and methods. The *values*
of hyperparameters (`Hyperparameter.start`) enter the program as traced arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Backend = Literal["auto", "jax", "host"]
Method = Literal["none", "mg", "bmg"]


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter of the inner loss or of the inner optimiser.

    Attributes:
      start: value at the first step.
      low: smallest value that tuning may reach.
      high: largest value that tuning may reach.
      tuned: whether meta-gradients move it; if not, it keeps `start`.
      outer: its value in the outer objective, which is never tuned.
    """

    start: float
    low: float
    high: float
    tuned: bool
    outer: float


@dataclass(frozen=True)
class AgentSettings:
    """The actor-critic: networks, rollouts and the optimiser of its parameters.

    Attributes:
      hidden: widths of the hidden layers, of policy and value network each.
      activation: non-linearity between the layers.
      rollout_length: T, steps of each environment between two updates.
      inner_optimizer: name of a rule in `metagrad.update_rules`.
      max_grad_norm: global norm to which inner gradients are clipped.
      value_scale: the value network's output is multiplied by this, and critic errors are
        divided by it. About the size of the returns, so that the network need not be large.
      normalize_advantage: divide advantages by their standard deviation over a rollout.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Literal["tanh", "relu"] = "tanh"
    rollout_length: int = 16
    inner_optimizer: Literal["sgd", "momentum", "rms", "adam"] = "rms"
    max_grad_norm: float = 0.5
    value_scale: float = 1.0
    normalize_advantage: bool = True


@dataclass(frozen=True)
class TuningSettings:
    """How hyperparameters are adapted online.

    Attributes:
      method: "none" keeps all fixed, "mg" follows the meta-gradient of the outer
        loss (Xu et al. 2018), "bmg" matches a bootstrapped target (Flennerhag et al. 2022).
      inner_steps: K, updates that are differentiated.
      target_steps: L, updates of the bootstrapped target on the outer objective, one
        rollout each (bmg; mg is judged by the one rollout that follows the student).
      matching: how the student is compared with its target (bmg): "reverse_kl" is
        KL(student || target), "kl" is KL(target || student); values are matched besides.
      value_weight: what values count, in units of the outer critic weight, in the outer
        loss of mg and in the matching of bmg.
      period: updates of the agent between two updates of the hyperparameters.
      learning_rate: step size of the meta-optimiser (Adam), in unconstrained units.
    """

    method: Method = "bmg"
    inner_steps: int = 1
    target_steps: int = 1
    matching: Literal["reverse_kl", "kl"] = "reverse_kl"
    value_weight: float = 10.0
    period: int = 4
    learning_rate: float = 4e-2


def default_hyperparameters() -> dict[str, Hyperparameter]:
    """The hyperparameters of the agent, by name: the only ones there are."""
    return {
        "gamma": Hyperparameter(0.99, 0.1, 0.9999, True, 0.99),
        "lambda": Hyperparameter(0.95, 0.01, 0.999, True, 0.95),
        "entropy": Hyperparameter(0.01, 1e-5, 1.0, True, 0.01),
        "critic": Hyperparameter(0.5, 1e-3, 10.0, True, 0.5),
        "learning_rate": Hyperparameter(3e-3, 1e-6, 1e-1, False, 3e-3),
    }


@dataclass(frozen=True)
class RunSettings:
    """One training run.

    Attributes:
      env: Gymnasium id; the version may be left out (`CartPole`).
      seed: seed of everything random in the run.
      steps: environment steps of all environments together, all of them counted.
      num_envs: B, environments stepped side by side.
      backend: "jax" steps the environment inside jit, "host" through
        gymnasium.vector, "auto" in-graph where an equal twin exists.
      eval_episodes: episodes of the greedy evaluation at the end.
    """

    env: str = "CartPole-v1"
    seed: int = 0
    steps: int = 500_000
    num_envs: int = 4
    backend: Backend = "auto"
    eval_episodes: int = 20
    hyperparameters: dict[str, Hyperparameter] = field(default_factory=default_hyperparameters)
    agent: AgentSettings = AgentSettings()
    tuning: TuningSettings = TuningSettings()
