"""Typed settings of a run. Every number that shapes a run is a field here.

Settings are static: they choose shapes, numbers of steps and methods. The *values*
of hyperparameters (`Hyperparameter.start`) enter the program as traced arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Backend = Literal["auto", "jax", "host"]
Method = Literal["none", "mg", "bmg"]
InnerOptimizer = Literal["sgd", "momentum", "adagrad", "rms", "adam", "accelerated"]
MetaOptimizer = Literal["adam", "ogd", "ao_ftrl", "omega"]


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
      inner_optimizer: name of a rule in `metagrad.update_rules`; "accelerated" is averaging
        and a hint on RMS-scaled gradients.
      max_grad_norm: global norm to which inner gradients are clipped.
      value_scale: the value network's output is multiplied by this, and critic errors are
        divided by it. About the size of the returns, so that the network need not be large.
      normalize_advantage: divide advantages by their standard deviation over a rollout.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: Literal["tanh", "relu"] = "tanh"
    rollout_length: int = 16
    inner_optimizer: InnerOptimizer = "rms"
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
      optimizer: moves the hyperparameters along the meta-gradient: "adam", or an online
        learner of `metagrad.online` on meta-gradients scaled as Adam scales them.
      learning_rate: step size of the meta-optimiser, in unconstrained units.
      trust_region: KL(new || old) of the policy by which one update may move it while the
        learning rate is tuned; a longer update is shortened, and the learning rate lowered.
      trust_region_cut: how far it is lowered: by the factor of the shortening to this power.
    """

    method: Method = "bmg"
    inner_steps: int = 1
    target_steps: int = 1
    matching: Literal["reverse_kl", "kl"] = "reverse_kl"
    value_weight: float = 10.0
    period: int = 4
    optimizer: MetaOptimizer = "adam"
    learning_rate: float = 4e-2
    trust_region: float = 0.05
    trust_region_cut: float = 0.25


def default_hyperparameters() -> dict[str, Hyperparameter]:
    """The hyperparameters of the agent, by name: the only ones there are."""
    return {
        "gamma": Hyperparameter(0.99, 0.1, 0.9999, True, 0.99),
        "lambda": Hyperparameter(0.95, 0.01, 0.999, True, 0.95),
        "entropy": Hyperparameter(0.01, 1e-5, 1.0, True, 0.01),
        "critic": Hyperparameter(0.5, 1e-3, 10.0, True, 0.5),
        "learning_rate": Hyperparameter(3e-3, 1e-6, 1e-1, False, 3e-3),
        "momentum": Hyperparameter(0.9, 0.0, 0.999, False, 0.9),
        "hint_weight": Hyperparameter(0.5, 0.0, 10.0, False, 0.5),
    }


# Those that the outer objective has values of its own for: what the loss reads.
IN_LOSS = ("gamma", "lambda", "entropy", "critic")

# Hyperparameters that only some inner optimisers read; the others are always in use.
READ_BY: dict[str, tuple[InnerOptimizer, ...]] = {
    "momentum": ("momentum", "adam", "accelerated"),
    "hint_weight": ("accelerated",),
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

    @property
    def in_use(self) -> dict[str, Hyperparameter]:
        """The hyperparameters that the loss or the inner optimiser reads."""
        optimizer = self.agent.inner_optimizer
        return {
            name: spec
            for name, spec in self.hyperparameters.items()
            if optimizer in READ_BY.get(name, (optimizer,))
        }
