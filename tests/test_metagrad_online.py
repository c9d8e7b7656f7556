"""Online learners: against their definitions, inside their sets, on any pytree."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from selftuning.metagrad import averaging, constraints, hints, online, schedules

LEARNERS = {
    "ogd": online.ogd,
    "ftrl": online.ftrl,
    "ao_ftrl": online.ao_ftrl,
    "adaptive": online.adaptive_ao_ftrl,
    "adaptive_ftrl": online.adaptive_ftrl,
    "omega": online.omega,
    "omega_m": online.omega_m,
}
SETS = {
    "free": (constraints.unconstrained(), lambda w, tol: True),
    "box": (
        constraints.box(-0.5, 1.5),
        lambda w, tol: np.all((w >= -0.5 - tol) & (w <= 1.5 + tol)),
    ),
    "non_negative": (constraints.non_negative(), lambda w, tol: np.all(w >= 0)),
    "ball": (constraints.ball(2.0), lambda w, tol: np.linalg.norm(w) <= 2.0 + 4 * tol),
}
SUPPORTED = [
    (learner, name)
    for learner, name in itertools.product(LEARNERS, SETS)
    if not (learner.startswith("adaptive") and name == "ball")
]


def play(learner, start, gradients, predictions=None):
    """w_1 ... w_{T+1} on a list of gradients."""
    state, path = learner.init(start), [start]
    for t, gradient in enumerate(gradients):
        hint = None if predictions is None else predictions[t]
        updates, state = learner.update(gradient, state, path[-1], hint=hint)
        path.append(optax.apply_updates(path[-1], updates))
    return path


def vectors(count, size=3, seed=0, scale=1.0):
    return [jnp.asarray(x) for x in scale * np.random.default_rng(seed).normal(size=(count, size))]


@pytest.mark.parametrize(
    ("adaptive", "name"),
    [(False, name) for name in SETS] + [(True, name) for name in SETS if name != "ball"],
)
def test_ao_ftrl_is_the_argmin_of_its_definition(adaptive, name):
    """First-order optimality against many points of W, with weights t and wrong hints."""
    with jax.enable_x64(True):
        constraint, _ = SETS[name]
        make = online.adaptive_ao_ftrl if adaptive else online.ao_ftrl
        learner = make(1.0, weights=schedules.linear, constraint=constraint)
        gradients, predictions = vectors(6, seed=1), vectors(6, seed=2)
        start = jnp.asarray([0.1, 0.7, 1.1])
        path = play(learner, start, gradients, predictions)
        others = np.stack([constraint.project(u) for u in vectors(300, seed=3, scale=2.0)])
        binds = False
        for t in range(1, 7):
            total = sum((s + 1) * gradients[s] for s in range(t)) + (t + 1) * predictions[t - 1]
            before = [jnp.zeros(3), *predictions]
            surprise = [(s + 1) * (gradients[s] - before[s]) for s in range(t)]
            scale = jnp.sqrt(sum(jnp.square(x) for x in surprise)) if adaptive else 1.0
            slope = np.asarray(total + scale * (path[t] - start))
            assert np.min((others - path[t]) @ slope) >= -1e-9
            binds = binds or np.any(np.abs(slope) > 1e-6)
        assert binds == (name != "free"), "a set that never binds would test nothing"


def test_ogd_and_its_decay():
    with jax.enable_x64(True):
        gradients, start = vectors(4), vectors(1, seed=5)[0]
        learner = online.ogd(lambda t: 1.0 / t, decay=0.5, constraint=constraints.box(-0.2, 0.2))
        w = start
        path = play(learner, start, gradients)
        for t, gradient in enumerate(gradients, 1):
            w = jnp.clip(0.5 * w - gradient / t, -0.2, 0.2)
            np.testing.assert_allclose(path[t], w, rtol=1e-12)


def test_omega_and_omega_m():
    with jax.enable_x64(True):
        gradients, start = vectors(5), vectors(1, seed=5)[0]
        plain = play(online.omega(0.1, optimism=0.7, decay=0.8), start, gradients)
        heavy = play(online.omega_m(0.1, optimism=0.7, decay=0.8), start, gradients)
        mean, w, v = gradients[0], start, start
        for t, g in enumerate(gradients, 1):
            later = 0.8 * mean + 0.2 * g
            w = w - 0.1 * (g + 0.7 * (g - mean))
            v = v - 0.1 * (later + 0.7 * (later - mean))
            mean = later
            np.testing.assert_allclose(plain[t], w, rtol=1e-12)
            np.testing.assert_allclose(heavy[t], v, rtol=1e-12)


def test_omega_without_memory_is_the_optimistic_gradient_method():
    with jax.enable_x64(True):
        gradients, start = vectors(20), vectors(1, seed=5)[0]
        ours = play(online.omega(0.1, decay=0.0), start, gradients)
        theirs = play(
            optax.with_extra_args_support(optax.optimistic_gradient_descent(0.1)), start, gradients
        )
        # optax takes the gradient before the first as zero, Omega as the first.
        shift = theirs[1] - ours[1]
        for a, b in zip(ours[1:], theirs[1:], strict=True):
            np.testing.assert_allclose(a + shift, b, rtol=1e-10)


def test_adaptive_without_hints_is_dual_averaging_adagrad():
    with jax.enable_x64(True):
        gradients, start = vectors(20), vectors(1, seed=5)[0]
        path = play(online.adaptive_ftrl(0.1), start, gradients)
        for t in range(1, 21):
            seen = np.stack(gradients[:t])
            want = start - 0.1 * seen.sum(0) / np.sqrt(np.square(seen).sum(0))
            np.testing.assert_allclose(path[t], want, rtol=1e-12)


def test_a_threshold_is_an_l1_regulariser_in_units_of_noise():
    """Coordinate by coordinate, the argmin on a fine grid of a box."""
    with jax.enable_x64(True):
        gradients, start = vectors(12), vectors(1, seed=5)[0]
        box = constraints.box(-2.0, 2.0)
        path = play(online.adaptive_ftrl(0.5, threshold=1.2, constraint=box), start, gradients)
        grid = np.linspace(-2.0, 2.0, 400_001)[:, None]
        moved = []
        for t in range(1, 13):
            seen = np.stack(gradients[:t])
            noise, away = np.sqrt(np.square(seen).sum(0)), grid - np.asarray(start)
            objective = seen.sum(0) * grid + noise * (away**2 / (2 * 0.5) + 1.2 * np.abs(away))
            best = grid[np.argmin(objective, axis=0), 0]
            np.testing.assert_allclose(path[t], best, atol=1.1e-5)
            moved.append(np.abs(path[t] - start) > 1e-9)
        assert np.any(moved) and not np.all(moved), "thresholds that bind always or never"


def test_noise_moves_nothing_far_and_a_signal_moves_with_the_root_of_time():
    rng = np.random.default_rng(0)
    noise = jnp.asarray(rng.choice([-1.0, 1.0], (2000, 40)), jnp.float32)
    learner = online.adaptive_ftrl(0.7, threshold=0.5)

    def step(carry, gradient):
        state, w = carry
        updates, state = learner.update(gradient, state, w)
        return (state, optax.apply_updates(w, updates)), optax.apply_updates(w, updates)

    def path(mean):
        w = jnp.zeros(40)
        return np.asarray(jax.lax.scan(step, (learner.init(w), w), noise + mean)[1])

    assert np.abs(path(0.0)[-1]).max() < 0.7 * 3  # three standard deviations and a half
    ends = path(-0.2)[-1]
    expected = 0.7 * (0.2 * np.sqrt(2000 / 1.04) - 0.5)
    np.testing.assert_allclose(ends.mean(), expected, rtol=0.1)
    assert ends.min() > 0.7 * 3


def test_perfect_hints_leave_the_adaptive_learner_at_ease():
    """Only surprises enter its regulariser: those before the first hint."""
    gradients = [jnp.ones(2)] * 50
    learner = online.adaptive_ao_ftrl(1.0)
    state, w = learner.init(jnp.zeros(2)), jnp.zeros(2)
    for gradient in gradients:
        updates, state = learner.update(gradient, state, w, hint=gradient)
        w = optax.apply_updates(w, updates)
    np.testing.assert_allclose(state.squares, 1.0)
    np.testing.assert_allclose(w, -51.0)


def test_adaptive_is_safe_at_zero():
    learner = online.adaptive_ao_ftrl(0.1)

    def last(scale):
        return jnp.sum(play(learner, jnp.ones(2), [scale * jnp.array([0.0, 1.0])] * 3)[-1])

    for scale in (0.0, 1.0):
        value, slope = jax.value_and_grad(last)(scale)
        assert np.isfinite(value) and np.isfinite(slope)
    assert last(0.0) == 2.0


def test_adaptive_refuses_a_ball_and_a_ball_its_radius():
    with pytest.raises(ValueError, match="not a ball"):
        online.adaptive_ao_ftrl(0.1, constraint=constraints.ball(1.0))
    with pytest.raises(ValueError, match="not a ball"):
        online.adaptive_ftrl(0.1, constraint=constraints.ball(1.0))
    with pytest.raises(ValueError, match="positive"):
        constraints.ball(0.0)


@pytest.mark.parametrize("name", list(LEARNERS))
def test_learners_ask_for_parameters(name):
    learner = LEARNERS[name](0.1)
    with pytest.raises(ValueError, match="needs the parameters"):
        learner.update(jnp.ones(2), learner.init(jnp.ones(2)))


def test_no_hint_is_a_hint_of_zero_also_after_others():
    gradients, predictions = vectors(6), vectors(6, seed=9)
    for make in (online.ao_ftrl, online.adaptive_ao_ftrl):
        for hinted in itertools.product([True, False], repeat=4):
            mixed = [p if i else None for p, i in zip(predictions, hinted, strict=False)]
            zeros = [p if i else jnp.zeros(3) for p, i in zip(predictions, hinted, strict=False)]
            got, want = (play(make(0.1), jnp.ones(3), gradients[:4], h) for h in (mixed, zeros))
            np.testing.assert_array_equal(got, want)


def test_deaf_learners_go_the_path_of_no_hints():
    gradients, predictions = vectors(6), vectors(6, seed=9)
    for deaf, listening in (
        (online.ftrl, online.ao_ftrl),
        (online.adaptive_ftrl, online.adaptive_ao_ftrl),
    ):
        got = play(deaf(0.1), jnp.ones(3), gradients, predictions)
        np.testing.assert_array_equal(got, play(listening(0.1), jnp.ones(3), gradients))


@pytest.mark.parametrize("name", list(LEARNERS))
def test_a_first_step_may_overwrite_what_it_is_given(name):
    """No array of a first state is another, or the parameters: XLA refuses to donate one twice."""
    learner, w = LEARNERS[name](0.1), {"a": jnp.ones(3), "b": jnp.ones(())}
    step = jax.jit(lambda w, state: learner.update(w, state, w), donate_argnums=(0, 1))
    updates, _ = step(w, learner.init(w))
    assert jax.tree.structure(updates) == jax.tree.structure(w)


def test_hints_reach_only_learners_that_listen():
    gradients, predictions = vectors(3), vectors(3, seed=9)
    start = jnp.zeros(3)
    for name, make in LEARNERS.items():
        with_hints = play(make(0.1), start, gradients, predictions)[-1]
        without = play(make(0.1), start, gradients)[-1]
        assert np.allclose(with_hints, without) == (name not in ("ao_ftrl", "adaptive"))


def test_with_hint_predicts_on_the_way():
    gradients, start = vectors(5), jnp.zeros(3)
    averages = [gradients[0]]
    biased = 0.1 * gradients[0]
    for t, gradient in enumerate(gradients[1:], 2):
        biased = 0.9 * biased + 0.1 * gradient
        averages.append(biased / (1 - 0.9**t))
    for predictor, predictions in (
        (hints.none(), None),
        (hints.last_gradient(), gradients),
        (hints.exponential_average(0.9), averages),
    ):
        got = play(hints.with_hint(online.ao_ftrl(0.1), predictor), start, gradients)
        want = play(online.ao_ftrl(0.1), start, gradients, predictions)
        np.testing.assert_allclose(got, want, rtol=1e-5)
    outer = play(hints.with_hint(online.ao_ftrl(0.1), hints.none()), start, gradients, averages)
    np.testing.assert_allclose(outer, play(online.ao_ftrl(0.1), start, gradients, averages))


def floats(dtype):
    return hnp.arrays(dtype, (3, 4), elements=st.floats(-4, 4, width=16))


@pytest.mark.parametrize(("name", "region"), SUPPORTED)
def test_constraint_sets_are_never_left(name, region):
    constraint, inside = SETS[region]
    learner = hints.with_hint(
        LEARNERS[name](0.7, constraint=constraint), hints.exponential_average(0.5)
    )

    @jax.jit
    def run(start, gradients):
        def step(carry, gradient):
            w, state = carry
            updates, state = learner.update(gradient, state, w)
            w = optax.apply_updates(w, updates)
            return (w, state), w

        return jax.lax.scan(step, (start, learner.init(start)), gradients)[1]

    @settings(max_examples=40, deadline=None)
    @given(floats(np.float32), floats(np.float32))
    def check(starts, gradients):
        start = constraint.project(jnp.asarray(starts[0]))
        for w in np.asarray(run(start, jnp.asarray(gradients))):
            assert np.all(np.isfinite(w)) and inside(w, 1e-5)

    check()


SHAPES = st.lists(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), max_size=3)
DTYPES = st.sampled_from([jnp.float16, jnp.bfloat16, jnp.float32])


def two_steps(learner, w):
    state = learner.init(w)
    for _ in range(2):
        updates, later = learner.update(w, state, w, hint=w)
        same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, later)
        assert all(jax.tree.leaves(same)), "a state must fit the carry of a scan"
        w, state = optax.apply_updates(w, updates), later
    return w


@settings(max_examples=60, deadline=None)
@given(SHAPES, DTYPES, st.sampled_from(SUPPORTED))
def test_any_pytree_shape_and_dtype(shapes, dtype, which):
    name, region = which
    learner = LEARNERS[name](0.1, constraint=SETS[region][0])
    w = {str(i): [jax.ShapeDtypeStruct(shape, dtype)] for i, shape in enumerate(shapes)}
    after = jax.eval_shape(lambda w: two_steps(learner, w), w)
    assert jax.tree.structure(after) == jax.tree.structure(w)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(w), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


@pytest.mark.parametrize(("name", "region"), SUPPORTED)
def test_vmap_and_half_precision_agree_with_one_run_in_float32(name, region):
    learner = LEARNERS[name](0.1, constraint=SETS[region][0])
    w = {"a": jnp.float32(0.5), "b": [jnp.asarray([[0.25, 1.0]]), jnp.zeros((0, 2))]}
    run = jax.jit(lambda w: two_steps(learner, w))
    want = run(w)
    stacked = jax.tree.map(lambda x: jnp.stack([2 * x, x]), w)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), w)
    for a, b, c in zip(
        *map(jax.tree.leaves, (want, jax.jit(jax.vmap(run))(stacked), run(half))), strict=True
    ):
        np.testing.assert_allclose(b[1], a, rtol=1e-5)
        np.testing.assert_allclose(c.astype(jnp.float32), a, rtol=2e-2, atol=2e-2)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float64, (15, 2), elements=st.floats(-1, 1)), st.floats(0, 2 * np.pi))
def test_regret_is_below_its_bound(gradients, angle):
    """Linear losses on the unit ball: sum <g, w - u> <= |u|^2 / 2 beta + (beta / 2) sum |g|^2."""
    with jax.enable_x64(True):
        comparator = np.array([np.cos(angle), np.sin(angle)])
        bound = 0.5 / 0.2 + 0.1 * np.sum(np.square(gradients))
        for make in (online.ogd, online.ftrl):
            path = play(
                make(0.2, constraint=constraints.ball(1.0)),
                jnp.zeros(2),
                [jnp.asarray(g) for g in gradients],
            )
            regret = sum(
                g @ (np.asarray(w) - comparator) for g, w in zip(gradients, path, strict=False)
            )
            assert regret <= bound + 1e-9


def test_half_precision_sums_are_kept_in_float32():
    learner = online.ftrl(1e-3)
    w = jnp.zeros((), jnp.bfloat16)
    state = learner.init(w)
    for _ in range(1000):
        updates, state = learner.update(jnp.ones((), jnp.bfloat16), state, w)
        w = optax.apply_updates(w, updates)
    np.testing.assert_allclose(float(w), -1.0, rtol=1e-2)


def test_derivatives_through_every_learner():
    """Of the last w in the learning rate, against finite differences."""
    with jax.enable_x64(True):
        gradients, start = vectors(5), vectors(1, seed=5)[0]
        for make in LEARNERS.values():

            def last(beta, make=make):
                learner = hints.with_hint(make(beta), hints.last_gradient())
                return jnp.sum(jnp.square(play(learner, start, gradients)[-1]))

            difference = (last(0.1 + 1e-6) - last(0.1 - 1e-6)) / 2e-6
            np.testing.assert_allclose(jax.grad(last)(0.1), difference, rtol=1e-6)


@pytest.mark.parametrize("weights", [schedules.constant, schedules.linear, lambda t: 1.0 / t])
def test_averaging(weights):
    with jax.enable_x64(True):
        points = vectors(7)
        average = averaging.init(jnp.full(3, 99.0))
        for t in range(1, 8):
            average = averaging.update(average, points[t - 1], weights)
            alpha = np.array([float(weights(jnp.asarray(s))) for s in range(1, t + 1)])
            want = alpha @ np.stack(points[:t]) / alpha.sum()
            np.testing.assert_allclose(average.mean, want, rtol=1e-12)
