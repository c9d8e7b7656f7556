"""Hyperparameters of a user's own: what they weigh, their meta-gradients, whole runs."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from jax.flatten_util import ravel_pytree

import run
from selftuning.agents import actor_critic, head, networks, parts, scales
from selftuning.configs import extensions
from selftuning.configs.extensions import Own, extended
from selftuning.configs.hyperparameters import Definition, Hyperparameter
from selftuning.training import compilation_cache
from tests import by_hand, own_terms
from tests.own_terms import smoothness, surprise, temperature
from tests.quick_jit import quick_jit
from tests.small_studies import arguments
from tests.test_agents_finite_differences import (
    OBSERVATIONS,
    actions_of,
    experience,
    packed,
    random_params,
    settings_of,
    start_of,
)
from tests.test_agents_self_tuning import stack

ROOT = Path(__file__).parent.parent
MODULE = "tests.own_terms"
OWN = (smoothness, surprise, temperature)
WIDTH = surprise.definition.default.high - surprise.definition.default.low
STEP = 2e-5  # of a raw value, to either side
SPEC = Hyperparameter(0.5, 0.1, 1.0, True, 0.0)
PROBE = Definition("probe", "probe", "log", SPEC, ("actor_critic",))


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def own_settings(name, **tuning):
    return extended(settings_of(name, **tuning), [MODULE])


def head_loss_by_hand(task, params, frozen, hyper, made, head):
    """The loss of a head with the terms of `tests.own_terms`, from their definitions."""
    here, there = (by_hand.value(task, frozen, o, head) for o in (made[0], made.next_observation))
    bonus = hyper["surprise"] * hyper["temperature"] * (there - here) ** 2
    rewarded = made._replace(reward=made.reward + bonus)
    total = by_hand.head_loss(task, params, frozen, hyper, rewarded, head)[0]
    policies = (by_hand.policy(task, params, o, head) for o in (made[0], made.next_observation))
    return total + hyper["smoothness"] * by_hand.kl(task, *policies)


def loss_by_hand(task, params, frozen, hyper, made):
    of_head = lambda head: {n: x[head] if jnp.ndim(x) else x for n, x in hyper.items()}  # noqa: E731
    return sum(
        head_loss_by_hand(task, params, frozen, of_head(head), made, head)
        for head in range(task.heads)
    )


def outer_by_hand(task, params, frozen, hyper, made):
    return head_loss_by_hand(task, params, frozen, hyper, made, 0)


def to_raw(name, value):
    return {
        "surprise": lambda x: x / WIDTH,
        "temperature": lambda x: jnp.log(x / (1 - x)),
    }.get(name, partial(by_hand.to_raw, name))(value)


def from_raw(name, raw):
    return {
        "surprise": lambda z: z * WIDTH,
        "temperature": lambda z: 1 / (1 + jnp.exp(-z)),
    }.get(name, partial(by_hand.from_raw, name))(raw)


@pytest.mark.parametrize("name", ["gaussian", "three heads"])
def test_losses_are_the_sums_that_a_user_would_write(name, float64):
    settings = own_settings(name)
    task = by_hand.task_of(settings, actions_of(name))
    problem = actor_critic.make(OBSERVATIONS, actions_of(name), settings).problem
    params, made = random_params(name, settings), experience(5, name)
    frozen = jax.tree.map(lambda x: 0.9 * x, params)
    hyper = start_of(name, settings.in_use)

    @quick_jit
    def all_of_them(params, frozen, hyper):
        flat = ravel_pytree(params)[0], ravel_pytree(frozen)[0]
        inner = (
            problem.inner_loss(*flat, hyper, packed(made)),
            loss_by_hand(task, params, frozen, hyper, made),
        )
        outer = (
            problem.outer_loss(*flat, packed(made)),
            outer_by_hand(task, params, frozen, task.outer, made),
        )
        return inner, outer

    for got, expected in all_of_them(params, frozen, hyper):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def seen_by(kind, made, params, frozen):
    """What a term of a kind is given."""
    given = []
    spec = Own(PROBE, kind, lambda seen: given.append(seen) or 0 * seen.value)
    settings = settings_of("on policy").agent
    nets = networks.make(OBSERVATIONS, actions_of("on policy"), settings)
    one = head.make(nets, settings, {"probe": spec})
    hyper = {"gamma": 0.9, "lambda": 0.8, "policy": 1.0, "critic": 1.0}
    hyper |= {"entropy": 0.0, "barrier": 0.0}
    hyper = {n: jnp.asarray(x) for n, x in (hyper | {"probe": 0.5}).items()}
    judged = one.judged(lambda *x: nets.outputs(*x)[0], nets.value, params, frozen, packed(made))
    one.loss(judged, hyper, packed(made))
    return given[0], hyper


def test_terms_see_the_agent_on_its_rollout(float64):
    name = "on policy"
    settings = settings_of(name)
    task, params, made = (
        by_hand.task_of(settings, actions_of(name)),
        random_params(name, settings),
        experience(3, name),
    )
    frozen = jax.tree.map(lambda x: 0.9 * x, params)
    loss, hyper = seen_by("loss", made, params, frozen)
    reward, _ = seen_by("reward", made, params, frozen)
    for seen, weights in ((loss, params), (loss.frozen, frozen), (reward, frozen)):
        for policy, value, observation in (
            (seen.policy, seen.value, made.observation),
            (seen.next_policy, seen.next_value, made.next_observation),
        ):
            expected = by_hand.policy(task, weights, observation, 0)
            np.testing.assert_allclose(policy.log_prob(0), expected[..., 0], rtol=1e-12)
            expected = by_hand.value(task, weights, observation, 0)
            np.testing.assert_allclose(value, expected, rtol=1e-12)
        assert seen.trajectory is made and seen.hyperparams["probe"] == 0.5
    target, advantage = by_hand.targets(task, reward.value, reward.next_value, None, hyper, made)
    np.testing.assert_allclose(loss.target, target, rtol=1e-12)
    advantage = advantage / np.sqrt(np.var(advantage) + 1e-8)
    np.testing.assert_allclose(loss.advantage, advantage, rtol=1e-12)
    assert reward.target is reward.advantage is reward.frozen is None


@pytest.mark.parametrize(
    ("name", "method", "K"),
    [pytest.param("gaussian", "bmg", 2, marks=pytest.mark.slow), ("one head", "mg", 1)],
)
def test_meta_gradients_of_own_weights_equal_finite_differences(name, method, K, float64):
    settings = own_settings(name, method=method, inner_steps=K)
    task, start = by_hand.task_of(settings, actions_of(name)), start_of(name, settings.in_use)
    made = actor_critic.make(OBSERVATIONS, actions_of(name), settings)
    engine = parts.learner(made, settings)
    structure = random_params(name, settings)
    batches = [experience(seed, name) for seed in range(K + 1)]

    state, steps = engine.init(ravel_pytree(structure)[0], start), []
    inner_step = quick_jit(engine.inner_step)
    for batch in batches[:K]:
        state, step = inner_step(state, packed(batch))
        steps.append(step)
    validation = stack([packed(batches[K])])
    meta_gradient = quick_jit(lambda *seen: engine.meta_gradient(*seen)[0])
    got = meta_gradient(state, stack(steps), state.inner, validation)

    def trained(raw):
        hyper = {n: from_raw(n, x) for n, x in raw.items()}
        state = structure, by_hand.start_of_rule(structure)
        for batch in batches[:K]:
            state = by_hand.update(task, loss_by_hand, state, hyper, hyper, batch)
        return state

    raw = {n: to_raw(n, x) for n, x in start.items()}
    student = quick_jit(trained)(raw)
    by_rule = {n: from_raw(n, x) for n, x in raw.items()}
    target = by_hand.update(task, outer_by_hand, student, task.outer, by_rule, batches[K])[0]
    weight = settings.tuning.value_weight * task.outer["critic"]

    def objective(raw):
        params = trained(raw)[0]
        if method == "mg":
            judging = task.outer | {"critic": weight}
            return outer_by_hand(task, params, student[0], judging, batches[K])
        apart = by_hand.distances(task, target, params, batches[K])
        return apart["reverse_kl"] + weight * apart["value"]

    moved = [(own.name, i) for own in OWN for i in np.ndindex(raw[own.name].shape)]
    raws = [raw | {n: raw[n].at[i].add(s)} for n, i in moved for s in (STEP, -STEP)]
    values = quick_jit(jax.vmap(objective))(stack(raws))
    differences = (values[::2] - values[1::2]) / (2 * STEP)
    for (what, element), difference in zip(moved, differences, strict=True):
        assert abs(difference) > 1e-7, f"{what}: a vanishing derivative would test nothing"
        np.testing.assert_allclose(got[what][element], difference, rtol=1e-4, err_msg=what)


@pytest.mark.parametrize("value", [0.2, 0.5])
def test_scales_are_logarithms_log_odds_and_parts_of_the_range(value):
    bijectors = [scales.bijector(own.definition) for own in OWN]
    expected = np.log(value), value / WIDTH, np.log(value / (1 - value))
    for bijector, raw in zip(bijectors, expected, strict=True):
        np.testing.assert_allclose(bijector.inverse(value), raw, rtol=1e-6)
        np.testing.assert_allclose(bijector.forward(raw), value, rtol=1e-6)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, to which modules are added."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def term(kind, name):
    return f"""from selftuning.configs.extensions import {kind}
@{kind}(start=0.1, low=0.01, high=1.0)
def {name}(seen):
    return seen.value.sum()
"""


@pytest.mark.parametrize(
    ("names", "text", "said"),
    [
        ("none_such", None, "no module none_such is found in"),
        ("wrong_a.py", None, "'wrong_a.py' is not allowed; it must be the name of a module"),
        ("wrong_b", "import nowhere", "wrong_b cannot be imported: ModuleNotFoundError: .*line 1"),
        ("wrong_c", "x = (", "wrong_c cannot be imported: SyntaxError: .*line 1"),
        ("wrong_d", "x = 1", "wrong_d .*wrong_d.py.* adds nothing; it must hold a loss_term"),
        ("wrong_e", term("loss_term", "gamma"), "'gamma' is not allowed"),
        ("wrong_f", term("loss_term", "greedy"), "'greedy' is not allowed"),
        (f"{MODULE} wrong_g", term("loss_term", "surprise"), "wrong_g: there is another surprise"),
        ("wrong_h", term("reward_term", "bonus"), r"bonus: shape \(\) is not allowed; .* \(3, 2\)"),
        (f"{MODULE} {MODULE}", None, f"{MODULE} is there twice"),
        (f"{MODULE} --preset q_lambda", None, "left out for q_lambda, whose loss has no terms"),
        (f"{MODULE} --start temperature=1.5", None, "--start temperature: 1.5 is not allowed"),
        (f"{MODULE} --start surprise=3", None, "--start surprise: 3 is outside its bounds -2:1"),
    ],
)
def test_mistakes_cost_one_line_and_leave_nothing(names, text, said, here, monkeypatch, capsys):
    monkeypatch.setattr("selftuning.training.compilation_cache.enable", lambda: None)
    if text is not None:
        (here / f"{names.split()[-1]}.py").write_text(text)
    before = sorted(here.iterdir())
    assert run.main(["--extension", *names.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(said, error), error
    assert [path for path in here.iterdir() if path.name != "__pycache__"] == before


def test_a_jax_that_an_extension_has_imported_hears_of_the_cache(monkeypatch):
    variable = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    monkeypatch.setenv(variable, "0.75")
    try:
        compilation_cache.tell_jax()
        assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.75
    finally:
        jax.config.update(variable.lower(), before)


def python_run(directory, *arguments):
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", *map(str, arguments)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_run_tunes_own_weights_and_its_settings_alone_repeat_it(here, monkeypatch, capsys):
    monkeypatch.setattr("selftuning.training.compilation_cache.enable", lambda: None)
    (here / "my_terms.py").write_text(Path(own_terms.__file__).read_text())
    flags = "--env CartPole --meta mg --steps 480 --hidden 4 --rollout-length 4 --eval-episodes 2"
    python_run(here, *flags.split(), "--extension", "my_terms", "--out", "one")
    assert run.main(["--config", "one/config.yaml", "--out", "two"]) == 0
    one, two = (json.loads((here / x / "summary.json").read_text()) for x in ("one", "two"))
    times = {"wall_seconds", "compile_seconds", "steps_per_second"}
    assert {k: x for k, x in one.items() if k not in times} == {
        k: x for k, x in two.items() if k not in times
    }
    for own in OWN:
        path = one["hyperparameters"][own.name]
        assert path["tuned"] and path["start"] == own.definition.default.start != path["end"]
    capsys.readouterr()
    assert run.main(["eval", "one"]) == 0
    assert f"{one['eval_return_mean']:.1f} " in capsys.readouterr().out


@pytest.mark.slow
def test_a_study_starts_and_tunes_own_weights_in_its_workers(tmp_path):
    changes = ["--extension", MODULE, "--start", "smoothness=0.001,0.1", "--methods", "bmg,-outer"]
    changes += ["--seeds", "1", "--steps", "1000", "--evaluations", "0", "--points", "4"]
    python_run(ROOT, *arguments(*changes, "--workers", "1", out=tmp_path / "study"))
    table = pl.read_parquet(tmp_path / "study" / "results.parquet")
    names = set(table.columns) - {own.name for own in OWN} - {"start_smoothness"}
    taken = {*extensions.TAKEN, *(x for x in names if x.startswith("diagnostics/"))}
    assert names <= taken, "an extension could add another of these"
    for own in OWN:
        assert table[own.name].n_unique() == len(table)
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    (found,) = (x for x in summary["convergence"] if x["hyperparameter"] == "smoothness")
    assert found["starts"] == [0.001, 0.1]
    ends = table.filter(pl.col("point") == table["point"].max())["smoothness"]
    spread = np.ptp(np.log(ends.to_numpy())) / np.log(100)
    np.testing.assert_allclose(found["spread_left"], spread, rtol=1e-4)
