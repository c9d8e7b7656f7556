"""Evidence: noise looks like noise whatever its size and tails, and a signal grows with time."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selftuning.agents import parts
from selftuning.configs.hyperparameters import Hyperparameter
from selftuning.configs.settings import TuningSettings
from selftuning.metagrad import hyperparams as hp
from selftuning.training.evidence import SIGNAL, bound_at, evidence, moved_by


@pytest.mark.parametrize("tails", [1.5, 3.0, np.inf])
@pytest.mark.parametrize("size", [1e-6, 1e3])
def test_noise_has_a_standard_deviation_of_one(tails, size):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 300)) if np.isinf(tails) else rng.standard_t(tails, (400, 300))
    found = np.array([evidence(size * x) for x in noise])
    assert abs(found.mean()) < 0.2 and 0.9 < found.std() < 1.1
    assert np.mean(np.abs(found) >= SIGNAL) < 0.02


def test_a_signal_grows_with_the_root_of_time_and_says_which_way():
    rng = np.random.default_rng(0)
    gradients = rng.normal(0.5, 1.0, 1600)  # that would lower what they are of
    short, long = evidence(gradients[:400]), evidence(gradients)
    assert long < short < -SIGNAL
    np.testing.assert_allclose(long / short, 2.0, rtol=0.3)
    np.testing.assert_allclose(evidence(-gradients), -long)
    np.testing.assert_allclose(evidence(np.concatenate([np.zeros(50), gradients])), long)


def test_heads_are_judged_one_by_one():
    gradients = np.random.default_rng(0).normal([0.5, 0.0], 1.0, (400, 2))
    assert evidence(gradients) == [evidence(head) for head in gradients.T]
    assert evidence(gradients)[0] < -SIGNAL < evidence(gradients)[1]


def test_what_is_not_known():
    assert evidence(np.zeros(5)) is None and evidence(np.zeros(0)) is None
    assert evidence(np.array([np.nan, -2.0])) == 1.0


@pytest.mark.parametrize(
    ("end", "tuned", "z", "bound", "words"),
    [
        (0.8, True, -7.21, None, "signal down -7.2 sd"),
        (0.8, True, 3.0, None, "signal up +3.0 sd"),
        (0.8, True, 0.4, None, "noise +0.4 sd"),
        (0.999, True, 9.0, 0.999, "signal up +9.0 sd, at its bound 0.999"),
        (0.8, True, None, None, "moved"),  # by a network
        ([0.8, 0.7], True, [3.2, None], None, "by head: signal up +3.2 sd, not moved"),
        (0.9, True, None, None, "not moved"),
        (0.9, False, None, None, "fixed"),
    ],
)
def test_what_moved_a_hyperparameter_in_words(end, tuned, z, bound, words):
    assert moved_by(0.9, end, tuned, z, bound) == words


def test_what_falls_is_not_called_fixed():
    assert moved_by(0.9, 0.9, False, None, None, falls=True) == "falls to 0"
    words = moved_by(0.9, 0.8, True, -7.2, None, falls=True)
    assert words == "signal down -7.2 sd, beside that it falls to 0"


@pytest.mark.parametrize(
    ("scale", "low", "high", "end", "bound"),
    [
        ("unit", 0.5, 0.9999, 0.9999, 0.9999),
        ("unit", 0.5, 0.9999, float(np.float32(0.9999)), 0.9999),
        ("unit", 0.5, 0.9999, 0.9998, None),  # twice as far from 1
        ("unit", 0.0, 1.0, 1.0, 1.0),
        ("unit", 0.0, 1.0, 0.99999, None),
        ("log", 1e-5, 1.0, 1.005e-5, 1e-5),
        ("log", 1e-5, 1.0, 2e-5, None),
        ("linear", 0.0, 10.0, 0.0, 0.0),
        ("log", 1e-5, 1.0, [1.0, 1.0], 1.0),  # of two heads
        ("log", 1e-5, 1.0, [1.0, 0.5], None),
        ("log", 1e-5, 1.0, float("nan"), None),
    ],
)
def test_bounds_are_reached_on_the_scale_of_tuning(scale, low, high, end, bound):
    assert bound_at(scale, Hyperparameter(0.5, low, high, True), end) == bound


def test_the_meta_optimizer_moves_by_it():
    """Once sizes are known to both, and where no gradient is clipped by one of them alone."""
    rng = np.random.default_rng(1)
    signs = rng.choice([-1.0, 1.0], 200, p=[0.7, 0.3]) * 1e-3
    space = {"entropy": hp.Hyperparameter(hp.POSITIVE, 1e-30, 1e30)}
    optimizer = parts.meta_optimizer(TuningSettings(), space)
    raw = {"entropy": jnp.zeros(())}
    state = optimizer.init(raw)
    for gradient in signs:
        updates, state = optimizer.update({"entropy": jnp.float32(gradient)}, state, raw)
        raw = optax.apply_updates(raw, updates)
    z = evidence(signs)
    assert z > SIGNAL
    scaled = np.sqrt(200 / (200 + 10))  # ten meta-gradients of noise are taken to have come before
    np.testing.assert_allclose(raw["entropy"], 0.7 * (scaled * z - 0.5), rtol=1e-3)
