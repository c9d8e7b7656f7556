"""What is searched, and how members move in it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from selftuning.configs.searches import SearchSettings
from selftuning.studies.searches import search
from selftuning.studies.searches.ranges import Range, at, draw, ends, perturb, position

pytestmark = pytest.mark.slow

LOG = Range(1e-4, 1e-1, "log")
NEAR_ONE = Range(0.5, 0.999, "unit")
ODDS = Range(0.01, 0.99, "unit")
LINEAR = Range(-3.0, 1.0, "linear")
GOOD, BAD = 3e-2, 1e-6


SCALES = {
    "log": np.log,
    "unit": lambda x: np.log(x / (1 - x)),
}


@pytest.mark.parametrize("space", [LOG, NEAR_ONE, ODDS])
def test_draws_are_uniform_on_their_scale_and_within_their_range(space):
    values = np.asarray(draw(jax.random.PRNGKey(0), space, (4000,)), float)
    assert np.all((values >= np.float32(space.low)) & (values <= np.float32(space.high)))
    on_scale = SCALES[space.scale](values)
    low, high = sorted(SCALES[space.scale](np.array([space.low, space.high])))
    assert stats.kstest(on_scale, stats.uniform(low, high - low).cdf).pvalue > 0.01
    other = stats.uniform(space.low, space.high - space.low)
    assert stats.kstest(values, other.cdf).pvalue < 1e-6


def test_a_perturbation_multiplies_on_the_scale_and_stays_within_bounds():
    values = jnp.array([1e-2, 9e-2, 1e-4])
    np.testing.assert_allclose(perturb(values, 1.2, LOG), [1.2e-2, 1e-1, 1.2e-4], rtol=1e-5)
    np.testing.assert_allclose(perturb(values, 1 / 1.2, LOG)[2], 1e-4, rtol=1e-6)
    near = perturb(jnp.array([0.9, 0.999, 0.505]), 1.2, NEAR_ONE)
    np.testing.assert_allclose(near, [10.8 / 11.8, 0.999, 0.606 / 1.101], rtol=1e-5)
    assert perturb(jnp.array([0.505]), 1 / 1.2, NEAR_ONE) == 0.5


def test_odds_are_multiplied_and_a_linear_range_is_moved_by_parts_of_itself():
    odds = np.asarray(perturb(jnp.array([0.5, 0.9]), 1.2, ODDS), float)
    np.testing.assert_allclose(odds / (1 - odds), [1.2, 9 * 1.2], rtol=1e-4)
    moved = perturb(jnp.array([0.0, -2.9]), 1 / 1.2, LINEAR)
    np.testing.assert_allclose(moved, [-4 * np.log(1.2), -3.0], rtol=1e-5)
    values = np.asarray(draw(jax.random.PRNGKey(0), LINEAR, (4000,)))
    assert stats.kstest(values, stats.uniform(-3.0, 4.0).cdf).pvalue > 0.01


@pytest.mark.parametrize("space", [LOG, NEAR_ONE, ODDS, LINEAR])
def test_positions_are_real_numbers_and_lead_back(space):
    values = draw(jax.random.PRNGKey(1), space, (100,))
    np.testing.assert_allclose(at(space, position(space, values)), values, rtol=1e-4)
    low, high = ends(space)
    assert low < high
    beyond = at(space, jnp.array([low - 1.0, high + 1.0]))
    np.testing.assert_allclose(sorted(beyond), [space.low, space.high], rtol=1e-5)


def test_exploring_takes_both_factors_as_often_and_draws_a_quarter_anew():
    count = 4000
    values = {"entropy": jnp.full(count, 1e-2), "critic": jnp.full(count, 0.5)}
    where = jnp.arange(count) % 2 == 0
    new = search.explore(
        jax.random.PRNGKey(1), values, where, {"entropy": LOG}, SearchSettings(factor=1.2)
    )
    np.testing.assert_array_equal(new["critic"], values["critic"])
    np.testing.assert_array_equal(new["entropy"][1::2], values["entropy"][1::2])
    ratio = np.asarray(new["entropy"][::2]) / 1e-2
    up, down = np.isclose(ratio, 1.2, rtol=1e-5), np.isclose(ratio, 1 / 1.2, rtol=1e-5)
    assert abs(up.mean() - 0.375) < 0.03
    assert abs(down.mean() - 0.375) < 0.03
    drawn = np.log(ratio[~up & ~down] * 1e-2)
    uniform = stats.uniform(np.log(LOG.low), np.log(LOG.high / LOG.low))
    assert stats.kstest(drawn, uniform.cdf).pvalue > 0.01


# Selection
