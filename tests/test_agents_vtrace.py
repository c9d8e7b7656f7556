"""Leaky V-trace against rlax, its limits, the ends of episodes, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from selftuning.agents import losses

T = 7
AT = {"gamma": 0.9, "lambda_": 0.7, "alpha_rho": 0.6, "alpha_c": 0.3}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def example(seed=0):
    """One path of values: that of a successor is that of the next observation."""
    rng = np.random.default_rng(seed)
    value = rng.normal(size=T + 1)
    return {
        "r_t": jnp.asarray(rng.normal(size=T)),
        "discount_t": jnp.ones(T),
        "truncated_t": jnp.zeros(T, bool),
        "v_tm1": jnp.asarray(value[:-1]),
        "v_t": jnp.asarray(value[1:]),
        "rho_tm1": jnp.exp(jnp.asarray(rng.normal(size=T))),
    }


def leaky_vtrace(data, **at):
    values = {name: jnp.asarray(x, float) for name, x in (AT | at).items()}
    return losses.leaky_vtrace(**data, **values)


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_without_leaks_it_is_the_vtrace_of_rlax(lambda_):
    data = example()
    data["discount_t"] = data["discount_t"].at[3].set(0.0)
    assert 0.2 < np.mean(np.asarray(data["rho_tm1"]) > 1) < 0.8
    target, advantage = leaky_vtrace(data, lambda_=lambda_, alpha_rho=1.0, alpha_c=1.0)
    expected = rlax.vtrace_td_error_and_advantage(
        data["v_tm1"],
        data["v_t"],
        data["r_t"],
        0.9 * data["discount_t"],
        data["rho_tm1"],
        jnp.asarray(lambda_),
    )
    np.testing.assert_allclose(target - data["v_tm1"], expected.errors, rtol=1e-9)
    np.testing.assert_allclose(advantage, expected.pg_advantage, rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_with_one_alpha_it_is_the_leaky_vtrace_of_rlax(alpha):
    data = example()
    target, _ = leaky_vtrace(data, lambda_=1.0, alpha_rho=alpha, alpha_c=alpha)
    expected = rlax.leaky_vtrace(
        data["v_tm1"], data["v_t"], data["r_t"], 0.9 * data["discount_t"], data["rho_tm1"], alpha
    )
    np.testing.assert_allclose(target - data["v_tm1"], expected, rtol=1e-9)


def test_without_clipping_it_is_importance_sampling():
    """One weight for the first reward, the product of two for the second, and so on."""
    data = example() | {"discount_t": jnp.ones(T).at[-1].set(0.0)}
    data |= {"v_tm1": jnp.zeros(T), "v_t": jnp.zeros(T)}
    target, _ = leaky_vtrace(data, lambda_=1.0, alpha_rho=0.0, alpha_c=0.0)
    weights = np.cumprod(data["rho_tm1"]) * 0.9 ** np.arange(T)
    np.testing.assert_allclose(target[0], np.sum(weights * data["r_t"]), rtol=1e-9)


@pytest.mark.parametrize("alphas", [(1.0, 1.0), (0.6, 0.3), (0.0, 0.0)])
@pytest.mark.parametrize("end", ["none", "terminated", "truncated"])
def test_on_policy_it_is_the_generalised_advantage_whatever_leaks(end, alphas):
    data = example() | {"rho_tm1": jnp.ones(T)}
    if end == "terminated":
        data["discount_t"] = data["discount_t"].at[3].set(0.0)
    elif end == "truncated":
        data["truncated_t"] = data["truncated_t"].at[3].set(True)
        data["v_t"] = data["v_t"].at[3].set(5.0)  # of the final observation
    target, advantage = leaky_vtrace(data, alpha_rho=alphas[0], alpha_c=alphas[1])
    names = ("r_t", "discount_t", "truncated_t", "v_t")
    at = jnp.asarray(AT["gamma"]), jnp.asarray(AT["lambda_"])
    expected = losses.lambda_returns(*(data[n] for n in names), *at)
    np.testing.assert_allclose(target, expected, rtol=1e-9)
    np.testing.assert_allclose(advantage, expected - data["v_tm1"], rtol=1e-9)


@pytest.mark.parametrize("end", ["truncated", "terminated"])
def test_nothing_of_the_next_episode_reaches_the_last(end):
    data = example()

    def last_episode(later, cut=True):
        """Targets and advantages up to the end at step 2, given all that comes after."""
        seen = {name: x.at[3:].set(later[name]) for name, x in data.items() if name in later}
        made = data | seen
        if cut and end == "truncated":
            made["truncated_t"] = made["truncated_t"].at[2].set(True)
        elif cut:
            made["discount_t"] = made["discount_t"].at[2].set(0.0)
        target, advantage = leaky_vtrace(made)
        return jnp.concatenate([target[:3], advantage[:3]])

    names = ("r_t", "v_tm1", "v_t", "rho_tm1")
    later = {name: data[name][3:] for name in names}
    for name, slope in jax.jacobian(last_episode)(later).items():
        np.testing.assert_array_equal(slope, 0.0, err_msg=name)
    without = jax.jacobian(lambda x: last_episode(x, cut=False))(later)
    assert all(np.any(slope != 0) for slope in without.values())


def test_termination_forgets_the_value_of_the_successor_and_truncation_bootstraps_from_it():
    data = example()
    truncated = data | {"truncated_t": data["truncated_t"].at[2].set(True)}
    terminated = data | {"discount_t": data["discount_t"].at[2].set(0.0)}
    rho = data["rho_tm1"][2]
    weight = AT["alpha_rho"] * min(1, rho) + (1 - AT["alpha_rho"]) * rho
    for made, successor in ((truncated, data["v_t"][2]), (terminated, 0.0)):
        target, advantage = leaky_vtrace(made)
        error = weight * (data["r_t"][2] + 0.9 * successor - data["v_tm1"][2])
        np.testing.assert_allclose(advantage[2], error, rtol=1e-9)
        np.testing.assert_allclose(target[2], data["v_tm1"][2] + error, rtol=1e-9)


@pytest.mark.parametrize("name", list(AT))
@pytest.mark.parametrize("which", [0, 1], ids=["targets", "advantages"])
def test_differentiable_in_all_hyperparameters(name, which):
    data = example()
    data["discount_t"] = data["discount_t"].at[1].set(0.0)
    data["truncated_t"] = data["truncated_t"].at[4].set(True)

    def total(x):
        return jnp.sum(jnp.square(leaky_vtrace(data, **{name: x})[which]))

    step, x = 1e-6, AT[name]
    difference = (total(x + step) - total(x - step)) / (2 * step)
    assert abs(difference) > 1e-2, "a vanishing derivative would test nothing"
    np.testing.assert_allclose(jax.grad(total)(x), difference, rtol=1e-6)
