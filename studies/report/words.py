"""Settings in words: the task, the agent, and how each method chooses its hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from selftuning.configs import extensions, studies
from selftuning.configs.settings import AgentSettings, RunSettings
from selftuning.configs.studies import Start, StudySettings
from selftuning.studies.intervals import listed

_LEARNS = {
    "ppo": "PPO (Schulman et al. 2017)",
    "actor_critic": "An advantage actor-critic (Mnih et al. 2016)",
    "q_lambda": "Q(lambda) with epsilon-greedy exploration (Watkins 1989)",
}
_RULES = {
    "sgd": "gradient descent",
    "momentum": "gradient descent with momentum",
    "adagrad": "AdaGrad",
    "rms": "RMSProp",
    "adam": "Adam",
    "accelerated": "an accelerated rule on RMS-scaled gradients",
    "trac": "TRAC on Adam (Muppidi et al. 2024)",
}
_META = {
    "ftrl": "follow-the-regularised-leader, which has no step size",
    "adam": "Adam",
    "ogd": "online gradient descent on scaled gradients",
    "ao_ftrl": "adaptive optimistic follow-the-regularised-leader on scaled gradients",
    "omega": "optimistic gradients with a running mean as their hint, scaled",
}
_MATCHED = {
    "reverse_kl": "KL(student || target) of their policies",
    "kl": "KL(target || student) of their policies",
    "none": "",
}
_SEES = {
    "reward": "the mean rewards of the last ten rollouts",
    "rich": "the mean and deviation of reward, value and TD error of the last rollout",
}
_SEARCHES = {
    "random_search": "Random search: {members} members begin {begin}, and the best of them goes "
    "on.",
    "pbt": "Population-based training (Jaderberg et al. 2017) of {members} members, which begin "
    "{begin}: every {interval:,} steps of a member, or ten times in its life if that is more "
    "often, the worst {fraction:.0%} copy one of the best and change what they copied, by a factor "
    "of {factor:g} or by drawing it anew with probability {resample:g}.",
    "pb2": "Population-based bandits (Parker-Holder et al. 2020) of {members} members, which begin "
    "{begin}: every {interval:,} steps of a member, or ten times in its life if that is more "
    "often, the worst {fraction:.0%} copy one of the best and go on with what a Gaussian process "
    "of Ray Tune expects to improve it most.",
    "optuna": "Optuna (Akiba et al. 2019): trials of its tree-structured Parzen estimator, pruned "
    "at the median, as many as the steps of {members} members allow.",
}
_BUDGETS = {
    "run": "All members together have the environment steps of one run.",
    "member": "Each member has the environment steps of a whole run.",
}
_SCALES = {"log": "in its logarithm", "unit": "in log-odds", "linear": "as it is"}


def of_agent(settings: RunSettings, starts: Sequence[Start] = ({},)) -> str:
    """The agent of runs, its networks, rollouts and optimiser.

    Args:
      settings: of the runs.
      starts: where they start, by the values that the settings do not have.
    """
    agent = settings.agent

    def start(name: str) -> str:
        spec = settings.hyperparameters[name]
        return " or ".join(dict.fromkeys(f"{one.get(name, spec.start):g}" for one in starts))

    parts = [
        _LEARNS[agent.algorithm],
        _networks(settings),
        f"{settings.num_envs} environments side by side, rollouts of {agent.rollout_length} steps "
        f"in each, and {_updates(agent)}",
        _optimiser(settings, start),
    ]
    own = [f"{kind} {part.name}" for kind, part in extensions.parts(settings.extensions).items()]
    named = [str(x) for x in settings.extensions]
    if named:
        made = f" (in place of the project's: {listed(own)})" if own else ""
        parts.append(f"extended by {listed(named)}{made}")
    return f"{'; '.join(parts)}. {' '.join(_scaled(agent, start))}".strip()


def _networks(settings: RunSettings) -> str:
    agent = settings.agent
    what = "one network" if agent.algorithm == "q_lambda" else "a policy and a value network"
    widths = " and ".join(str(width) for width in agent.hidden)
    layers = f"hidden layers of {widths} {agent.activation} units" if widths else "no hidden layer"
    shared = ", which share their convolutions" if agent.share_convolutions else ""
    core = ", then a gated recurrent unit" if agent.core == "gru" else ""
    torso = "" if agent.torso == "auto" else f" behind the torso {agent.torso}"
    heads = f", {agent.heads} heads" if agent.heads > 1 else ""
    return f"{what} with {layers}{torso}{core}{heads}{shared}"


def _updates(agent: AgentSettings) -> str:
    if agent.algorithm != "ppo":
        return "one update on each rollout"
    return f"{agent.epochs} epochs of {agent.minibatches} minibatches on each rollout"


def _optimiser(settings: RunSettings, start: Callable[[str], str]) -> str:
    agent = settings.agent
    said = f"{_RULES.get(agent.inner_optimizer, agent.inner_optimizer)}"
    if "learning_rate" in settings.in_use:
        falls = ", falling linearly to 0" if agent.anneal_learning_rate else ""
        said += f" with learning rate {start('learning_rate')}{falls}"
    if math.isfinite(agent.max_grad_norm):
        said += f", gradients clipped to a norm of {agent.max_grad_norm:g}"
    return said


def _scaled(agent: AgentSettings, start: Callable[[str], str]) -> Iterator[str]:
    scaled = {
        "observations": agent.normalize_observations,
        "rewards": agent.normalize_rewards,
        "advantages": agent.normalize_advantage and agent.algorithm != "q_lambda",
    }
    if names := [name for name, is_scaled in scaled.items() if is_scaled]:
        yield f"{listed(names)} are scaled.".capitalize()
    running = agent.normalize_observations or agent.normalize_rewards
    if running and math.isfinite(agent.normalization_memory):
        yield f"Scales reach back over {agent.normalization_memory:,.0f} environment steps."
    if agent.anneal_entropy:
        yield "The entropy weight falls linearly to 0."
    if agent.overlap:
        yield "It acts while it learns, with the parameters of one rollout earlier."
    if agent.off_policy:
        yield "Experience is weighted by V-trace."
    if agent.outer_critic:
        yield "A second value network learns at the outer values."
    if agent.regularize == "l2_init":
        yield (
            "The distance from the initial parameters is regularised with a weight of "
            f"{start('l2_init')} (Kumar et al. 2023)."
        )
    if agent.barrier:
        yield (
            f"A barrier, {start('barrier')} KL(uniform || policy), keeps every action possible "
            "(Agarwal et al. 2021)."
        )


def of_method(study: StudySettings, name: str) -> str:
    """How a method chooses the hyperparameters of its runs."""
    method, settings = study.methods[name], studies.run_settings(study, name)
    if method.kind != "runs":
        return " ".join(_search(study, name))
    if settings.tuning.method == "none":
        stay = "what they are at each start"
        if method.at_outer:
            stay = f"at the outer values, {_said(studies.at_outer(study, name))}"
        return f"No tuning: hyperparameters stay {stay}{_falling(settings.agent)}."
    return " ".join(_tuning(settings))


def _falling(agent: AgentSettings) -> str:
    falls = {"the learning rate": agent.anneal_learning_rate}
    falls |= {"the entropy weight": agent.anneal_entropy}
    names = [name for name, does in falls.items() if does]
    verb = "falls" if len(names) == 1 else "fall"
    return f", but for {listed(names)}, which {verb} linearly to 0" if names else ""


def _search(study: StudySettings, name: str) -> Iterator[str]:
    search, kind = studies.search_settings(study, name), study.methods[name].kind
    begin = "with random hyperparameters within the bounds"
    if given := studies.member_starts(study, name):
        begin = f"with all combinations of {listed(list(given[0]))} that the method names"
    said = _SEARCHES.get(kind, "A search ({kind}) with {members} members.")
    yield said.format(kind=kind, begin=begin, **vars(search))
    yield _BUDGETS[search.budget]
    yield f"It searches {_tuned(studies.run_settings(study, name), how=False)}."


def _tuning(settings: RunSettings) -> Iterator[str]:
    tuning = settings.tuning
    yield _derivative(settings)
    yield _objective(settings)
    yield f"The outer objective has {_outer(settings)}."
    yield f"It moves {_tuned(settings, how=True)}."
    yield _meta_optimiser(settings)
    if tuning.context != "none":
        widths = " and ".join(str(width) for width in tuning.context_hidden)
        yield (
            f"A network with hidden layers of {widths} units, which sees {_SEES[tuning.context]}, "
            "puts the hyperparameters out."
        )
    if settings.hyperparameters["learning_rate"].tuned:
        yield (
            f"No update moves the policy by more than a KL divergence of {tuning.trust_region:g}. "
            "One that would lowers the learning rate by what it is shortened by, to the power "
            f"{tuning.trust_region_cut:g}; each of the others gives {tuning.trust_region_repay:g} "
            "of that back."
        )
    if tuning.continue_from == "student":
        yield "Training goes on from the student."


def _derivative(settings: RunSettings) -> str:
    tuning, unrolled = settings.tuning, settings.tuning.differentiation == "unrolled"
    name = {
        "mg": "Meta-gradients (Xu et al. 2018)",
        "bmg": "Bootstrapped meta-gradients (Flennerhag et al. 2022)",
    }[tuning.method]
    when = "every rollout" if tuning.period == 1 else f"every {tuning.period} rollouts"
    if tuning.inner_steps == 0:
        return f"{name} after {when}, of the outer objective itself (K = 0)."
    implicit = (
        f"implicitly (damping {tuning.implicit_damping:g}, at most {tuning.implicit_iterations} "
        "iterations of conjugate gradients) at the end of"
    )
    how = "back through" if unrolled else implicit
    where = " on a rollout" if settings.agent.algorithm == "ppo" else ""
    mixed = tuning.inner_steps > 1 and tuning.horizon_mixing != 1 and unrolled
    each = f", each earlier one counting {tuning.horizon_mixing:g} of the next" if mixed else ""
    return f"{name} after {when}, taken {how} {_last(tuning.inner_steps)}{where}{each}."


def _last(count: int) -> str:
    return "the last update (K = 1)" if count == 1 else f"the last K = {count} updates"


def _objective(settings: RunSettings) -> str:
    tuning = settings.tuning
    weight = f"weight {tuning.value_weight:g}, in units of the critic's"
    values = f", with values ({weight})" if tuning.value_weight else ""
    if tuning.method == "mg":
        kl = f", plus {tuning.outer_kl:g} KL(new || old)" if tuning.outer_kl else ""
        return (
            "The objective is the outer loss of the updated agent on the rollout that follows"
            f"{values}{kl}."
        )
    by = {
        "outer": "on the outer loss",
        "learned": "on the inner loss with today's hyperparameters",
        "mixed": "on the inner loss, the last one on the outer loss",
    }
    matched = [_MATCHED[tuning.matching]]
    if tuning.value_weight and settings.matches_values:
        matched.append(f"the squared distance of their values ({weight})")
    if tuning.parameter_weight:
        half = "half the squared distance of their parameters"
        matched.append(f"{half} (weight {tuning.parameter_weight:g})")
    last = "" if tuning.target_last == "full" else ", the last one on its policy gradient alone"
    own = ", with an optimiser state of its own" if tuning.target_state == "own" else ""
    one = tuning.target_steps == 1
    further = "one update (L = 1)" if one else f"L = {tuning.target_steps} updates"
    return (
        f"The objective is the distance to a target, which is {further} further "
        f"{by[tuning.target_by]}{last}{own}: {' plus '.join(filter(None, matched))}."
    )


def _outer(settings: RunSettings) -> str:
    return _said({k: x for k, x in settings.outer.items() if k in settings.in_use})


def _said(values: Mapping[str, float]) -> str:
    return listed([f"{name} {x:g}" for name, x in values.items()])


def _tuned(settings: RunSettings, how: bool) -> str:
    """What moves, within which bounds, and on which scale."""
    known = extensions.definitions(settings.extensions)
    names = [name for name, spec in settings.in_use.items() if spec.tuned]
    moved = []
    for name in names:
        spec = settings.in_use[name]
        scale = f", {_SCALES[known[name].scale]}" if how else ""
        moved.append(f"{name} ({spec.low:g} to {spec.high:g}{scale})")
    return listed(moved) if moved else "nothing"


def _meta_optimiser(settings: RunSettings) -> str:
    tuning = settings.tuning
    takes_steps = tuning.optimizer != "ftrl"
    said = f"The meta-optimiser is {_META.get(tuning.optimizer, tuning.optimizer)}"
    steps = f"step size {tuning.step_size:g} and epsilon {tuning.epsilon:g}"
    if takes_steps:
        return f"{said}, with {steps}."
    rest = ["a network"] if tuning.context != "none" else []
    rest += ["the learning rate"] if settings.hyperparameters["learning_rate"].tuned else []
    if rest:
        return f"{said}; Adam with {steps} moves {listed(rest)}."
    return f"{said}."


def of_task(settings: RunSettings) -> str:
    """What an environment is changed by, as far as settings change any; "" if nothing."""
    given = settings.environment
    said = [f"{name} {value}" for name, value in given.env_kwargs.items()]
    said += [f"wrapped by {name}" for name in given.wrappers]
    if given.max_episode_steps:
        said.append(f"episodes of at most {given.max_episode_steps:,} steps")
    if given.frame_stack > 1:
        said.append(f"{given.frame_stack} observations stacked")
    if given.sticky_actions:
        said.append(f"actions repeated with probability {given.sticky_actions:g}")
    if given.clip_rewards:
        said.append("learning from rewards clipped to between -1 and 1")
    return listed(said) if said else ""
