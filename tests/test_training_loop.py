"""How a run is divided into chunks, and greedy evaluation."""

from contextlib import closing

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from selftuning.agents import self_tuning
from selftuning.configs.settings import RunSettings
from selftuning.envs import registry
from selftuning.training import evaluation, loop, report


@settings(max_examples=200, deadline=None)
@given(steps=st.integers(1, 10**9), steps_per_cycle=st.integers(1, 10**5))
def test_chunks_are_equal_and_steps_are_honoured(steps, steps_per_cycle):
    plan = loop.plan(steps, steps_per_cycle)
    done = plan.cycles * plan.chunks * steps_per_cycle
    cycles = -(-steps // steps_per_cycle)
    assert steps <= done
    assert (plan.chunks - 1) * plan.cycles < cycles  # no chunk is for nothing
    assert done <= steps * 1.03 + steps_per_cycle
    assert plan.chunks <= 80 or plan.cycles * steps_per_cycle <= 2**20 + steps_per_cycle


@pytest.mark.parametrize(
    ("in_background", "order"),
    [(True, "advance advance add advance add add"), (False, "advance add " * 3)],
)
def test_a_chunk_is_logged_while_the_device_works_or_else_at_once(in_background, order):
    calls = []

    def advance(state):
        calls.append("advance")
        return state + 1, None

    def take(_):
        calls.append("add")
        return False

    ended = loop.run_chunks(advance, 0, 3, take, in_background=in_background)
    assert calls == order.split() and (ended.state, ended.chunks) == (3, 3)


@pytest.mark.parametrize("in_background", [False, True])
def test_a_run_ends_when_a_taker_has_seen_enough_and_all_is_taken(in_background):
    taken = []

    def take(metrics):
        taken.append(metrics)
        return metrics == 2

    ended = loop.run_chunks(lambda s: (s + 1, s + 1), 0, 9, take, in_background=in_background)
    assert taken == [*range(1, ended.chunks + 1)] and ended.chunks == 2 + in_background


def test_a_run_that_is_stopped_keeps_what_it_has():
    ended = loop.run_chunks(
        lambda s: (s + 1, s), 0, 9, lambda _: False, stopped=iter([False, False, True]).__next__
    )
    assert (ended.state, ended.chunks) == (2, 2)


def acting(mode):
    """An agent with a greedy policy of its own, a function of threshold and observations."""
    spaces = gym.spaces.Box(-9.0, 9.0, (4,)), gym.spaces.Discrete(2)
    agent = self_tuning.make(*spaces, RunSettings())
    return agent._replace(mode=mode, follow=lambda _, seen, observation, ended: observation)


# Without parameters, but for the threshold; it keeps CartPole up for a while.
PushTowardsThePole = acting(
    lambda params, seen: (seen[:, 2] + 0.5 * seen[:, 3] > params).astype(jnp.int32)
)
PushLeft = acting(lambda params, seen: jnp.zeros(seen.shape[0], jnp.int32))


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_evaluation_gives_one_return_an_episode_and_repeats(backend):
    greedy = evaluation.evaluate("CartPole-v1", backend, PushLeft, 0.0, 33, seed=0)
    returns = greedy.returns
    np.testing.assert_array_equal(greedy.steps, returns)  # 1 a step
    assert greedy.ended.all() and greedy.reward_per_step == 1.0
    assert returns.shape == (33,) and returns.dtype == np.float64
    # A cart that is always pushed one way drops the pole after 8 to 11 steps.
    assert returns.min() >= 8 and returns.max() <= 11
    again = evaluation.evaluate("CartPole-v1", backend, PushLeft, 0.0, 33, seed=0)
    np.testing.assert_array_equal(returns, again.returns)
    other = evaluation.evaluate("CartPole-v1", backend, PushLeft, 0.0, 33, seed=1)
    assert not np.array_equal(returns, other.returns)


def test_both_backends_agree_where_the_policy_is_good():
    for backend in ("jax", "host"):
        greedy = evaluation.evaluate("CartPole-v1", backend, PushTowardsThePole, 0.0, 4, seed=0)
        assert greedy.returns.mean() > 150


@pytest.fixture
def unlimited(monkeypatch):
    """No task has a time limit."""
    make = registry.make

    def make_unlimited(*arguments):
        task = make(*arguments)
        return task._replace(spec=task.spec._replace(max_episode_steps=None))

    monkeypatch.setattr(registry, "make", make_unlimited)


@pytest.mark.parametrize("backend", ["jax", "host"])
@pytest.mark.parametrize(
    ("horizon", "step_limit", "longest", "ended"),
    [
        (5, 300, 5, 0),  # none has ended: all are cut
        (9, 300, 11, 16),  # one has: the others go on
        (8, 9, 9, None),  # as far as to the limit
        (5000, 7, 7, 0),
    ],
)
def test_episodes_without_a_time_limit_are_cut_off(
    horizon, step_limit, longest, ended, backend, unlimited, monkeypatch
):
    monkeypatch.setattr(evaluation, "HORIZON", horizon)
    monkeypatch.setattr(evaluation, "STEP_LIMIT", step_limit)
    # Always pushed one way, the pole falls after 8 to 11 steps.
    greedy = evaluation.evaluate("CartPole-v1", backend, PushLeft, 0.0, 16, seed=0)
    assert greedy.steps.max() <= longest
    np.testing.assert_array_equal(greedy.rewards, greedy.steps)
    if ended is None:
        assert 0 < greedy.ended.sum() < 16
        np.testing.assert_array_equal(greedy.steps[~greedy.ended], step_limit)
    else:
        assert greedy.ended.sum() == ended
    assert (greedy.returns is None) == (ended == 0)
    if ended == 0:
        np.testing.assert_array_equal(greedy.steps, longest)


def test_a_time_limit_is_kept_though_no_episode_has_ended(monkeypatch):
    monkeypatch.setattr(evaluation, "HORIZON", 10)
    monkeypatch.setattr(evaluation, "STEP_LIMIT", 20)
    for backend in ("jax", "host"):
        greedy = evaluation.evaluate("CartPole-v1", backend, PushTowardsThePole, 0.0, 2, seed=0)
        assert greedy.ended.all() and greedy.steps.min() > 20


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_a_task_without_end_is_judged_by_its_reward_a_step(backend, monkeypatch):
    monkeypatch.setattr(evaluation, "HORIZON", 60)
    greedy = evaluation.evaluate("TwoColors-v0", backend, PushLeft, 0.0, 3, seed=0)
    # It ends at the upper wall, having touched a square or two on the way.
    np.testing.assert_array_equal(greedy.steps, [60, 60, 60])
    assert greedy.returns is None and -0.1 < greedy.reward_per_step < 0.0
    assert greedy.reward_per_step == pytest.approx(greedy.rewards.sum() / 180)
    label, text = report.describe(greedy)
    assert label == "evaluation reward" and "a step" in text and "3 streams of 60 steps" in text
    assert "nan" not in text and "return" not in text
    single = evaluation.Evaluation(np.asarray([3.0]), np.asarray([60]), np.asarray([False]))
    assert report.describe(single)[1] == "0.05 a step (1 stream of 60 steps)"


def test_interval_is_students():
    result = evaluation.summarise(np.asarray([1.0, 2.0, 3.0, 4.0]))
    assert (result.episodes, result.mean) == (4, 2.5)
    assert result.std == pytest.approx(np.sqrt(1.25))
    # t(0.975, 3 degrees of freedom) = 3.18245, standard error 0.6455.
    assert result.high - 2.5 == pytest.approx(3.182446 * 0.6454972, rel=1e-6)
    single = evaluation.summarise(np.asarray([5.0]))
    assert single.mean == 5.0 and np.isnan(single.low) and np.isnan(single.high)


def test_an_animation_that_would_be_large_has_fewer_images(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "_LARGEST_GIF", 30_000)
    noise = np.random.default_rng(0).integers(0, 255, (16, 64, 400, 3), np.uint8)
    evaluation._write_gif(tmp_path / "noise.gif", list(noise), milliseconds=1e6)
    assert (tmp_path / "noise.gif").stat().st_size <= 30_000
    with Image.open(tmp_path / "noise.gif") as image:
        assert image.width == 320 and 1 <= image.n_frames <= 2
        assert image.info.get("duration", 500) == 500


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_stochastic_episodes_are_drawn_from_the_policy(backend):
    """A pole falls later if some pushes go to the right."""

    def act(params, seen, key):
        return jax.random.bernoulli(key, 0.2, seen.shape[:1]).astype(jnp.int32), None

    agent, of = PushLeft._replace(act=act), ("CartPole-v1", backend)
    runs = [evaluation.evaluate(*of, agent, 0.0, 33, 0, stochastic=x) for x in (True, True, False)]
    np.testing.assert_array_equal(runs[0].rewards, runs[1].rewards)
    assert runs[2].rewards.max() < 12 < runs[0].rewards.max()


def test_an_animation_on_the_host_shows_the_first_episode_that_is_evaluated(tmp_path):
    found = evaluation.evaluate("CartPole-v1", "host", PushTowardsThePole, 0.0, 3, seed=4)
    with closing(evaluation.drawable("CartPole-v1")) as env:
        shown = evaluation.record(env, PushTowardsThePole, 0.0, tmp_path / "one.gif", seed=4)
    assert shown.steps[0] == found.steps[0]


def test_animation_is_small_and_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "IMAGES", 10)
    path = tmp_path / "videos" / "episode.gif"
    with closing(evaluation.drawable("CartPole-v1")) as env:
        shown = evaluation.record(env, PushTowardsThePole, 0.0, path, seed=0)
    with Image.open(path) as image:
        assert 5 <= image.n_frames <= 12 and image.width <= 320
    assert shown.returns > 20 and shown.ended
    assert path.stat().st_size < 200_000


def test_animation_of_the_beginning_shows_every_step(tmp_path):
    path = tmp_path / "beginning.gif"
    with closing(evaluation.drawable("CartPole-v1")) as env:
        shown = evaluation.record(env, PushTowardsThePole, 0.0, path, 0, limit=7)
    with Image.open(path) as image:
        durations = []
        for frame in range(image.n_frames):  # equal images in a row are one, shown for longer
            image.seek(frame)
            durations.append(image.info["duration"])
    assert sum(durations) == 8 * 20
    assert shown.steps == shown.rewards == 7 and not shown.ended
