"""PPO: its loss against other definitions, its meta-gradients against finite differences."""

from dataclasses import replace
from functools import partial

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from jax.flatten_util import ravel_pytree

from selftuning.agents import actor_critic, losses, parts, ppo, reuse, self_tuning, window
from selftuning.agents.trajectory import Experience
from selftuning.configs.hyperparameters import default_hyperparameters
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.envs import registry
from selftuning.training.runner import make_runner
from tests import by_hand
from tests.marks import mostly_slow
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, B, T, make_settings, trajectory

AGENT = {
    "algorithm": "ppo",
    "hidden": (4,),
    "epochs": 2,
    "minibatches": 3,
    "inner_optimizer": "rms",
    "max_grad_norm": 0.5,
}
KEY = jax.random.PRNGKey(7)


def settings_of(method="bmg", agent=None, **tuning):
    settings = make_settings(method, AGENT | (agent or {}), **tuning)
    rate = replace(settings.hyperparameters["learning_rate"], start=3e-2)
    return replace(settings, hyperparameters=settings.hyperparameters | {"learning_rate": rate})


def random_params(settings, actions):
    """Policies far from uniform, as the engine has them."""
    made = actor_critic.make(OBSERVATIONS, actions, settings)
    flat = made.init(jax.random.PRNGKey(0))
    return jnp.asarray(np.random.default_rng(0).normal(size=flat.shape) * 0.5, float)


def nearly_on_policy(seed, task, params, actions, spread=0.25):
    """Experience whose ratios are around 1, some of them beyond the clip."""
    made, rng = trajectory(seed, actions), np.random.default_rng(seed + 100)
    dist = by_hand.policy(task, params, made.observation, 0)
    noise = spread * rng.normal(size=(T, B))
    return made._replace(log_prob=by_hand.log_prob(task, dist, made.action) + noise)


def experience(made):
    return Experience(made, jnp.zeros(0))


# The updates by hand: loops and formulas, on the structure that Haiku gives parameters.


def rounded(ratio, advantage, clip):
    """The surrogate of one sign or the other, a tenth of the clip range from corner to rounding."""
    width = clip / 10
    least = 1 + clip - width * jnp.logaddexp(0.0, (1 + clip - ratio) / width)
    most = 1 - clip + width * jnp.logaddexp(0.0, (ratio - 1 + clip) / width)
    return advantage * jnp.where(advantage > 0, least, most)


def loss_by_hand(task, params, hyper, made, values, rows):
    v_tm1, v_t, old = values
    rho = jnp.exp(old - made.log_prob)
    target, advantage = by_hand.targets(task, v_tm1, v_t, rho, hyper, made)
    old = old if task.vtrace else made.log_prob
    advantage = advantage / jnp.sqrt(jnp.var(advantage) + 1e-8)
    t, b = rows // B, rows % B
    observation, action = made.observation[t, b], made.action[t, b]
    dist = by_hand.policy(task, params, observation, 0)
    ratio = jnp.exp(by_hand.log_prob(task, dist, action) - old[t, b])
    error = by_hand.value(task, params, observation, 0) - target[t, b]
    return (
        -hyper["policy"] * jnp.mean(rounded(ratio, advantage[t, b], hyper["clip"]))
        - hyper["entropy"] * jnp.mean(by_hand.entropy(task, dist))
        + hyper["critic"] * jnp.mean(error**2) / 2
        + by_hand.barrier(task, dist, hyper.get("barrier"))
    )


def update_by_hand(task, inner, by_loss, by_rule, *data):
    params, state = inner
    gradient = jax.grad(lambda p: loss_by_hand(task, p, by_loss, *data))(params)
    return by_hand.apply_rule(task, gradient, state, params, by_rule)


@pytest.mark.parametrize(
    ("actions", "K", "tuning", "agent"),
    mostly_slow(
        {
            "mg": ("discrete", 6, {"method": "mg"}, {}),
            "bmg": ("continuous", 6, {"target_steps": 2}, {}),
            "squash": ("continuous", 6, {"method": "mg"}, {"action_bounds": "squash"}),
            "off policy": ("discrete", 4, {"target_steps": 2}, {"correction": "vtrace"}),
            "barrier": ("discrete", 6, {"target_steps": 2}, {"regularize": "barrier"}),
            "last three": (
                "discrete",
                3,
                {"target_steps": 2, "target_by": "mixed", "target_last": "policy"},
                {"regularize": "barrier"},
            ),
        },
        {"last three", "off policy"},
    ),
)
def test_meta_gradients_through_all_updates_of_a_rollout_equal_finite_differences(
    actions, K, tuning, agent
):
    with jax.enable_x64(True):
        check_finite_differences(ACTIONS[actions], K, tuning, agent)


def check_finite_differences(actions, K, tuning, agent, step=2e-5):
    settings = settings_of(agent=agent, inner_steps=K, **tuning)
    tuning, task = settings.tuning, by_hand.task_of(settings, actions)
    made = ppo.make(OBSERVATIONS, actions, settings)
    engine = parts.learner(made, settings)
    flat, unpack = random_params(settings, actions), made.packing.unpack
    first, second = (nearly_on_policy(s, task, unpack(flat), actions) for s in (0, 1))

    start = {n: jnp.asarray(h.start, float) for n, h in settings.in_use.items()}
    others = {"alpha_rho", "alpha_c"} if task.vtrace else set()
    others |= {"barrier"} if task.barrier else set()
    assert set(start) == others | {
        *("gamma", "lambda", "entropy", "critic", "policy", "clip", "learning_rate")
    }
    updates = reuse.updates(engine, made.reuse, K)
    end, record = quick_jit(updates.learn)(engine.init(flat, start), experience(first), KEY)
    judge = jax.tree.map(
        lambda x: x[None], made.reuse.prepare(end.inner.params, experience(second))
    )
    gradient = quick_jit(lambda *seen: engine.meta_gradient(*seen)[0])
    got = gradient(end, record.last, end.inner, judge)

    rows = made.reuse.order(jax.random.fold_in(KEY, 1))
    assert rows.shape == (6, 4)

    def values(params, data):
        pair = data.observation, data.next_observation
        old = by_hand.log_prob(task, by_hand.policy(task, params, data.observation, 0), data.action)
        return (*(by_hand.value(task, params, o, 0) for o in pair), old)

    def learned(raw, inner, start, rows):
        at, data = {n: by_hand.from_raw(n, x) for n, x in raw.items()}, values(start, first)

        def step(inner, index):
            return update_by_hand(task, inner, at, at, first, data, index), None

        return jax.lax.scan(step, inner, rows)[0]

    params = unpack(flat)
    raw = {n: by_hand.to_raw(n, x) for n, x in start.items()}
    learned_once = quick_jit(learned)
    begin = learned_once(raw, (params, by_hand.start_of_rule(params)), params, rows[: 6 - K])
    student = learned_once(raw, begin, params, rows[6 - K :])
    np.testing.assert_allclose(ravel_pytree(student[0])[0], end.inner.params, rtol=1e-9)

    outer, everything = settings.outer, jnp.arange(T * B)
    weight = tuning.value_weight * outer["critic"]
    validation = second, values(student[0], second), everything
    target = student
    for number in range(tuning.target_steps if tuning.method == "bmg" else 0):
        last = number == tuning.target_steps - 1
        at = outer if last or tuning.target_by == "outer" else start
        if last and tuning.target_last == "policy":
            at = outer | {"critic": 0.0, "entropy": 0.0, "barrier": 0.0}
        target = quick_jit(partial(update_by_hand, task))(target, at, start, *validation)

    @quick_jit
    def objective(raw):
        found = learned(raw, begin, params, rows[6 - K :])[0]
        if tuning.method == "mg":
            return loss_by_hand(task, found, outer | {"critic": weight}, *validation)
        parts = by_hand.distances(task, target[0], found, second)
        return parts["reverse_kl"] + weight * parts["value"]

    for name, x in raw.items():
        moved = [objective(raw | {name: x + s}) for s in (step, -step)]
        difference = (moved[0] - moved[1]) / (2 * step)
        assert abs(difference) > 1e-7, f"{name}: a vanishing derivative would test nothing"
        np.testing.assert_allclose(got[name], difference, rtol=1e-4, err_msg=name)


def test_one_update_of_all_rows_is_that_of_the_actor_critic():
    """On policy: the ratio is 1, where the surrogate has the slope of the policy gradient."""
    settings = settings_of(agent={"epochs": 1, "minibatches": 1})
    actions = ACTIONS["continuous"]
    task, flat = by_hand.task_of(settings, actions), random_params(settings, actions)
    made = [module.make(OBSERVATIONS, actions, settings) for module in (ppo, actor_critic)]
    first = nearly_on_policy(0, task, made[0].packing.unpack(flat), actions, spread=0.0)
    start = {n: jnp.asarray(h.start, float) for n, h in settings.in_use.items()}
    whole = made[0].reuse.prepare(flat, experience(first))
    batches = made[0].reuse.take(whole, made[0].reuse.order(KEY)[0]), experience(first)
    clipped, plain = (
        quick_jit(jax.grad(one.problem.inner_loss))(flat, flat, start, batch)
        for one, batch in zip(made, batches, strict=True)
    )
    np.testing.assert_allclose(clipped, plain, rtol=2e-4, atol=1e-5)


def test_each_epoch_has_every_row_once_in_an_order_of_its_own():
    rows = np.asarray(reuse.shuffled(KEY, 12, epochs=3, minibatches=4))
    assert rows.shape == (12, 3)
    epochs = rows.reshape(3, 12)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(12), (3, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_sharp_clip_is_that_of_rlax(monkeypatch):
    monkeypatch.setattr(losses, "_SHARPNESS", 1e4)
    rng = np.random.default_rng(0)
    ratio, advantage = jnp.asarray(rng.uniform(0.5, 1.5, 200)), jnp.asarray(rng.normal(size=200))

    def theirs(ratio, advantage):
        return rlax.clipped_surrogate_pg_loss(ratio, advantage, 0.2, use_stop_gradient=False)

    def ours(ratio, advantage):
        return losses.clipped_surrogate_loss(ratio, advantage, 0.2)

    for here, there in zip(
        *(jax.value_and_grad(f, (0, 1))(ratio, advantage) for f in (ours, theirs)), strict=True
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), here, there)


def test_a_wider_clip_lets_rows_near_a_corner_go_on():
    slope = jax.grad(losses.clipped_surrogate_loss)
    more = jax.grad(lambda clip, ratio: slope(jnp.array([ratio]), jnp.ones(1), clip)[0])
    assert more(0.2, 1.21) < -1.0 and abs(more(0.2, 1.0)) < 1e-2


@pytest.mark.parametrize("period", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_a_window_judges_the_last_updates_on_a_rollout_by_the_next(period):
    settings, actions = settings_of(inner_steps=4, period=period), ACTIONS["discrete"]
    agent = self_tuning.make(OBSERVATIONS, actions, settings)
    engine = parts.learner(agent.algorithm, settings)
    inner_step, meta_step = quick_jit(agent.inner_step), quick_jit(agent.meta_step)
    state, latest, seed = agent.init(jax.random.PRNGKey(1)), [], 0
    for _ in range(3):
        records = []
        for _ in range(period):
            state, record = inner_step(state, trajectory(seed, actions), jax.random.PRNGKey(seed))
            records.append(record)
            latest, seed = [*latest[-1:], record], seed + 1
        before = state.learner
        state, _ = meta_step(state, window.kept(agent.window, records))
        if len(latest) < 2:
            np.testing.assert_array_equal(*(s.values.raw["gamma"] for s in (before, state.learner)))
            continue
        student, judge = latest
        validation = jax.tree.map(lambda x: x[None], judge.batch)
        arguments = before, student.last, judge.before, validation
        expected = quick_jit(engine.meta_step)(*arguments)[0].values.raw
        for name, x in state.learner.values.raw.items():
            np.testing.assert_allclose(x, expected[name], rtol=1e-4, err_msg=name)
            assert x != before.values.raw[name], name


def cartpole(backend, num_envs=4, **agent):
    tuned = ("gamma", "lambda", "entropy")
    settings = RunSettings(
        steps=100_000,
        num_envs=num_envs,
        hyperparameters={
            n: replace(h, tuned=n in tuned) for n, h in default_hyperparameters().items()
        },
        agent=AgentSettings(algorithm="ppo", **agent),
        tuning=TuningSettings(inner_steps=2, period=2, optimizer="adam"),
    )
    task = registry.make("CartPole-v1", num_envs, backend)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    return make_runner(task, agent, settings)


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_hyperparameters_move_on_either_backend(backend):
    runner = cartpole(backend, hidden=(8,), rollout_length=8, epochs=2, minibatches=2)
    state = runner.init(jax.random.PRNGKey(0))
    state, metrics = runner.compile(state, 4)(state)
    assert int(state.agent.updates) == 4 * 2 * 4
    for name in ("gamma", "lambda", "entropy"):
        assert np.ptp(metrics.hyperparameters[name]) > 0, name


@pytest.mark.slow
def test_cartpole_is_learned():
    runner = cartpole("jax", num_envs=8, rollout_length=32)
    state = runner.init(jax.random.PRNGKey(1))
    cycles = 100_000 // runner.steps_per_cycle
    _, metrics = runner.compile(state, cycles)(state)
    end, returns = np.asarray(metrics.episode_end), np.asarray(metrics.episode_return)
    assert np.mean(returns[end][-20:]) > 300


def test_boxes_of_images_are_rows_too():
    """Rows are taken whatever the shape of an observation."""
    space = gym.spaces.Box(0, 255, (36, 36, 1), np.uint8)
    settings = settings_of()
    made = ppo.make(space, ACTIONS["discrete"], settings)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, T, B, 36, 36, 1)).astype(np.uint8)
    first = trajectory(0, ACTIONS["discrete"])._replace(
        observation=jnp.asarray(images[0]), next_observation=jnp.asarray(images[1])
    )
    whole = made.reuse.prepare(made.init(KEY), experience(first))
    rows = jnp.array([0, 5, 11])
    taken = made.reuse.take(whole, rows).trajectory
    np.testing.assert_array_equal(taken.rows.observation, images[0].reshape(-1, 36, 36, 1)[rows])
    np.testing.assert_array_equal(taken.rows.log_prob, first.log_prob[rows // B, rows % B])
