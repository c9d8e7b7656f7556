"""What one would do instead of self-tuning: random search and population-based training.

Both train members of a population side by side with tuning off, as one vmapped program over
seeds and members, for hyperparameters are traced values. A *search* is one population, and is what
there is one of for each seed. Everything is chosen by returns of training that came before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from agents.self_tuning import SelfTuningAgent
from configs.errors import ConfigError
from configs.settings import RunSettings
from configs.validate import DOMAINS
from envs.task import GraphTask
from studies import population
from studies.population import BINS, Progress
from training.runner import CycleMetrics, TrainState, graph_cycle

Scale = Literal["log", "one_minus"]
Budget = Literal["member", "run"]
Fitness = Literal["return", "reward"]

# Quantities of the kind of a discount: what matters of them is how far they are from 1.
_DISCOUNT_LIKE = ("gamma", "lambda", "momentum")


class Range(NamedTuple):
    """Values that a search may give to a hyperparameter, both ends included.

    Attributes:
      low: smallest one; above 0 on a logarithmic scale.
      high: largest one; below 1 for "one_minus".
      scale: "log" draws and perturbs the value on a logarithmic scale, "one_minus" the
        distance from 1.
    """

    low: float
    high: float
    scale: Scale


Ranges = Mapping[str, Range]


@dataclass(frozen=True)
class SearchSettings:
    """How hyperparameters are searched for.

    The rules of population-based training are those of Jaderberg et al. (2017), whose truncation
    replaces 20% of the members, and who perturb by 1.2 or 0.8; a quarter of the members and
    resampling with probability 1/4 are Ray Tune's. A factor and its inverse, as here, have no
    drift.

    Attributes:
      members: P, of each search.
      budget: environment steps of a search, S being those of one run (`RunSettings.steps`).
        "member": S for each member, P S together. "run": no more than S together.
      fitness: what members are compared by: the mean "return" of the episodes that ended in an
        interval, or the mean "reward" of its steps, for tasks whose episodes never end.
      interval: environment steps of a member between two comparisons, rounded to whole cycles.
      fraction: of the members that copy others, and of those that are copied.
      factor: by which explored hyperparameters are multiplied or divided, on their scales.
      resample: probability to draw an explored hyperparameter from its range instead.
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
        _require(2 <= self.members <= 10_000, "members", self.members, "between 2 and 10000")
        _require(self.budget in get_args(Budget), "budget", self.budget, "member | run")
        _require(self.fitness in get_args(Fitness), "fitness", self.fitness, "return | reward")
        _require(self.interval >= 1, "interval", self.interval, "at least 1")
        _require(0 < self.fraction <= 0.5, "fraction", self.fraction, "above 0 and at most 0.5")
        _require(1 < self.factor < math.inf, "factor", self.factor, "a finite number above 1")
        _require(0 <= self.resample <= 1, "resample", self.resample, "between 0 and 1")


class SearchState(NamedTuple):
    """One search of P members.

    Attributes:
      members: leaves [P, ...].
      total: sum of what fitness is the mean of, in the interval that is running [P].
      weight: the number of its terms [P].
      score: fitness of the last interval that had any [P]; NaN if none had.
      best: the member of the highest score, int32 []; -1 while no score is known.
      key: of exploit and explore.
    """

    members: TrainState
    total: jax.Array
    weight: jax.Array
    score: jax.Array
    best: jax.Array
    key: jax.Array


class Row(NamedTuple):
    """One cycle of one search.

    Attributes:
      returns: mean return of the episodes that ended in it [P]; NaN where none did.
      episodes: how many did [P].
      reward: mean reward of its steps [P].
      hyperparameters: what it was made with, by name [P].
      best: the member of the highest score before this cycle [].
      source: whom each member was copied from after it [P]; itself if it was not.
    """

    returns: Any
    episodes: Any
    reward: Any
    hyperparameters: dict[str, Any]
    best: Any
    source: Any


class Result(NamedTuple):
    """R searches of P members in N cycles; members that were stopped have NaN and no episodes.

    Attributes:
      returns: mean return of the episodes that ended in each cycle [R, P, N]; NaN for none.
      episodes: how many ended [R, P, N].
      reward: mean reward of an environment step [R, P, N].
      hyperparameters: what each cycle was made with, by name [R, P, N].
      best: the best member by what came before each cycle [R, N]; -1 while nothing is known.
      source: whom each member was copied from after each cycle [R, P, N]; itself if it was not.
      steps: environment steps that a search has spent by the end of each cycle, those of all its
        members [N].
      chosen: the best member at the end [R], by its last interval; 0 if nothing is known.
      agents: states of the chosen ones, leaves [R, ...].
      fitness: by what they were chosen.
      seconds: of running, without compiling.
    """

    returns: np.ndarray
    episodes: np.ndarray
    reward: np.ndarray
    hyperparameters: dict[str, np.ndarray]
    best: np.ndarray
    source: np.ndarray
    steps: np.ndarray
    chosen: np.ndarray
    agents: Any
    fitness: Fitness
    seconds: float

    @property
    def env_steps(self) -> int:
        """Environment steps of one search, all members together."""
        return int(self.steps[-1])

    @property
    def chosen_hyperparameters(self) -> dict[str, np.ndarray]:
        """Hyperparameters of the best members at the end, by name [R]."""
        rows = np.arange(len(self.chosen))
        return {name: x[rows, self.chosen, -1] for name, x in self.hyperparameters.items()}


class Curves(NamedTuple):
    """Performance over the environment steps that a search spends, in sixtieths of them.

    Attributes:
      steps: at the end of each [60].
      mean: of the members that are running [R, 60].
      best: of the one that is best by what came before [R, 60]; the mean while none is.
    """

    steps: np.ndarray
    mean: np.ndarray
    best: np.ndarray


def random_search(
    settings: RunSettings,
    seeds: Sequence[int],
    search: SearchSettings | None = None,
    ranges: Ranges | None = None,
    starts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Members with random hyperparameters, side by side, of which the best is kept.

    With the budget "member" all run to the end. With "run" half of the steps are shared by all
    members, and the one that was best in its last interval spends the other half.

    Args:
      settings: of every member, and of one run; their tuning is turned off.
      seeds: of the searches [R].
      search: members, budget, fitness and interval; what else it says is not used.
      ranges: what is searched; `ranges_of(settings)` if None.
      starts: values by name, [P] or [R, P], to have in place of random ones; what they do not
        name starts as in the settings.
      progress: told the environment steps of a search, done and in all.

    Raises:
      ConfigError: what is asked for is not allowed, or there are too few steps for it.
    """
    search = replace(search or SearchSettings(), exploit=False)
    settings, ranges = _prepared(settings, ranges)
    cycles = population.cycles_for(settings, settings.steps)
    total = cycles * (search.members if search.budget == "member" else 1)
    first = cycles if search.budget == "member" else cycles // (2 * search.members)
    if first < 1:
        raise _too_few(settings, search, 2 * search.members)
    state = _start(settings, seeds, search, ranges, starts)
    one = _run(settings, search, ranges, state, first, 0, total, progress)
    if search.budget == "member":
        return one.result
    spent = first * search.members
    rest = total - spent
    two = _run(settings, search, ranges, keep_best(one.state), rest, spent, total, progress)
    return _continued(one.result, two.result)


def population_based_training(
    settings: RunSettings,
    seeds: Sequence[int],
    search: SearchSettings | None = None,
    ranges: Ranges | None = None,
    starts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Members of which the worst copy the best from time to time (Jaderberg et al. 2017).

    With the budget "run" each of the P members has S / P environment steps. Members whose
    first episode has not ended have no fitness: they neither copy nor are copied. An episode
    that runs while its member is replaced goes on, and counts for the one that ends it.

    Args:
      settings: of every member, and of one run; their tuning is turned off.
      seeds: of the searches [R].
      search: how.
      ranges: what is searched; `ranges_of(settings)` if None.
      starts: values by name, [P] or [R, P], to begin with in place of random ones; what they do
        not name starts as in the settings.
      progress: told the environment steps of a search, done and in all.

    Raises:
      ConfigError: what is asked for is not allowed, or there are too few steps for it.
    """
    search = search or SearchSettings()
    settings, ranges = _prepared(settings, ranges)
    cycles = population.cycles_for(settings, settings.steps)
    cycles = cycles if search.budget == "member" else cycles // search.members
    if cycles < 1:
        raise _too_few(settings, search, search.members)
    life = cycles * population.steps_per_cycle(settings)
    if cycles < 2 * interval_cycles(settings, search):
        allowed = f"at most half of the {life} steps of a member"
        _require(False, "interval", search.interval, allowed)
    state = _start(settings, seeds, search, ranges, starts)
    total = cycles * search.members
    return _run(settings, search, ranges, state, cycles, 0, total, progress).result


def ranges_of(settings: RunSettings) -> dict[str, Range]:
    """What tuning may do, as ranges: hyperparameters that are tuned, within their bounds."""
    return {
        name: Range(spec.low, spec.high, "one_minus" if name in _DISCOUNT_LIKE else "log")
        for name, spec in settings.in_use.items()
        if spec.tuned
    }


def check_ranges(settings: RunSettings, ranges: Ranges) -> None:
    """Raises ConfigError for the first range that cannot be searched."""
    for name, (low, high, scale) in ranges.items():
        _require(name in settings.in_use, "ranges", name, f"one of {', '.join(settings.in_use)}")
        least, most = DOMAINS[name]
        text = f"{low:g}:{high:g}"
        _require(scale in get_args(Scale), f"scale of {name}", scale, " | ".join(get_args(Scale)))
        _require(low < high, f"range of {name}", text, "LOW:HIGH with LOW below HIGH")
        inside = least <= low and high <= most and math.isfinite(high)
        _require(inside, f"range of {name}", text, f"finite and within {least:g}:{most:g}")
        if scale == "log":
            _require(low > 0, f"range of {name}", text, "above 0 on a logarithmic scale")
        else:
            _require(high < 1, f"range of {name}", text, "below 1 on the scale of one_minus")


def member_seeds(seeds: Sequence[int], members: int) -> list[int]:
    """Seeds of the members of searches [R * P]: a member is the run of that seed."""
    return [seed * members + member for seed in seeds for member in range(members)]


def interval_cycles(settings: RunSettings, search: SearchSettings) -> int:
    """Cycles between two comparisons of members."""
    return max(1, round(search.interval / population.steps_per_cycle(settings)))


def draw(key: jax.Array, space: Range, shape: tuple[int, ...]) -> jax.Array:
    """Values that are uniform on the scale of a range."""
    ends = jnp.log(jnp.array(_on_scale(space, jnp.array([space.low, space.high], float))))
    values = jnp.exp(jax.random.uniform(key, shape, minval=ends.min(), maxval=ends.max()))
    return jnp.clip(_on_scale(space, values), space.low, space.high)


def perturb(values: jax.Array, factor: jax.Array | float, space: Range) -> jax.Array:
    """Values multiplied by a factor on the scale of a range, and clipped to its ends."""
    return jnp.clip(_on_scale(space, _on_scale(space, values) * factor), space.low, space.high)


def _on_scale(space: Range, x: jax.Array) -> jax.Array:
    """The distance from 1, or the value as it is; its own inverse."""
    return 1.0 - x if space.scale == "one_minus" else x


def exploit(key: jax.Array, score: jax.Array, fraction: float) -> jax.Array:
    """Truncation selection: whom each member is to copy [P], itself if nobody.

    Of the members whose score [P] is not NaN, the worst part copies members of the best one,
    drawn uniformly. Both have as many members, rounded down.
    """
    order = jnp.argsort(score)  # NaN last
    rank = jnp.argsort(order)
    known = jnp.sum(~jnp.isnan(score))
    count = jnp.floor(fraction * known + 1e-4).astype(int)
    pick = known - count + jax.random.randint(key, score.shape, 0, jnp.maximum(count, 1))
    return jnp.where(rank < count, order[pick], jnp.arange(len(score)))


def copy(members: TrainState, source: jax.Array) -> TrainState:
    """Members with the agents of others: parameters, optimiser and hyperparameters.

    Each keeps its own environments and random numbers.
    """
    return members._replace(agent=jax.tree.map(lambda x: x[source], members.agent))


def explore(
    key: jax.Array,
    values: Mapping[str, jax.Array],
    where: jax.Array,
    ranges: Ranges,
    search: SearchSettings,
) -> dict[str, jax.Array]:
    """Values by name [P], changed `where` [P] is true; each is perturbed or drawn anew."""
    result = dict(values)
    for number, (name, space) in enumerate(sorted(ranges.items())):
        up, anew, drawn = jax.random.split(jax.random.fold_in(key, number), 3)
        shape = where.shape
        factor = jnp.where(jax.random.bernoulli(up, 0.5, shape), search.factor, 1 / search.factor)
        fresh = jax.random.bernoulli(anew, search.resample, shape)
        new = jnp.where(fresh, draw(drawn, space, shape), perturb(values[name], factor, space))
        result[name] = jnp.where(where, new, values[name])
    return result


def make_search(
    task: GraphTask,
    agent: SelfTuningAgent,
    settings: RunSettings,
    search: SearchSettings,
    ranges: Ranges,
):
    """Pure (init, update) of one search, to be vmapped over searches.

    `init` is (key, keys of members [P, 2], start values by name [P]) -> SearchState. `update` is
    (state, whether an interval ends with this cycle) -> (state, Row); that flag should not be
    vmapped, so that members are compared only when it is true.
    """
    begin, cycle = graph_cycle(task, agent, settings)

    def init(key, member_keys, starts):
        nothing = jnp.zeros(len(member_keys))
        unknown = jnp.full(len(member_keys), jnp.nan)
        members = jax.vmap(begin)(member_keys, starts)
        return SearchState(members, nothing, nothing, unknown, jnp.int32(-1), key)

    def update(state, due):
        members, metrics = jax.vmap(cycle, (0, None))(state.members, None)
        best, itself = state.best, jnp.arange(len(state.score))
        returns, episodes, reward = jax.vmap(_cycle_means)(metrics)
        if search.fitness == "return":
            more, terms = jnp.where(episodes > 0, returns * episodes, 0.0), episodes
        else:
            more, terms = reward, jnp.ones_like(reward)
        state = state._replace(
            members=members, total=state.total + more, weight=state.weight + terms
        )
        state, source = jax.lax.cond(
            due, lambda s: compare(s, ranges, search), lambda s: (s, itself), state
        )
        return state, Row(returns, episodes, reward, metrics.hyperparameters, best, source)

    return init, update


def compare(
    state: SearchState, ranges: Ranges, search: SearchSettings
) -> tuple[SearchState, jax.Array]:
    """The end of an interval: scores, the best member, exploit and explore.

    Returns:
      The state, and whom each member was copied from [P]. The best member is never replaced.
    """
    score = jnp.where(state.weight > 0, state.total / jnp.maximum(state.weight, 1.0), state.score)
    top = jnp.argmax(jnp.where(jnp.isnan(score), -jnp.inf, score)).astype(jnp.int32)
    best = jnp.where(jnp.isnan(score).all(), -1, top)
    nothing = jnp.zeros_like(score)
    state = state._replace(total=nothing, weight=nothing, score=score, best=best)
    itself = jnp.arange(len(score))
    if not search.exploit:
        return state, itself
    key, key_exploit, key_explore = jax.random.split(state.key, 3)
    source = exploit(key_exploit, score, search.fraction)
    members = copy(state.members, source)
    if search.explore:
        values = hyperparameters(members)
        values = explore(key_explore, values, source != itself, ranges, search)
        members = with_hyperparameters(members, values)
    return state._replace(members=members, score=score[source], key=key), source


def hyperparameters(members: TrainState) -> dict[str, jax.Array]:
    """Hyperparameters of members whose tuning is off, by name [P]."""
    return members.agent.learner.values.fixed


def with_hyperparameters(members: TrainState, values: dict[str, jax.Array]) -> TrainState:
    """Members with other hyperparameters and nothing else changed."""
    agent = members.agent
    held = agent.learner.values._replace(fixed=values)
    return members._replace(agent=agent._replace(learner=agent.learner._replace(values=held)))


def keep_best(state: SearchState) -> SearchState:
    """Searches, leaves [R, P, ...], that go on with their best member alone [R, 1, ...]."""
    rows, best = np.arange(len(state.best)), np.maximum(state.best, 0)
    members, score = jax.tree.map(lambda x: x[rows, best][:, None], (state.members, state.score))
    return state._replace(
        members=members,
        total=jnp.zeros_like(score),  # each a buffer of its own: the state is donated
        weight=jnp.zeros_like(score),
        score=score,
        best=jnp.zeros_like(state.best),
    )


def curves(result: Result) -> Curves:
    """Performance against environment steps: returns of episodes, or rewards of steps.

    Returns weigh the episodes that end in a sixtieth alike; where none ends the last value is
    repeated.
    """
    running = ~np.isnan(result.reward)
    by_return = result.fitness == "return"
    values = result.returns if by_return else result.reward
    weights = result.episodes if by_return else running.astype(float)
    members = population.binned(values, weights, result.steps)
    alive = population.binned(running.astype(float), np.ones(running.shape), result.steps) > 0
    mean = _mean(members, alive & ~np.isnan(members))
    at = np.maximum(result.best, 0)[:, None]
    value, weight = (np.take_along_axis(x, at, 1)[:, 0] for x in (values, weights))
    best = population.binned(value, np.where(result.best < 0, 0.0, weight), result.steps)
    steps = result.env_steps * np.arange(1, BINS + 1) / BINS
    return Curves(steps, mean, np.where(np.isnan(best), mean, best))


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean over members [R, 60] of values [R, P, 60]; NaN where there is none."""
    count = where.sum(1)
    total = np.where(where, values, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _cycle_means(metrics: CycleMetrics) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean return of the episodes of a cycle (NaN for none), their number, mean reward."""
    episodes = metrics.episode_end.sum().astype(float)
    total = jnp.where(metrics.episode_end, metrics.episode_return, 0.0).sum()
    returns = jnp.where(episodes > 0, total / jnp.maximum(episodes, 1.0), jnp.nan)
    return returns, episodes, metrics.reward


def _prepared(settings: RunSettings, ranges: Ranges | None) -> tuple[RunSettings, Ranges]:
    """Settings with tuning off, and ranges that were checked."""
    ranges = ranges_of(settings) if ranges is None else ranges
    check_ranges(settings, ranges)
    return replace(settings, tuning=replace(settings.tuning, method="none")), ranges


def start_members(
    settings: RunSettings,
    seeds: Sequence[int],
    members: int,
    ranges: Ranges,
    starts: Mapping[str, Any] | None = None,
) -> dict[str, jax.Array]:
    """Start values by name [R, P]: those given, or random ones, and else those of the settings.

    Raises:
      ConfigError: a name or a number of starts is not allowed.
    """
    shape = (len(seeds), members)
    if starts is None:
        keys = jnp.stack([jax.random.fold_in(jax.random.PRNGKey(seed), 3) for seed in seeds])
        drawn = {}
        for number, (name, space) in enumerate(sorted(ranges.items())):
            each = jax.vmap(lambda k, n=number: jax.random.fold_in(k, n))(keys)
            drawn[name] = jax.vmap(lambda k, s=space: draw(k, s, (members,)))(each)
    else:
        drawn = {}
        for name, values in starts.items():
            allowed = f"one of {', '.join(settings.in_use)}"
            _require(name in settings.in_use, "starts", name, allowed)
            array = jnp.asarray(values, float)
            fits = array.shape in (shape, shape[1:])
            _require(fits, f"starts of {name}", array.shape, f"an array {shape[1:]} or {shape}")
            drawn[name] = jnp.broadcast_to(array, shape)
    values = population.start_values(settings, len(seeds) * members)
    return {name: x.reshape(shape) for name, x in values.items()} | drawn


class _Stage(NamedTuple):
    """Searches after some cycles, leaves [R, P, ...]."""

    state: SearchState
    result: Result


def _start(
    settings: RunSettings,
    seeds: Sequence[int],
    search: SearchSettings,
    ranges: Ranges,
    starts: Mapping[str, Any] | None,
) -> SearchState:
    """Searches before their first cycle, leaves [R, P, ...]."""
    values = start_members(settings, seeds, search.members, ranges, starts)
    keys = jnp.stack([jax.random.fold_in(jax.random.PRNGKey(seed), 2) for seed in seeds])
    member_keys = [jax.random.PRNGKey(seed) for seed in member_seeds(seeds, search.members)]
    init, _ = make_search(*population.task_and_agent(settings), settings, search, ranges)
    shape = (len(seeds), search.members, -1)
    return jax.jit(jax.vmap(init))(keys, jnp.stack(member_keys).reshape(shape), values)


def _run(
    settings: RunSettings,
    search: SearchSettings,
    ranges: Ranges,
    state: SearchState,
    cycles: int,
    spent: int,
    total: int,
    progress: Progress | None,
) -> _Stage:
    """Runs searches for some cycles; `spent` and `total` count cycles of all members of one."""
    _, update = make_search(*population.task_and_agent(settings), settings, search, ranges)
    interval = min(interval_cycles(settings, search), cycles)
    size, (searches, members) = population.steps_per_cycle(settings), state.score.shape

    def step(state, number):
        # The first interval is the longer one, so that the last one ends with the last cycle.
        due = (cycles - 1 - number) % interval == 0
        due &= number + 1 >= interval
        return jax.vmap(update, (0, None))(state, due)

    def tell(done):
        if progress is not None:
            progress((spent + done * members) * size, total * size)

    state = population.sharded(state)
    chunk = population.chunk_size(cycles, size * searches * members, progress)
    advance = population.compile_steps(step, state, chunk)
    begun = time.perf_counter()
    state, rows = advance(state, 0, cycles, tell)
    row: Row = population.in_time_order(rows)  # [R, cycles, P]
    seconds = time.perf_counter() - begun
    steps = (spent + members * np.arange(1, cycles + 1)) * size
    return _Stage(state, _result(row, steps, state, search.fitness, seconds))


def _result(
    row: Row, steps: np.ndarray, state: SearchState, fitness: Fitness, seconds: float
) -> Result:
    by_member = jax.tree.map(lambda x: np.moveaxis(x, 1, 2), row._replace(best=None))
    chosen = np.maximum(np.asarray(state.best), 0)
    rows = np.arange(len(chosen))
    return Result(
        by_member.returns,
        by_member.episodes,
        by_member.reward,
        by_member.hyperparameters,
        row.best,
        by_member.source,
        steps,
        chosen,
        jax.tree.map(lambda x: np.asarray(x)[rows, chosen], state.members.agent),
        fitness,
        seconds,
    )


def _continued(all_members: Result, best: Result) -> Result:
    """Searches of P members, and then of the chosen ones alone, as searches of P members."""
    chosen, members = all_members.chosen, all_members.reward.shape[1]
    rows, later = np.arange(len(chosen)), best.reward.shape[2]

    def joined(first, then, stopped):
        rest = np.broadcast_to(stopped, (*first.shape[:2], later)).astype(first.dtype)
        rest[rows, chosen] = then[:, 0]
        return np.concatenate([first, rest], 2)

    itself = np.arange(members)[:, None]
    kept = np.broadcast_to(chosen[:, None], (len(chosen), later))
    return Result(
        joined(all_members.returns, best.returns, np.nan),
        joined(all_members.episodes, best.episodes, 0),
        joined(all_members.reward, best.reward, np.nan),
        {
            name: joined(x, best.hyperparameters[name], x[:, :, -1:])
            for name, x in all_members.hyperparameters.items()
        },
        np.concatenate([all_members.best, kept], 1),
        np.concatenate(
            [all_members.source, np.broadcast_to(itself, (len(chosen), members, later))], 2
        ),
        np.concatenate([all_members.steps, best.steps]),
        chosen,
        best.agents,
        best.fitness,
        all_members.seconds + best.seconds,
    )


def _too_few(settings: RunSettings, search: SearchSettings, cycles: int) -> ConfigError:
    least = cycles * population.steps_per_cycle(settings)
    return ConfigError(
        f"steps: {settings.steps} is not allowed; it must be at least {least} for "
        f"{search.members} members within the steps of one run"
    )


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{name}: {value} is not allowed; it must be {allowed}")
