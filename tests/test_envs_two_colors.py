"""Two Colors: the rules, what is drawn, and what can be earned."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from selftuning.configs.errors import ConfigError
from selftuning.envs import two_colors
from selftuning.envs.functional import graph_task
from selftuning.envs.two_colors import TwoColors, TwoColorsState, optimal_reward, random_reward
from tests.random_walks import random_walk

UP, DOWN, LEFT, RIGHT = range(4)


def state_of(agent: int, first: int, second: int, clock: int = 0) -> TwoColorsState:
    return TwoColorsState(*(jnp.int32(value) for value in (agent, first, second, clock)))


def steps_of(env: TwoColors, states: list[TwoColorsState], actions: list[int]) -> tuple[Any, Any]:
    """Successors and rewards, each leaf [N], of states and actions."""

    def step(state: TwoColorsState, action: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
        successor = env.transition(state, action, key)
        return successor, env.reward(state, action, successor, key)

    keys = jax.random.split(jax.random.key(0), len(actions))
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(step))(batch, jnp.asarray(actions), keys))


def many_steps(env: TwoColors, state: TwoColorsState, action: int, num: int) -> TwoColorsState:
    """Successors, each leaf [num], of one state and action under different keys."""
    keys = jax.random.split(jax.random.key(1), num)
    successors = jax.jit(jax.vmap(env.transition, (None, None, 0)))(state, action, keys)
    return jax.tree.map(np.asarray, successors)


@functools.cache
def long_walk(respawn: str) -> Any:
    """States before the steps, actions and timesteps, each [1000, 64], of random actions."""
    return random_walk(TwoColors(switch_every=50, respawn=respawn), 64, 1000)


def test_moves_and_walls():
    moves = [(12, UP, 7), (12, DOWN, 17), (12, LEFT, 11), (12, RIGHT, 13)]
    moves += [(cell, UP, cell) for cell in range(5)]
    moves += [(cell, DOWN, cell) for cell in range(20, 25)]
    moves += [(cell, LEFT, cell) for cell in range(0, 25, 5)]
    moves += [(cell, RIGHT, cell) for cell in range(4, 25, 5)]
    states = [state_of(cell, 6, 18) for cell, _, _ in moves]
    after, rewards = steps_of(TwoColors(), states, [action for _, action, _ in moves])
    np.testing.assert_array_equal(after.agent, [successor for _, _, successor in moves])
    assert np.all(after.first == 6) and np.all(after.second == 18) and np.all(after.clock == 1)
    np.testing.assert_array_equal(rewards, np.float32(-0.04))


def test_both_ways_of_counting_moves_agree():
    cells, actions = jnp.arange(25), jnp.arange(4)
    moved = jax.vmap(lambda action: jax.vmap(lambda c: two_colors._move(c, action))(cells))(actions)
    np.testing.assert_array_equal(moved, two_colors._successors())


def test_observation():
    expected = np.zeros((3, 2, 5), np.float32)
    for square, (row, column) in enumerate([(0, 3), (2, 2), (4, 1)]):
        expected[square, 0, row] = expected[square, 1, column] = 1
    observation = TwoColors().observation(state_of(3, 12, 21), None)
    assert observation.dtype == jnp.float32
    np.testing.assert_array_equal(observation, expected.reshape(-1))
    assert TwoColors.observation_space.contains(np.asarray(observation))


@pytest.mark.parametrize("respawn", ["touched", "all"])
def test_touches_are_rewarded_by_the_signs_of_their_time(respawn):
    env = TwoColors(step_reward=-0.5, switch_every=10, respawn=respawn)
    states = [state_of(12, 13, 11, clock) for clock in range(20)]
    for action, reward in ((RIGHT, 1.0), (LEFT, -1.0)):
        _, rewards = steps_of(env, states, [action] * 20)
        np.testing.assert_array_equal(rewards, [reward] * 10 + [-reward] * 10)
    np.testing.assert_array_equal(steps_of(env, states, [UP] * 20)[1], -0.5)


def test_the_clock_has_the_period_of_the_signs():
    env = TwoColors(switch_every=10)
    states = [state_of(0, 13, 11, clock) for clock in range(20)]
    assert steps_of(env, states, [UP] * 20)[0].clock.tolist() == [*range(1, 20), 0]
    long = TwoColors(switch_every=2**30)
    states = [state_of(12, 13, 11, clock) for clock in (2**30 - 1, 2**30, 2**31 - 1)]
    after, rewards = steps_of(long, states, [RIGHT] * 3)
    assert after.clock.tolist() == [2**30, 2**30 + 1, 0] and rewards.tolist() == [1, -1, -1]
    assert TwoColors().switch_every == 100_000


@pytest.mark.parametrize("first_touched", [True, False])
def test_the_touched_square_moves_to_any_free_cell_equally_often(first_touched):
    touched, other = (13, 11) if first_touched else (11, 13)
    action, num = (RIGHT if first_touched else LEFT), 20_000
    after = many_steps(TwoColors(), state_of(12, 13, 11), action, num)
    moved, stayed = (after.first, after.second) if first_touched else (after.second, after.first)
    assert np.all(after.agent == touched) and np.all(stayed == other)
    counts = np.bincount(moved, minlength=25)
    free = np.delete(counts, [touched, other])
    assert counts[touched] == counts[other] == 0 and free.sum() == num
    assert stats.chisquare(free).pvalue > 0.01


@pytest.mark.parametrize("action", [LEFT, RIGHT])
def test_all_three_are_placed_anew_equally_often(action):
    after = many_steps(TwoColors(respawn="all"), state_of(12, 13, 11), action, 60_000)
    assert_different_and_uniform(np.stack(after[:3]))
    assert np.all(after.clock == 1)


def test_starts_are_different_cells_equally_often():
    starts = TwoColors().initial_batch(jax.random.key(2), 60_000)
    assert_different_and_uniform(np.stack(starts[:3]))
    assert not np.any(starts.clock)
    one = TwoColors().initial(jax.random.key(3))
    assert all(leaf.shape == () and leaf.dtype == jnp.int32 for leaf in one)


def assert_different_and_uniform(cells: np.ndarray) -> None:
    """Of three cells [3, N] each pair is different, and all its 600 values are as frequent."""
    for a, b in ((0, 1), (0, 2), (1, 2)):
        counts = np.bincount(25 * cells[a] + cells[b], minlength=625).reshape(25, 25)
        assert not counts.diagonal().any()
        assert stats.chisquare(counts[~np.eye(25, dtype=bool)]).pvalue > 0.01


def test_every_rank_is_another_free_cell():
    for one, two in [(0, 24), (24, 0), (0, 1), (7, 6), (23, 24), (10, 20)]:
        cells = two_colors._free_cell(jnp.arange(23), jnp.int32(one), jnp.int32(two))
        assert sorted({*cells.tolist(), one, two}) == list(range(25))
    ranks = jnp.arange(25 * 24 * 23, dtype=jnp.uint32)
    triples = np.stack(two_colors._different_cells(ranks), axis=-1)
    assert len(np.unique(triples, axis=0)) == len(ranks)
    assert np.all(triples < 25) and np.all(triples >= 0)


@pytest.mark.parametrize("respawn", ["touched", "all"])
def test_a_long_walk_keeps_the_rules(respawn):
    states, actions, steps = long_walk(respawn)
    agent, first, second, clock = states
    assert np.all((agent != first) & (agent != second) & (first != second))
    np.testing.assert_array_equal(clock, (np.arange(1000) % 100)[:, None].repeat(64, 1))
    moved = two_colors._successors()[actions, agent]
    sign = np.where(clock < 50, 1.0, -1.0)
    on_first, on_second = moved == first, moved == second
    expected = np.where(on_first, sign, np.where(on_second, -sign, -0.04))
    np.testing.assert_array_equal(steps.reward, expected.astype(np.float32))
    assert min(on_first.sum(), on_second.sum()) > 1000
    if respawn == "touched":
        np.testing.assert_array_equal(agent[1:], moved[:-1])
    for before, touched in ((first, on_first), (second, on_second)):
        moves_alone = touched if respawn == "touched" else touched | on_first | on_second
        np.testing.assert_array_equal(before[1:][~moves_alone[:-1]], before[:-1][~moves_alone[:-1]])


def test_nothing_ends():
    _, _, steps = long_walk("touched")
    assert not steps.episode_end.any() and not steps.truncated.any()
    assert np.all(steps.discount == 1) and np.all(steps.episode_length[-1] == 1000)


def test_vmap_of_tasks_equals_single_ones():
    task = graph_task(TwoColors(switch_every=7), 1)

    def run(key: jax.Array) -> Any:
        actions = jax.random.randint(key, (40, 1), 0, 4)
        return jax.lax.scan(task.step, task.init(key)[0], actions)[1]

    keys = jax.random.split(jax.random.key(5), 3)
    together = jax.jit(jax.vmap(run))(keys)
    alone = [jax.jit(run)(key) for key in keys]
    jax.tree.map(
        np.testing.assert_array_equal, together, jax.tree.map(lambda *x: np.stack(x), *alone)
    )


@pytest.mark.parametrize(
    ("step_reward", "respawn", "optimum"), [(-0.04, "touched", 0.279), (0.0, "all", 0.297)]
)
def test_optimal_reward(step_reward, respawn, optimum):
    assert round(optimal_reward(step_reward, respawn), 3) == optimum


def test_random_reward():
    assert random_reward(0.0, "all") == pytest.approx(0.0, abs=1e-6)
    for respawn in two_colors.RESPAWN:
        _, _, steps = long_walk(respawn)
        error = 0.3 / np.sqrt(steps.reward.size)  # rewards have a deviation of 0.27
        mean = steps.reward.mean(dtype=np.float64)
        assert abs(mean - random_reward(-0.04, respawn)) < 4 * error
    assert optimal_reward() == optimal_reward(-0.04, "touched") > 0 > random_reward()


@pytest.mark.parametrize("respawn", ["touched", "all"])
def test_the_best_policy_earns_what_its_values_promise(respawn):
    """In the environment itself, once the bad square has come to lie where it does no harm."""
    task = graph_task(TwoColors(respawn=respawn), 100)
    best = jnp.asarray(two_colors._solve(-0.04, respawn, np.max)[1].argmax(axis=0))

    def body(state: Any, _: None) -> Any:
        state, timestep = task.step(state, best[tuple(state.env[:3])])
        return state, timestep.reward

    start = task.init(jax.random.key(0))[0]
    _, rewards = jax.jit(lambda state: jax.lax.scan(body, state, None, 2200))(start)
    rewards = np.asarray(rewards[200:], np.float64)
    error = 0.45 / np.sqrt(rewards.size)  # rewards have a deviation of 0.45
    assert rewards.mean() == pytest.approx(optimal_reward(-0.04, respawn), abs=4 * error)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"switch_every": 0}, ("switch_every", "0", "at least 1")),
        ({"switch_every": 2.5}, ("switch_every", "2.5", "at least 1")),
        ({"switch_every": 2**30 + 1}, ("switch_every", "2**30")),
        ({"respawn": "none"}, ("respawn", "'none'", "touched | all")),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ConfigError) as error:
        TwoColors(**settings)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)
