"""How a run is divided into chunks, and greedy evaluation."""

import io
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from configs.settings import RunSettings
from envs import registry
from training import evaluation, loop
from training.progress import Snapshot
from training.runner import Runner


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
def test_a_chunk_is_logged_while_the_device_works_or_else_at_once(
    in_background, order, tmp_path, monkeypatch
):
    calls = []

    def advance(state):
        calls.append("advance")
        return state, None

    class Recorder:
        def start_clock(self):
            pass

        def add(self, metrics):
            calls.append("add")
            return Snapshot(1, 1.0, 1.0, None, {})

    class State(NamedTuple):
        agent: np.ndarray

    monkeypatch.setattr(loop, "plan", lambda *_: loop.Plan(1, 3))
    init, compile_cycles = lambda *_: State(np.zeros(1)), lambda *_: advance
    runner = Runner(1, init, compile_cycles, in_background)
    console = Console(file=io.StringIO())
    training = loop._run(runner, Recorder(), RunSettings(), tmp_path / "agent", console)
    assert calls == order.split() and not training.interrupted


class PushTowardsThePole:
    """A policy without parameters that keeps CartPole up for a while: `mode` of an agent."""

    @staticmethod
    def mode(params, observation):
        return (observation[:, 2] + 0.5 * observation[:, 3] > params).astype(jnp.int32)


class PushLeft:
    @staticmethod
    def mode(params, observation):
        return jnp.zeros(observation.shape[0], jnp.int32)


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_evaluation_gives_one_return_an_episode_and_repeats(backend):
    returns = evaluation.evaluate("CartPole-v1", backend, PushLeft, 0.0, 33, seed=0)
    assert returns.shape == (33,) and returns.dtype == np.float64
    # A cart that is always pushed one way drops the pole after 8 to 11 steps.
    assert returns.min() >= 8 and returns.max() <= 11
    again = evaluation.evaluate("CartPole-v1", backend, PushLeft, 0.0, 33, seed=0)
    np.testing.assert_array_equal(returns, again)
    other = evaluation.evaluate("CartPole-v1", backend, PushLeft, 0.0, 33, seed=1)
    assert not np.array_equal(returns, other)


def test_both_backends_agree_where_the_policy_is_good():
    for backend in ("jax", "host"):
        returns = evaluation.evaluate("CartPole-v1", backend, PushTowardsThePole, 0.0, 4, seed=0)
        assert returns.mean() > 150


def test_an_episode_without_a_time_limit_is_cut_off(monkeypatch):
    monkeypatch.setattr(evaluation, "STEP_LIMIT", 30)
    make = registry.make

    def make_unlimited(*arguments):
        task = make(*arguments)
        return task._replace(spec=task.spec._replace(max_episode_steps=None))

    monkeypatch.setattr(registry, "make", make_unlimited)
    for backend in ("jax", "host"):
        returns = evaluation.evaluate("CartPole-v1", backend, PushTowardsThePole, 0.0, 2, seed=0)
        np.testing.assert_array_equal(returns, [30.0, 30.0])


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


def test_animation_is_small_and_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "_FRAMES", 10)
    path = tmp_path / "videos" / "episode.gif"
    total = evaluation.record("CartPole-v1", PushTowardsThePole, 0.0, path, seed=0)
    with Image.open(path) as image:
        assert 5 <= image.n_frames <= 12 and image.width <= 320
    assert total > 20
    assert path.stat().st_size < 200_000
