"""Random search and population-based training: each part by itself, then whole searches."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.configs import presets
from selftuning.configs.errors import ConfigError
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.envs.task import GraphTask
from selftuning.studies import measures, programs, vmapped
from selftuning.studies.searches import search, search_plan, stages
from selftuning.studies.searches.ranges import Range, ranges_of
from selftuning.training.runner import graph_cycle
from tests import probes

pytestmark = pytest.mark.slow

NEAR_ONE = Range(0.5, 0.999, "unit")
CARTPOLE = replace(
    presets.with_method(presets.for_env("CartPole-v1"), "actor_critic"), steps=12_000
)
SIZE = CARTPOLE.steps_per_cycle
GOOD, BAD = 3e-2, 1e-6


@pytest.fixture
def bandit(monkeypatch):
    """ACTION_REWARD: return 1 or -1 after a step, and a learning rate decides which."""

    def make(env, num_envs, backend, _environment):
        return probes.probe_task(probes.ACTION_REWARD, num_envs)

    monkeypatch.setattr(vmapped.registry, "make", make)
    return RunSettings(
        steps=1200 * 4,
        num_envs=4,
        agent=AgentSettings(algorithm="actor_critic", hidden=(4,), rollout_length=2),
        tuning=TuningSettings(period=2),
    )


def one_search(settings, config, ranges, starts):
    """One search of P members before its first cycle."""
    settings, ranges = stages.prepared(settings, ranges)
    values = stages.start_members(settings, [0], config.members, ranges, starts)
    init, _ = search.make_search(*vmapped.task_and_agent(settings), settings, config, ranges)
    keys = [jax.random.PRNGKey(seed) for seed in stages.member_seeds([0], config.members)]
    one = {name: x[0] for name, x in values.items()}
    return jax.jit(init)(jax.random.PRNGKey(0), jnp.stack(keys), one)


def same(a, b):
    return all(
        np.array_equal(x, y, equal_nan=True)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_the_worst_copy_the_best_and_nobody_else_does():
    score = jnp.array([5.0, 1.0, 7.0, 3.0, 2.0, 8.0, 4.0, 6.0])
    sources = jax.vmap(lambda key: search.exploit(key, score, 0.25))(
        jax.random.split(jax.random.PRNGKey(0), 200)
    )
    others = [0, 2, 3, 5, 6, 7]
    np.testing.assert_array_equal(sources[:, others], np.tile(others, (200, 1)))
    for worst in (1, 4):
        picked, counts = np.unique(sources[:, worst], return_counts=True)
        np.testing.assert_array_equal(picked, [2, 5])
        assert counts.min() > 70
    # 20% of 8 members are one.
    np.testing.assert_array_equal(search.exploit(jax.random.PRNGKey(0), score, 0.2)[1], 5)
    np.testing.assert_array_equal(search.exploit(jax.random.PRNGKey(0), score, 0.2)[4], 4)


def test_members_of_whom_nothing_is_known_neither_copy_nor_are_copied():
    nan = jnp.nan
    score = jnp.array([nan, 1.0, 2.0, nan, 3.0, 4.0])  # a quarter of the four known is one
    source = search.exploit(jax.random.PRNGKey(0), score, 0.25)
    np.testing.assert_array_equal(source, [0, 5, 2, 3, 4, 5])
    nobody = search.exploit(jax.random.PRNGKey(0), jnp.full(6, nan), 0.25)
    np.testing.assert_array_equal(nobody, np.arange(6))


def test_an_interval_ends_with_exact_copies_and_their_own_environments(bandit):
    ranges = {"learning_rate": Range(BAD, 0.1, "log")}
    config = SearchSettings(members=4, explore=False)
    state = one_search(bandit, config, ranges, [{"learning_rate": n * 1e-3} for n in (1, 2, 3, 4)])
    state = state._replace(total=jnp.array([8.0, 1.0, 3.0, 0.0]), weight=jnp.array([2.0, 1, 1, 0]))
    after, source = search.compare(state, ranges, config)
    np.testing.assert_array_equal(after.best, 0)
    assert source.tolist() == [0, 1, 2, 3]  # three members are known: a quarter of them is nobody
    state = state._replace(weight=jnp.ones(4))
    after, source = search.compare(state, ranges, config)
    assert source.tolist() == [0, 1, 2, 0]
    member = [jax.tree.map(lambda x, m=m: x[m], after.members) for m in range(4)]
    assert same(member[3].agent, member[0].agent)
    assert not same(member[1].agent.learner.inner, member[0].agent.learner.inner)
    np.testing.assert_allclose(search.hyperparameters(after.members)["learning_rate"][3], 1e-3)
    for untouched in ("env", "observation", "key"):
        assert same(getattr(after.members, untouched), getattr(state.members, untouched))
    assert same(after.score, jnp.array([8.0, 1.0, 3.0, 8.0]))
    assert same(after.weight, jnp.zeros(4))
    explored, _ = search.compare(state, ranges, replace(config, explore=True))
    moved = search.hyperparameters(explored.members)
    assert same(moved["learning_rate"][:3], jnp.array([1e-3, 2e-3, 3e-3]))
    assert moved["learning_rate"][3] != np.float32(1e-3)
    assert same(moved["gamma"], search.hyperparameters(state.members)["gamma"])
    assert same(explored.members.agent.learner.inner, after.members.agent.learner.inner)


def test_a_score_lasts_until_there_is_another_one(bandit):
    config = SearchSettings(members=2, exploit=False)
    state = one_search(bandit, config, {}, [{}, {}])
    state = state._replace(score=jnp.array([4.0, jnp.nan]), weight=jnp.zeros(2))
    after, _ = search.compare(state, {}, config)
    assert same(after.score, state.score)
    assert after.best == 0
    unknown, _ = search.compare(state._replace(score=jnp.full(2, jnp.nan)), {}, config)
    assert unknown.best == -1


# Whole searches


class Found(NamedTuple):
    """Searches of P members in N cycles; leaves of rows are [R, P, N] or [R, N]."""

    cycles: measures.Cycles
    best: np.ndarray
    source: np.ndarray
    state: search.SearchState


def whole(settings, seeds, config, ranges, starts, kind="pbt"):
    """Searches as a study makes them, each stage in one go; the rows of the first one."""
    settings, ranges = stages.prepared(settings, ranges)
    makers = {"pbt": search_plan.of_population, "random_search": search_plan.of_random_search}
    parts = makers[kind](settings, config, vmapped.cycles_for(settings))
    engine = stages.make(
        settings, config, ranges, len(seeds), parts, [part.cycles for part in parts]
    )
    values = stages.start_members(settings, seeds, config.members, ranges, starts)
    state, row = engine.advance(engine.begin(seeds, values), 0, 0, parts[0].cycles)
    cycles, source = jax.tree.map(lambda x: np.moveaxis(x, 0, 2), (row.cycles, row.source))
    for number in range(1, len(parts)):
        state, _ = engine.advance(engine.keep(state), number, 0, parts[number].cycles)
    return Found(cycles, row.best.T, source, state)


@pytest.fixture(scope="module")
def trained():
    """A search with everything on, and one that copies nothing, of the same members."""
    pairs = zip([0.5, 0.9, 0.97, 0.99], [1e-5, 3e-4, 3e-3, 1e-2], strict=True)
    starts = [{"gamma": gamma, "learning_rate": rate} for gamma, rate in pairs]
    ranges = {"gamma": NEAR_ONE, "learning_rate": Range(1e-5, 1e-1, "log")}
    config = SearchSettings(members=4, interval=2000)
    on = whole(CARTPOLE, [3, 5], config, ranges, starts)
    off = whole(CARTPOLE, [3, 5], replace(config, exploit=False), ranges, starts)
    return starts, on, off


def test_without_exploit_members_are_fixed_runs(trained):
    starts, _, off = trained
    settings = replace(CARTPOLE, tuning=replace(CARTPOLE.tuning, method="none"))
    init, cycle = graph_cycle(*vmapped.task_and_agent(settings), settings)
    keys = jnp.stack([jax.random.PRNGKey(n) for n in stages.member_seeds([3, 5], 4)])
    state = vmapped.sharded(
        jax.jit(jax.vmap(init))(keys, vmapped.start_values(settings, starts * 2))
    )
    number = vmapped.cycles_for(settings)
    step = programs.step_of(cycle, 475.0)
    _, runs = vmapped.compile_steps(step, state, number)(state, 0, number)

    def side_by_side(x):
        return np.moveaxis(x.reshape(8, *x.shape[2:]), 1, 0)

    jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(side_by_side(x), y),
        off.cycles._replace(diagnostics={}, hyperparameters={}),
        runs._replace(diagnostics={}, hyperparameters={}),
    )
    for name, x in off.cycles.hyperparameters.items():
        np.testing.assert_array_equal(side_by_side(x), runs.hyperparameters[name])
    assert np.all(off.source == np.arange(4)[:, None])


def scores_before(found, interval):
    """The best by the last interval of at most N cycles that ended before each cycle [R, N]."""
    searches, members, cycles = found.source.shape
    ends = [n for n in range(cycles, 0, -interval) if n >= interval][::-1]
    score, best, begin = np.full((searches, members), np.nan), [], 0
    for n in range(cycles):
        if n in ends:
            count = found.cycles.episodes[:, :, begin:n].sum(2)
            total = found.cycles.total[:, :, begin:n].sum(2)
            score = np.where(count > 0, total / np.maximum(count, 1), score)
            # What was copied brings the score along, but comes after the member it is a copy of.
            begin = n
        best.append(np.where(np.isnan(score).all(1), -1, np.nan_to_num(score, nan=-1).argmax(1)))
    return np.stack(best, 1), ends


def test_the_best_is_chosen_by_the_past_alone(trained):
    _, on, off = trained
    for found in (on, off):
        best, ends = scores_before(found, round(2000 / SIZE))
        np.testing.assert_array_equal(found.best, best)
        assert np.all(found.best[:, : ends[0]] == -1)
        assert np.all(found.best[:, ends[0] :] >= 0)
        changed = np.flatnonzero(np.any(found.source != np.arange(4)[:, None], (0, 1)))
        assert set(changed + 1) <= set(ends)
        # The one that is best now was not replaced at this moment.
        rows = np.arange(2)
        for n in ends[:-1]:
            assert np.all(found.source[rows, found.best[:, n], n - 1] == found.best[:, n])


def test_copies_take_over_the_hyperparameters_of_their_source(trained):
    _, on, off = trained
    copied = np.argwhere(on.source[:, :, :-1] != np.arange(4)[:, None])
    assert len(copied) >= 6  # one member at five ends of two searches, but the last
    values = on.cycles.hyperparameters
    for r, p, n in copied:
        source = on.source[r, p, n]
        for name in ("entropy", "critic", "lambda"):  # in no range: copied as they are
            assert values[name][r, p, n + 1] == values[name][r, source, n]
    stays = on.source == np.arange(4)[:, None]
    gamma = values["gamma"]
    assert np.all((gamma[:, :, 1:] == gamma[:, :, :-1]) | ~stays[:, :, :-1])
    first = np.flatnonzero(~stays.all((0, 1)))[0] + 1
    assert same(on.cycles.total[:, :, :first], off.cycles.total[:, :, :first])
    assert not same(on.cycles.total[:, :, first:], off.cycles.total[:, :, first:])


def test_the_best_goes_on_with_what_is_left_of_the_steps_of_one_run(bandit):
    cycles = vmapped.cycles_for(bandit)
    ranges = {"learning_rate": Range(BAD, 0.1, "log")}
    interval = 10 * bandit.steps_per_cycle
    config = SearchSettings(members=4, budget="run", interval=interval, exploit=False)
    found = whole(bandit, [0, 1], config, ranges, (), "random_search")
    first = cycles // 8
    assert found.source.shape == (2, 4, first)
    updates = bandit.tuning.period * (first + cycles - 4 * first)
    assert found.state.members.agent.updates.tolist() == [[updates]] * 2
    rate = found.cycles.hyperparameters["learning_rate"]
    assert np.all((rate >= np.float32(BAD)) & (rate <= np.float32(0.1)))
    assert len(np.unique(rate)) == 8


def test_training_a_population_moves_it_to_the_value_that_learns(bandit):
    """Within the steps of one run, which is as long as all members of the other search."""
    ranges = {"learning_rate": Range(BAD, 0.1, "log")}
    starts = [{"learning_rate": rate} for rate in [BAD] * 6 + [GOOD, GOOD]]
    config = SearchSettings(members=8, interval=400, budget="run", resample=0.0)
    long = replace(bandit, steps=8 * bandit.steps)
    moved = whole(long, [0, 1, 2], config, ranges, starts)
    assert np.all(moved.cycles.hyperparameters["learning_rate"][:, :, -1] > 1e-3)
    alone = replace(config, budget="member", exploit=False)
    fixed = whole(bandit, [0, 1, 2], alone, ranges, starts, "random_search")
    last = slice(-len(fixed.best[0]) // 60, None)
    assert np.all(moved.cycles.reward[:, :, last].mean((1, 2)) > 0.8)
    assert np.all(fixed.cycles.reward[:, :, last].mean((1, 2)) < 0.7)
    assert np.all(fixed.state.best >= 6)
    for search_, best in enumerate(fixed.state.best):
        assert fixed.cycles.reward[search_, best, last].mean() > 0.8


def test_continuing_tasks_are_compared_by_reward(bandit, monkeypatch):
    def never_ending(env, num_envs, backend, _environment):
        task = probes.probe_task(probes.ACTION_REWARD, num_envs)

        def step(state, action):
            state, timestep = task.step(state, action)
            never, always = (jnp.full(num_envs, x) for x in (False, 1.0))
            return state, timestep._replace(episode_end=never, discount=always)

        return GraphTask(task.spec, num_envs, task.init, step)

    monkeypatch.setattr(vmapped.registry, "make", never_ending)
    ranges = {"learning_rate": Range(BAD, 0.1, "log")}
    starts = [{"learning_rate": rate, "gamma": 0.1} for rate in (BAD, BAD, BAD, GOOD)]
    config = SearchSettings(members=4, interval=400, fitness="reward")
    found = whole(bandit, [0], config, ranges, starts)
    assert np.all(found.cycles.episodes == 0)
    assert found.cycles.reward[0, found.state.best[0], -20:].mean() > 0.8


# Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("members", 1),
        ("budget", "all"),
        ("fitness", "length"),
        ("interval", 0),
        ("fraction", 0.6),
        ("factor", 1.0),
        ("resample", 1.5),
    ],
)
def test_settings_that_are_not_allowed_say_so(field, value):
    with pytest.raises(ConfigError, match=f"^{field}: {value} is not allowed; it must be "):
        SearchSettings(**{field: value})


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"momentum": NEAR_ONE}, "ranges: momentum"),
        ({"entropy": Range(0.0, 1.0, "log")}, "range of entropy: 0:1 .*above 0"),
        ({"gamma": Range(0.5, 1.0, "unit")}, "range of gamma: 0.5:1 .*below 1"),
        ({"gamma": Range(0.5, 2.0, "log")}, "range of gamma: 0.5:2 .*within 0:1"),
        ({"critic": Range(2.0, 1.0, "log")}, "range of critic: 2:1 .*LOW:HIGH"),
        ({"critic": Range(1.0, 2.0, "square")}, "scale of critic: square .*log | unit"),
        ({"gamma": Range(0.0, 0.9, "unit")}, "range of gamma: 0:0.9 .*above 0"),
        ({"lambda": Range(0.5, 1.0, "unit")}, "range of lambda: 0.5:1 .*below 1"),
        ({"critic": Range(0.0, np.inf, "linear")}, "range of critic: 0:inf .*finite"),
    ],
)
def test_ranges_that_cannot_be_searched_say_so(ranges, message):
    with pytest.raises(ConfigError, match=message):
        stages.prepared(CARTPOLE, ranges)


def test_too_few_steps_say_so():
    few = replace(CARTPOLE, steps=500)
    with pytest.raises(ConfigError, match=r"^steps: 500 .*at least 4096 "):
        search_plan.of_random_search(few, SearchSettings(budget="run"), vmapped.cycles_for(few))


def test_ranges_are_the_bounds_of_what_is_tuned():
    ranges = ranges_of(CARTPOLE)
    assert set(ranges) == {"gamma", "lambda", "entropy", "critic"}
    assert ranges["gamma"] == Range(0.1, 0.9999, "unit")
    assert ranges["entropy"] == Range(1e-5, 1.0, "log")
