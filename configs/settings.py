"""Typed settings of a run. Every number that shapes a run is a field here.

Settings are static: they choose shapes, numbers of steps and methods. The *values*
of hyperparameters (`Hyperparameter.start`) enter the program as traced arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from selftuning.configs.hyperparameters import (
    ANY_OPTIMIZER,
    BUILT_IN,
    Algorithm,
    Hyperparameter,
    default_hyperparameters,
)

Backend = Literal["auto", "jax", "host"]
Method = Literal["none", "mg", "bmg"]
OnDivergence = Literal["stop", "halve", "ignore"]
Torso = Literal["auto", "mlp", "conv", "nature"]
InnerOptimizer = Literal["sgd", "momentum", "adagrad", "rms", "adam", "accelerated", "trac"]
Regularizer = Literal["none", "l2_init", "barrier"]
MetaOptimizer = Literal["ftrl", "adam", "ogd", "ao_ftrl", "omega"]
WandbMode = Literal["off", "offline", "online"]  # of no influence on a run, and in no settings
FEWEST_TO_TELL = 512  # steps of a rollout that can be told from those of another task
CHECKPOINT_EVERY = 60.0  # seconds; likewise


@dataclass(frozen=True)
class AgentSettings:
    """The agent: networks, rollouts, losses and the optimiser of its parameters.

    Attributes:
      algorithm: what learns: "ppo" is an actor-critic with several clipped updates on each
        rollout, "actor_critic" one with a single update, "q_lambda" is Q(lambda) with
        epsilon-greedy exploration. The other defaults are those of ppo; --preset actor_critic
        and --preset q_lambda change what the others need.
      torso: what comes before the hidden layers. "auto" means convolutions for images, whose size
        says which, and nothing for the rest. "mlp" flattens images, "conv" takes numbers with two
        axes for a gray image too. "nature" is what version 0.2 did: the convolutions of Mnih et
        al. (2015) for bytes with three axes, the last of which are channels, of any size.
      share_convolutions: whether policy and value see images through the same convolutions. Layers
        behind them are never shared, nor is a torso of your own.
      hidden: widths of the hidden layers. Policy and value network have such layers each.
      activation: non-linearity between the layers.
      action_bounds: what keeps continuous actions, drawn from a Gaussian in units of half their
        range, within bounds. "squash" sends the Gaussian through tanh; with "clip" those outside
        become the bound. Where an action has no bound, or one, both are the same.
      core: "gru" is a recurrent agent, which remembers what it saw in an episode: policy and value
        network have a gated recurrent unit behind their torso each, as wide as the last hidden
        layer.
      rollout_length: T, steps of each environment between two updates.
      epochs: how often ppo learns from each rollout.
      minibatches: parts into which ppo shuffles a rollout in each epoch, one update each.
      inner_optimizer: name of a rule in `metagrad.update_rules`; "accelerated" is averaging
        and a hint on RMS-scaled gradients, "trac" is Adam whose way from the initial parameters is
        scaled by a parameter-free learner (Muppidi et al. 2024).
      regularize: "l2_init" adds half the squared distance from the initial parameters to the
        inner loss (Kumar et al. 2023); "barrier" adds KL(uniform || policy) for discrete actions
        (Agarwal et al. 2021), to the losses of the algorithms that come with the project. The
        hyperparameter of that name is the weight.
      anneal_learning_rate: whether the learning rate falls linearly, to nothing at the end of the
        run. What is shown, tuned and started is the rate before that.
      anneal_entropy: whether the entropy weight falls in the same way, from rollout to rollout. The
        outer objective keeps its own.
      max_grad_norm: global norm to which inner gradients are clipped; inf turns clipping off.
      normalize_observations: whether observations are shifted and divided by their running mean
        and standard deviation. Images and discrete ones are not.
      normalize_rewards: whether rewards are divided by the running size of discounted returns.
        Returns are reported as the environment pays them.
      normalization_memory: environment steps over which these statistics reach back, inf for all
        of a run.
      normalization_reset: nats an element by which the observations of a rollout lie outside of
        all before, and of the latest ones, if they are of another task. Their statistics then begin
        anew with the step of the change, or, if less than a quarter of the rollout is left, with
        the next one. Rollouts of fewer than 512 steps are too short to tell. An element counts for
        4 nats at most, so that 4 is for never, and so is inf.
      normalize_advantage: whether to divide advantages by their standard deviation over a
        rollout. Where rewards are normalised it counts as 0.03 or more: less than that are errors
        of the critic.
      heads: policy and value heads on shared torsos, each with its own hyperparameters. The
        first head acts, and it alone is judged. The others are auxiliary tasks (Zahavy et al.
        2020).
      correction: "vtrace" weights experience by leaky V-trace. Several heads need it, because
        all but the first learn from actions that they have not chosen.
      overlap: whether environments of the host go on while the agent learns. It then acts with the
        parameters of one rollout earlier, and experience is weighted as with "vtrace".
      outer_critic: whether a second value network learns at the outer objective's values. It
        supplies the advantages of the outer objective (Bonnet et al. 2022).
    """

    algorithm: Algorithm = "ppo"
    torso: Torso = "auto"
    share_convolutions: bool = False
    hidden: tuple[int, ...] = (64, 64)
    activation: Literal["tanh", "relu"] = "tanh"
    action_bounds: Literal["squash", "clip"] = "squash"
    core: Literal["none", "gru"] = "none"
    rollout_length: int = 128
    epochs: int = 10
    minibatches: int = 4
    inner_optimizer: InnerOptimizer = "adam"
    regularize: Regularizer = "none"
    anneal_learning_rate: bool = True
    anneal_entropy: bool = False
    max_grad_norm: float = 0.5
    normalize_observations: bool = True
    normalize_rewards: bool = True
    normalization_memory: float = math.inf
    normalization_reset: float = 1.5
    normalize_advantage: bool = True
    heads: int = 1
    correction: Literal["none", "vtrace"] = "none"
    overlap: bool = False
    outer_critic: bool = False

    @property
    def in_loss(self) -> tuple[str, ...]:
        """The hyperparameters that the loss or the behaviour reads."""
        correction = "vtrace" if self.off_policy else "none"
        return _read_by(self.algorithm, correction, self.regularize if self.barrier else "none")

    @property
    def barrier(self) -> bool:
        """Whether what regularises is a term of the loss, and not of the inner optimiser."""
        return self.regularize == "barrier"

    def can_reset(self, num_envs: int) -> bool:
        """Whether a rollout is long enough to be told from those of another task."""
        return self.rollout_length * num_envs >= FEWEST_TO_TELL

    @property
    def off_policy(self) -> bool:
        """Whether experience is weighted, because others may have made it."""
        return self.overlap or self.correction == "vtrace"

    @property
    def in_optimizer(self) -> tuple[str, ...]:
        """The hyperparameters that the inner optimiser reads, and what regularises it."""
        regularizer = "none" if self.barrier else self.regularize
        return _read_by(self.inner_optimizer, regularizer, ANY_OPTIMIZER)


def _read_by(*parts: str) -> tuple[str, ...]:
    return tuple(name for name, one in BUILT_IN.items() if not set(parts).isdisjoint(one.read_by))


@dataclass(frozen=True)
class TuningSettings:
    """How hyperparameters are adapted online.

    Attributes:
      method: how hyperparameters are tuned: "none" keeps all of them, "mg" follows the
        meta-gradient of the outer loss (Xu et al. 2018), "bmg" matches a bootstrapped target
        (Flennerhag et al. 2022).
      inner_steps: K, updates that are differentiated. Take 0 for an agent that tunes only how
        it explores. With ppo they are the last K on one rollout.
      target_steps: L, updates of the bootstrapped target, one rollout each (bmg), or all on the
        next one with ppo. mg always judges by the one rollout that follows the student.
      target_by: what moves the target: "outer" is the outer objective, "learned" the inner loss
        with today's hyperparameters, "mixed" the inner loss and, in the last update, the outer
        objective.
      target_last: loss of the target's last update: "full" is its whole loss, "policy" the
        policy gradient of the outer objective alone.
      target_state: state of the update rule that makes the target: that of the "student", or
        its "own" from one target to the next.
      matching: how the policy of the student is compared with that of its target (bmg):
        "reverse_kl" is KL(student || target), "kl" is KL(target || student), "none" leaves
        policies out.
      value_weight: weight of values in the outer loss of mg and in the matching of bmg, in units
        of the outer critic weight. With an outer critic, bmg matches values only if target_by is
        not "outer".
      parameter_weight: weight of half the squared distance of parameters in the matching of bmg.
      outer_kl: weight of KL(new || old) of the policy in the outer loss of mg.
      differentiation: "unrolled" goes back through the K updates. "implicit" assumes that the
        student minimises its last loss (Rajeswaran et al. 2019).
      implicit_damping: proximal term of the implicit derivative.
      implicit_iterations: most iterations of conjugate gradients in the implicit derivative.
      horizon_mixing: m between 0 and 1. The i-th last of the K updates counts m^(i-1) in the
        unrolled derivative, which mixes all horizons up to K.
      continue_from: training goes on from the "latest" parameters, or after each meta-step from
        the "student". The latter undoes the updates that were made to judge it.
      context: input of a meta-network that puts out the tuned hyperparameters: "none" means no
        network, "reward" the mean rewards of the last ten rollouts, "rich" the mean and
        deviation of reward, value and TD error of the last rollout (Luketina et al. 2022).
      context_hidden: widths of the hidden layers of that network.
      period: rollouts that the agent learns from between two updates of the hyperparameters.
      optimizer: what moves the hyperparameters along the meta-gradient. "ftrl" moves each as far
        from its start as meta-gradients give evidence for, and has no step size. A meta-network,
        and a learning rate behind a trust region, it leaves to "adam". The others are online
        learners of `metagrad.online` on meta-gradients scaled as Adam scales them.
      learning_rate: step size of the meta-optimiser, in unconstrained units. Left out (None) it is
        0.04, and 0.001 where there is a meta-network: each of its weights takes such a step.
      epsilon: what the meta-optimiser adds to the root mean square that it divides meta-gradients
        by. Those that are far smaller, as noise may be, hardly move a hyperparameter.
      trust_region: KL(new || old) by which one update may move the policy while the learning
        rate is tuned. A longer update is shortened, and the learning rate lowered.
      trust_region_cut: how far the learning rate is lowered: by the factor of the shortening to
        this power.
      trust_region_repay: how much of what it was lowered by each update inside the region gives
        back to the learning rate, in its logarithm; 0 for nothing.
    """

    method: Method = "bmg"
    inner_steps: int = 1
    target_steps: int = 1
    target_by: Literal["outer", "learned", "mixed"] = "outer"
    target_last: Literal["full", "policy"] = "full"
    target_state: Literal["student", "own"] = "student"
    matching: Literal["reverse_kl", "kl", "none"] = "reverse_kl"
    value_weight: float = 10.0
    parameter_weight: float = 0.0
    outer_kl: float = 0.0
    differentiation: Literal["unrolled", "implicit"] = "unrolled"
    implicit_damping: float = 1.0
    implicit_iterations: int = 5
    horizon_mixing: float = 1.0
    continue_from: Literal["latest", "student"] = "latest"
    context: Literal["none", "reward", "rich"] = "none"
    context_hidden: tuple[int, ...] = (32,)
    period: int = 1
    optimizer: MetaOptimizer = "ftrl"
    learning_rate: float | None = None
    epsilon: float = 1e-8
    trust_region: float = 0.05
    trust_region_cut: float = 0.25
    trust_region_repay: float = 0.0

    @property
    def step_size(self) -> float:
        """That of the meta-optimiser, `learning_rate` or what stands for None."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 4e-2 if self.context == "none" else 1e-3


@dataclass(frozen=True)
class EnvSettings:
    """How environments are made, in training and wherever the agent is evaluated.

    Attributes:
      env_kwargs: arguments of the environment, name=value, with values as in YAML.
      wrappers: Gymnasium wrappers around each environment, each as module:Name, the innermost
        first.
      max_episode_steps: steps after which an episode is truncated; 0 for the environment's own
        limit.
      frame_stack: the agent sees so many observations, the last ones, as one: vectors are joined,
        and images stacked along their channels.
      sticky_actions: probability that the action before this one is repeated in its place
        (Machado et al. 2018).
      clip_rewards: whether the agent learns from rewards clipped to between -1 and 1. Returns are
        reported as they are.
      step_timeout: seconds that a step or a reset of an environment of the host may take, inf for
        any number. Environments are then stepped in a process of their own (`env_workers`), which
        is ended. It changes no result.
    """

    env_kwargs: dict[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    max_episode_steps: int = 0
    frame_stack: int = 1
    sticky_actions: float = 0.0
    clip_rewards: bool = False
    step_timeout: float = math.inf


@dataclass(frozen=True)
class RunSettings:
    """One training run.

    Attributes:
      env: Gymnasium id; the version may be left out (`CartPole`). module:Name imports the module,
        which registers it. A study may have several: A,B,C.
      seed: seed of everything random in the run.
      steps: environment steps of all environments together, all of them counted.
      num_envs: B, environments stepped side by side: 8, and 16 to 64 where runs have more than two
        million steps, unless you or a preset say otherwise.
      backend: how environments are stepped: "jax" inside jit, "host" through gymnasium.vector,
        "auto" inside jit where an equal version exists.
      env_workers: processes that step the environments of the host at the same time, 0 for this
        one alone. It changes no result.
      devices: number of devices that share the environments, each with a copy of the agent. It
        changes results only by the order of sums.
      eval_episodes: episodes of the greedy evaluation at the end.
      eval_every: environment steps from one greedy evaluation during training to the next, rounded
        up to a fortieth of the run or less; the best agent is kept. 0 for none.
      on_divergence: what is done when a number is not finite (a parameter, a hyperparameter, a
        reward, an observation): "stop" keeps the last agent before, "halve" goes on from it with
        half the learning rate, up to ten times, and "ignore" goes on as if nothing were.
      extensions: modules with parts of your own: terms of the loss, a torso, an update rule, ...
    """

    env: str = "CartPole-v1"
    seed: int = 0
    steps: int = 500_000
    num_envs: int = 8
    backend: Backend = "auto"
    env_workers: int = 0
    devices: int = 1
    eval_episodes: int = 20
    eval_every: int = 0
    on_divergence: OnDivergence = "stop"
    extensions: tuple[Any, ...] = ()
    hyperparameters: dict[str, Hyperparameter] = field(default_factory=default_hyperparameters)
    environment: EnvSettings = EnvSettings()
    agent: AgentSettings = AgentSettings()
    tuning: TuningSettings = TuningSettings()

    @property
    def steps_per_cycle(self) -> int:
        """Environment steps of all environments between two updates of the hyperparameters."""
        return self.tuning.period * self.agent.rollout_length * self.num_envs

    @property
    def updates(self) -> int:
        """Updates of the parameters in the whole run."""
        rollouts = math.ceil(self.steps / (self.agent.rollout_length * self.num_envs))
        return self.updates_per_rollout * rollouts

    @property
    def updates_per_rollout(self) -> int:
        """Updates of the parameters on each rollout."""
        agent = self.agent
        return agent.epochs * agent.minibatches if agent.algorithm == "ppo" else 1

    @property
    def in_loss(self) -> tuple[str, ...]:
        """The hyperparameters that the loss or the behaviour reads, those of extensions too."""
        # What the outer objective does not read is of an update rule.
        names = self.hyperparameters.items()
        added = (name for name, one in names if name not in BUILT_IN and one.outer is not None)
        return (*self.agent.in_loss, *added)

    @property
    def settled(self) -> RunSettings:
        """The same, with numbers in place of what is left to be settled (None)."""
        tuning = replace(self.tuning, learning_rate=self.tuning.step_size)
        return replace(self, tuning=tuning)

    @property
    def in_use(self) -> dict[str, Hyperparameter]:
        """The hyperparameters that the loss, the behaviour or the inner optimiser reads."""
        added = (name for name in self.hyperparameters if name not in BUILT_IN)
        read = {*self.in_loss, *self.agent.in_optimizer, *added}
        return {name: spec for name, spec in self.hyperparameters.items() if name in read}

    @property
    def matches_values(self) -> bool:
        """Whether the values in which a student is matched are any that its target has learned.

        An outer critic takes their place in the outer loss. Then a target by this loss has them as
        the student has, but for what a rule with momentum or shared convolutions move by the way.
        """
        return not (self.agent.outer_critic and self.tuning.target_by == "outer")

    @property
    def outer(self) -> dict[str, float]:
        """Values in the outer objective, of those hyperparameters that have one."""
        names = self.hyperparameters.items()
        return {name: spec.outer for name, spec in names if spec.outer is not None}


def without_none(kind: Any) -> Any:
    """The type of what may be left out, if it is not."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    (some,) = (each for each in get_args(kind) if each is not type(None))
    return some
