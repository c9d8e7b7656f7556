"""Samples of the convex problems, and both forms of meta-gradients on nothing but samples."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.metagrad import convex, online, problems, targets, update_rules

KEY = jax.random.PRNGKey(0)
SUMS = {
    "pseudo_huber": problems.pseudo_huber,
    "pseudo_huber_columns": lambda seed: problems.pseudo_huber(seed, scaled="columns"),
    "logistic": problems.random_logistic,
    "breast_cancer": lambda seed: problems.breast_cancer(),
}
NOISY = {
    "quadratic": lambda seed: problems.quadratic(np.logspace(0, -2, 10), np.ones(10), seed),
    "plane_quadratic": problems.plane_quadratic,
    "nesterov_worst_case": lambda seed: problems.nesterov_worst_case(8),
    "log_sum_exp": problems.log_sum_exp,
}
PROBLEMS = SUMS | NOISY


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def somewhere(problem):
    rng = np.random.default_rng(7)
    return problem.minimiser + rng.normal(size=problem.start.shape)


def at_start(problem):
    return {"point": problem.start}


# Samples.


@pytest.mark.parametrize("name", list(SUMS))
def test_rows_average_to_the_loss_and_its_gradient(name):
    """Exactly: over all single rows, and over all batches of two rows with replacement."""
    problem = SUMS[name](0)
    x = somewhere(problem)
    want = jax.value_and_grad(problem.loss)(x)
    count = len(problem.data[0])
    part = jax.jit(jax.value_and_grad(lambda x, rows: problem.part(x, problem.data, rows)))
    for size in (1, 2) if count <= 60 else (1,):
        batches = np.stack(np.meshgrid(*[np.arange(count)] * size), -1).reshape(-1, size)
        values = jax.vmap(part, (None, 0))(x, batches)
        got = jax.tree.map(lambda v: jnp.mean(v, 0), values)
        jax.tree.map(
            lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12), got, want
        )
    rows = np.array([3, 0, 0, 5])
    alone = [part(x, rows[i : i + 1])[1] for i in range(4)]
    np.testing.assert_allclose(part(x, rows)[1], np.mean(alone, 0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_samples_average_to_the_loss_and_its_gradient(name):
    """Within what chance allows, and with a spread that is known where noise is added."""
    problem = PROBLEMS[name](0)
    x = somewhere(problem)
    sample = jax.jit(jax.vmap(jax.value_and_grad(problem.sample_loss), (None, 0)))
    losses, gradients = sample(x, jax.random.split(KEY, 20_000))
    loss, gradient = jax.value_and_grad(problem.loss)(x)
    for values, mean in ((losses[:, None], loss[None]), (gradients, gradient)):
        error = values.std(0) / np.sqrt(len(values))
        assert np.all(np.abs(values.mean(0) - mean) <= 4.5 * error + 1e-12)
        assert np.all(error > 0)
    if name in NOISY:
        np.testing.assert_allclose(gradients.std(0), problem.noise, rtol=0.03)
        start = jnp.linalg.norm(jax.grad(problem.loss)(problem.start))
        np.testing.assert_allclose(problem.noise * np.sqrt(len(x)), 0.1 * start, rtol=1e-9)


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_noise_at_the_minimiser_is_as_documented(name):
    problem = PROBLEMS[name](0)
    sample = jax.vmap(jax.grad(problem.sample_loss), (None, 0))
    spread = sample(problem.minimiser, jax.random.split(KEY, 100)).std(0).max()
    assert spread < 1e-12 if "pseudo_huber" in name else spread > 1e-3


def test_a_key_stands_for_one_function():
    for name in ("logistic", "log_sum_exp"):
        problem = PROBLEMS[name](0)
        x, step = somewhere(problem), 1e-6 * np.ones(problem.start.shape)
        key, other = jax.random.split(KEY)
        ahead, behind = (problem.sample_loss(x + s, key) for s in (step, -step))
        slope = jnp.vdot(jax.grad(problem.sample_loss)(x, key), step)
        np.testing.assert_allclose(ahead - behind, 2 * slope, rtol=1e-5)
        assert problem.sample_loss(x, key) != problem.sample_loss(x, other)


@pytest.mark.parametrize("name", ["pseudo_huber", "logistic", "log_sum_exp", "plane_quadratic"])
def test_samples_of_stacked_problems(name):
    made = [PROBLEMS[name](seed) for seed in range(3)]
    keys = jax.random.split(KEY, 3)
    got = jax.vmap(lambda p, k: p.sample_loss(p.start + 1.0, k))(problems.stack(made), keys)
    want = [p.sample_loss(p.start + 1.0, k) for p, k in zip(made, keys, strict=True)]
    np.testing.assert_allclose(got, want, rtol=1e-12)


# Both forms.


def forms(problem):
    rate = 0.1 / problem.smoothness
    point = update_rules.point()
    return {
        "standard": convex.standard(point, rate),
        "optimistic": convex.optimistic(point, rate),
        "bootstrapped": convex.bootstrapped(point, rate, step_size=rate, steps=2),
    }


def practice(problem, steps=30, objective=None, **keywords):
    """A learning rate learned in practice."""
    rule, w = update_rules.sgd(), {"learning_rate": 0.1 / problem.smoothness}
    learner = online.ftrl(1e-4)
    return convex.in_practice(problem, rule, learner, w, steps, objective=objective, **keywords)


@functools.partial(jax.jit, static_argnames="keep_path")
def runs(problem, key=None, *, keep_path=False):
    """Every form, and practice with both objectives."""
    keywords = {"key": key, "keep_path": keep_path}
    traces = {
        name: convex.convex_form(problem, form, at_start(problem), 30, **keywords)
        for name, form in forms(problem).items()
    }
    for objective in (targets.meta_gradient(), targets.bootstrapped(2)):
        traces[f"practice {len(traces)}"] = practice(problem, objective=objective, **keywords)
    return traces


def test_without_a_key_nothing_is_drawn():
    problem = problems.random_logistic(0)

    def no_samples(x, data, rows):
        raise AssertionError("a sample without a key")

    forbidden = dataclasses.replace(problem, part=no_samples)
    for got, want in zip(*(jax.tree.leaves(runs(p)) for p in (forbidden, problem)), strict=True):
        np.testing.assert_array_equal(got, want)
    with pytest.raises(AssertionError, match="without a key"):
        runs(forbidden, KEY)


def test_without_noise_a_key_changes_nothing():
    problem = dataclasses.replace(problems.log_sum_exp(0), noise=jnp.zeros(()))
    exact, drawn = runs(problem, keep_path=True), runs(problem, KEY, keep_path=True)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    jax.tree.map(close, exact, drawn)


def test_the_key_decides_the_path_and_can_be_vmapped():
    problem = problems.random_logistic(0)
    keys = jnp.stack([jax.random.PRNGKey(i) for i in (3, 3, 4)])
    many = jax.vmap(lambda key: runs(problem, key))(keys)
    for name, one in runs(problem, keys[0]).items():
        np.testing.assert_array_equal(many[name].gap[0], many[name].gap[1])
        assert np.all(many[name].gap[0, 2:] != many[name].gap[2, 2:])
        np.testing.assert_allclose(many[name].gap[0], one.gap, rtol=1e-9, atol=1e-12)


def test_a_longer_run_begins_as_the_shorter_one():
    problem = problems.random_logistic(0)
    form = forms(problem)["optimistic"]
    short, long = (
        convex.convex_form(problem, form, at_start(problem), steps, key=KEY).gap
        for steps in (10, 20)
    )
    np.testing.assert_array_equal(short, long[:10])
    np.testing.assert_array_equal(
        practice(problem, 10, key=KEY).gap, practice(problem, 20, key=KEY).gap[:10]
    )


def test_every_step_sees_a_fresh_sample_around_the_exact_gradient():
    problem = problems.plane_quadratic(0)
    form = forms(problem)["standard"]
    trace = convex.convex_form(problem, form, at_start(problem), 4000, key=KEY, keep_path=True)
    noise = trace.gradient - jax.vmap(jax.grad(problem.loss))(trace.average)
    assert len(np.unique(noise)) == noise.size
    np.testing.assert_allclose(noise.mean(0), 0.0, atol=4 * problem.noise / np.sqrt(4000))
    np.testing.assert_allclose(noise.std(0), problem.noise, rtol=0.05)
    serial = np.mean(noise[1:] * noise[:-1], 0) / problem.noise**2
    np.testing.assert_allclose(serial, 0.0, atol=4 / np.sqrt(4000))


def test_in_practice_updates_and_judges_on_two_samples():
    """The path, made by hand: hypergradient descent on samples."""
    problem = problems.random_logistic(0)
    w, beta, x = 1.0, 0.01, problem.start
    w0 = {"learning_rate": w}
    trace = convex.in_practice(
        problem, update_rules.sgd(), online.ogd(beta), w0, 20, key=KEY, keep_path=True
    )
    gradient = jax.grad(problem.sample_loss)
    for t in range(20):
        learn, judge = jax.random.split(jax.random.fold_in(KEY, t))
        step = gradient(x, learn)
        x = x - w * step
        np.testing.assert_allclose(trace.w["learning_rate"][t], w, rtol=1e-9)
        np.testing.assert_allclose(trace.point[t], x, rtol=0, atol=1e-9)
        w = w + beta * jnp.vdot(gradient(x, judge), step)


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_regret_bounds_the_gap_on_every_path_also_with_noise(name):
    problem = PROBLEMS[name](0)
    form = forms(problem)["optimistic"]
    start = at_start(problem)
    run = jax.vmap(lambda key: convex.convex_form(problem, form, start, 200, key=key))
    trace = jax.jit(run)(jax.random.split(KEY, 5))
    assert np.all(trace.gap <= trace.regret * (1 + 1e-9) + 1e-12)


@pytest.mark.parametrize(
    "name", ["plane_quadratic", pytest.param("logistic", marks=pytest.mark.slow)]
)
def test_decreasing_steps_converge_where_constant_ones_do_not(name):
    """Means of 20 paths, around step 1000 and at the end.

    Constant steps leave a floor without a hint. With weights t and a hint the noise grows with
    t, which steps of order t^(-3/2) make up for.
    """
    problem, steps, point = PROBLEMS[name](0), 10_000, update_rules.point()
    rate = 0.25 / problem.smoothness

    def gaps(key):
        contestants = (
            convex.standard(point, rate),
            convex.optimistic(point, rate),
            convex.optimistic(point, lambda t: rate * (10 / (10 + t)) ** 1.5),
        )
        traces = [
            convex.convex_form(problem, form, at_start(problem), steps, key=key)
            for form in contestants
        ]
        return jnp.stack([jnp.array([t.gap[900:1100].mean(), t.gap[9000:].mean()]) for t in traces])

    standard, optimistic, falling = jax.jit(jax.vmap(gaps))(jax.random.split(KEY, 20)).mean(0)
    assert 0.6 < standard[1] / standard[0] < 1.5
    assert optimistic[1] > 5 * standard[1]
    assert falling[1] < 0.5 * falling[0]
    assert falling[1] < 0.5 * standard[1]
