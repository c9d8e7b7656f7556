"""Evidence: noise looks like noise whatever its size and tails, and a signal grows with time."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selftuning.agents import parts
from selftuning.configs.settings import TuningSettings
from selftuning.metagrad import hyperparams as hp
from selftuning.training.evidence import SIGNAL, evidence, in_words


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


def test_what_is_not_known():
    assert evidence(np.zeros(5)) is None and evidence(np.zeros(0)) is None
    assert evidence(np.array([np.nan, -2.0])) == 1.0


def test_words():
    assert in_words(-7.21) == "signal down: -7.2 standard deviations of noise"
    assert in_words(0.4) == "noise: +0.4 standard deviations"


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
