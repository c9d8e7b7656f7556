"""Learning rates learned online on handwritten digits: `python -m selftuning.benchmarks.digits`.

A small network on real data and no convexity, in the place of the ImageNet figure of Optimistic
Meta-Gradients (arXiv 2301.03236): gradient descent, its element-wise learning rate learned by
plain meta-gradients, by optimistic ones, and by bootstrapped targets. Every method has its
(initial) learning rate swept, and its meta learning rate. Both are chosen on `TUNING` seeds,
everything that is reported is measured on `SEEDS`.

A step trains on one minibatch. Its meta-gradient is judged on the next minibatch, which is
then trained on: all methods see the same samples in the same order, and none is spent on tuning.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from selftuning.benchmarks import digits_picture, record
from selftuning.benchmarks.speed import turns
from selftuning.metagrad import constraints, core, hints, matching, online, targets, update_rules
from selftuning.metagrad import hyperparams as hp
from selftuning.studies import statistics

SEEDS, TUNING = range(10), range(1000, 1006)
STEPS, BATCH = 660, 64  # 30 epochs
HIGHEST = 10.0  # learning rate; and loss of a minibatch, as which a diverged one counts
RATES = [2.0**k for k in (-6, -4, -2, -1, -0.5, 0, 0.5, 1)]
META_RATES = [2.0**k for k in (-3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5)]
PEER_RATES = [2.0**k for k in (-10, -8, -7, -6, -5, -4, -3, -2)]
# The question of noise: samples a step, of so many; shorter runs and other grids.
BATCHES = ((16, 1437), (128, 1437), (128, 128))
SHORT = 330
NOISE_RATES, NOISE_META_RATES = RATES[3:7], [*META_RATES[1:], 2.0]
NOISE_METHODS = (
    "standard",
    "optimistic, last gradient",
    "optimistic, average",
    "bootstrapped, L=3",
)


class Data(NamedTuple):
    """Images [N, 64] in [0, 1] and labels [N], to train on and to test on."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


class Method(NamedTuple):
    """A contestant.

    Attributes:
      gradients: of the network on a minibatch, each step.
      learner: meta learning rate -> learner of the learning rates; None leaves them.
      objective: of the meta-gradient.
      direction: preconditioner of the gradients; that of gradient descent by default.
      rates: initial learning rates to sweep.
    """

    gradients: int
    learner: Callable[[float | jax.Array], optax.GradientTransformation] | None = None
    objective: targets.Objective = targets.meta_gradient()
    direction: optax.GradientTransformation = optax.identity()
    rates: Sequence[float] = tuple(RATES)


def _learner(predictor: optax.GradientTransformation | None = None):
    """AO-FTRL with AdaGrad's regulariser, whose step sizes need no scale of the gradients."""

    def make(meta_rate):
        learner = online.adaptive_ao_ftrl(meta_rate, constraint=constraints.box(0.0, HIGHEST))
        return learner if predictor is None else hints.with_hint(learner, predictor)

    return make


METHODS = {
    "SGD": Method(1),
    "standard": Method(2, _learner()),
    "optimistic, last gradient": Method(2, _learner(hints.last_gradient())),
    "optimistic, average": Method(2, _learner(hints.exponential_average(0.9))),
    "bootstrapped, L=1": Method(2, _learner(), targets.bootstrapped(1)),
    "bootstrapped, L=3": Method(4, _learner(), targets.bootstrapped(3)),
    "AdaGrad": Method(1, direction=optax.scale_by_rss(0.0), rates=PEER_RATES),
    "Adam": Method(1, direction=optax.scale_by_adam(), rates=PEER_RATES),
}
PREDICTORS = {
    "last gradient": hints.last_gradient(),
    "average": hints.exponential_average(0.9),
}


class Outcome(NamedTuple):
    """What a run did; sweeps put seeds, rates and meta rates [S, R, M] in front.

    Attributes:
      losses: of each minibatch before it was trained on, [T]; capped at `HIGHEST`.
      final: loss on all of the training set at the end; capped.
      accuracy: on the test set at the end.
      rate: mean learning rate at the end.
      meta_gradients: [T, number of parameters], or ().
    """

    losses: Any
    final: Any
    accuracy: Any
    rate: Any
    meta_gradients: Any = ()


@functools.cache
def load() -> Data:
    """1,437 and 360 of scikit-learn's 1,797 digits, 8x8 pixels; the same split always."""
    datasets: Any = importlib.import_module("sklearn.datasets")  # an extra, without types
    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = (images[order] / 16.0).astype(np.float32), labels[order].astype(np.int32)
    return Data((images[:1437], labels[:1437]), (images[1437:], labels[1437:]))


NETWORK = hk.without_apply_rng(hk.transform(lambda images: hk.nets.MLP([64, 10])(images)))


def loss(params: hk.Params, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Mean cross-entropy of a minibatch, nats."""
    images, labels = batch
    logits = NETWORK.apply(params, images)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def minibatches(key: jax.Array, count: int, steps: int, size: int) -> jax.Array:
    """Rows [steps, size] of `count`: epochs in new orders, the remainder of each left out."""
    a_epoch = count // size
    keys = jax.random.split(key, -(-steps // a_epoch))
    orders = jax.vmap(lambda k: jax.random.permutation(k, count)[: a_epoch * size])(keys)
    return orders.reshape(-1, size)[:steps]


def engine(method: Method, meta_rate: float | jax.Array) -> core.MetaLearner:
    """`metagrad.core` with a learning rate for each parameter."""
    problem = targets.Problem(
        inner_loss=lambda params, frozen, hyperparams, batch: loss(params, batch),
        outer_loss=lambda params, frozen, batch: loss(params, batch),
        match=lambda target, params, hyperparams, batch: matching.squared(target, params),
    )
    tuned = method.learner is not None
    return core.meta_learner(
        problem,
        update_rules.preconditioned(method.direction),
        hp.scalars({"learning_rate": hp.Hyperparameter(tuned=tuned)}),
        method.objective,
        method.learner(meta_rate) if method.learner else optax.identity(),
    )


def train(
    method: Method,
    key: jax.Array,
    rate: float | jax.Array,
    meta_rate: float | jax.Array,
    *,
    steps: int = STEPS,
    batch_size: int = BATCH,
    samples: int = 1437,
    keep: bool = False,
) -> Outcome:
    """One run; vmap over all but the method.

    Args:
      method: the contestant.
      key: of the first parameters and of the order of the samples, alike for all methods.
      rate: initial learning rate of every parameter.
      meta_rate: of the learner of learning rates.
      steps: T.
      batch_size: samples a step.
      samples: to train on; if no more than `batch_size`, gradients are without noise.
      keep: whether the outcome has meta-gradients.
    """
    training, test = jax.tree.map(jnp.asarray, load())
    images, labels = (x[:samples] for x in training)
    init_key, data_key = jax.random.split(key)
    params = NETWORK.init(init_key, images[:1])
    rows = minibatches(data_key, len(images), steps + 1, batch_size)
    learner = engine(method, meta_rate)

    def step(state, rows):
        now, following = ((images[i], labels[i]) for i in rows)
        before = loss(state.inner.params, now)
        state, done = learner.inner_step(state, now)
        if method.learner is None:
            return state, (before, ())
        done, validation = jax.tree.map(lambda x: x[None], (done, following))
        state, info = learner.meta_step(state, done, state.inner, validation)
        return state, (before, _flat(info["meta_gradient/learning_rate"]) if keep else ())

    start = {"learning_rate": jax.tree.map(lambda x: jnp.full_like(x, rate), params)}
    state = learner.init(params, start)
    state, (losses, meta_gradients) = jax.lax.scan(step, state, (rows[:-1], rows[1:]))
    params = state.inner.params
    right = jnp.argmax(NETWORK.apply(params, test[0]), -1) == test[1]
    return Outcome(
        _capped(losses),
        _capped(loss(params, (images, labels))),
        jnp.mean(right),
        jnp.mean(_flat(learner.hyperparams(state))),
        meta_gradients,
    )


def sweep(
    method: Method,
    seeds: Sequence[int],
    rates: Sequence[float],
    meta_rates: Sequence[float],
    **keywords: Any,
) -> Outcome:
    """All seeds, learning rates and meta learning rates as one program; leaves [S, R, M, ...]."""

    def one(key, rate, meta_rate):
        return train(method, key, rate, meta_rate, **keywords)

    many = jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None))
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in seeds])
    result = jax.jit(jax.vmap(many, (0, None, None)))(
        keys, jnp.asarray(rates), jnp.asarray(meta_rates)
    )
    return jax.tree.map(np.asarray, result)


def tune(
    method: Method,
    rates: Sequence[float],
    meta_rates: Sequence[float],
    seeds: Sequence[int] = TUNING,
    **keywords: Any,
) -> tuple[float, float, np.ndarray]:
    """Initial and meta learning rate of the lowest mean training loss; and all losses [R, M]."""
    if method.learner is None:
        meta_rates = [0.0]
    losses = sweep(method, seeds, rates, meta_rates, **keywords).losses.mean((0, 3))
    best, meta = np.unravel_index(losses.argmin(), losses.shape)
    return float(rates[best]), float(meta_rates[meta]), losses


def seconds(chosen: dict[str, tuple[float, float]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of one step of one run: ten runs side by side, the methods in turn."""
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in SEEDS])

    def prepare(name: str) -> tuple[turns.Turn, int]:
        rate, meta_rate = chosen[name]
        run = functools.partial(train, METHODS[name], rate=rate, meta_rate=meta_rate)
        program = jax.jit(jax.vmap(run)).lower(keys).compile()
        return lambda: jax.block_until_ready(program(keys)), STEPS * len(keys)

    contestants = [turns.Contestant("", n, functools.partial(prepare, n)) for n in chosen]
    results = turns.measure(contestants, repeats)
    return {name: 1 / turns.rate(result) for name, result in zip(chosen, results, strict=True)}


def contest() -> dict[str, Any]:
    """Every method at its chosen rates, and at the others."""
    rows: dict[str, Any] = {}
    chosen, cumulative = {}, {}
    for name, method in METHODS.items():
        rate, meta_rate, _ = tune(method, method.rates, META_RATES)
        chosen[name] = rate, meta_rate
        outcome = sweep(method, SEEDS, method.rates, [meta_rate])
        losses = outcome.losses[:, :, 0]  # [S, R, T]
        by_rate = losses.mean(2)
        best = list(method.rates).index(rate)
        cumulative[name] = by_rate[:, best]
        epochs = losses[:, best].reshape(len(SEEDS), -1, 22).mean(2)
        rows[name] = {
            "gradients": method.gradients,
            "rate": rate,
            "meta_rate": meta_rate,
            "cumulative": _interval(cumulative[name]),
            "final": _interval(outcome.final[:, best, 0]),
            "accuracy": _interval(outcome.accuracy[:, best, 0]),
            "rate_at_end": float(outcome.rate[:, best, 0].mean()),
            "rates": list(method.rates),
            "cumulative_by_rate": [_interval(x) for x in by_rate.T],
            "final_by_rate": [_interval(x) for x in outcome.final[:, :, 0].T],
            "accuracy_by_rate": [_interval(x) for x in outcome.accuracy[:, :, 0].T],
            "curve": [_interval(x) for x in epochs.T],
        }
        print(name, json.dumps({k: v for k, v in rows[name].items() if k != "curve"}), flush=True)
    for name, took in seconds(chosen).items():
        rows[name]["microseconds"] = 1e6 * took
    for name, row in rows.items():
        for other in ("SGD", "standard"):
            row[f"against {other}"] = _percent(cumulative[name], cumulative[other])
    return rows


def noise() -> dict[str, Any]:
    """What the hints are worth at each batch size, and what optimism then gains.

    The hints are judged on one path, that of the standard method at its rates. Medians over seeds:
    the best meta learning rates are so near to unstable ones that single runs stumble.
    """
    rows = {}
    for size, samples in BATCHES:
        setting: dict[str, Any] = {"steps": SHORT, "batch_size": size, "samples": samples}
        grids = NOISE_RATES, NOISE_META_RATES
        tuned = {name: tune(METHODS[name], *grids, **setting) for name in NOISE_METHODS}
        outcomes = {
            name: sweep(METHODS[name], SEEDS, [r], [m], **setting, keep=name == "standard")
            for name, (r, m, _) in tuned.items()
        }
        losses = {name: x.losses.mean((1, 2, 3)) for name, x in outcomes.items()}
        gradients = outcomes["standard"].meta_gradients[:, 0, 0]  # [S, T, P]
        rows[f"{size} of {samples}"] = {
            "chosen": {name: (r, m) for name, (r, m, _) in tuned.items()},
            "by_meta_rate": {name: grid[0].tolist() for name, (_, _, grid) in tuned.items()},
            "losses": {name: x.tolist() for name, x in losses.items()},
            "standard": _median_interval(losses["standard"]),
            "against standard": {
                name: _median_interval(100 * (losses[name] / losses["standard"] - 1))
                for name in NOISE_METHODS[1:]
            },
            "surprise": {
                name: np.mean([surprise(predictor, g) for g in gradients], 0).tolist()
                for name, predictor in PREDICTORS.items()
            },
        }
        print(size, samples, json.dumps(rows[f"{size} of {samples}"]), flush=True)
    return rows


@functools.partial(jax.jit, static_argnums=0)
def surprise(
    predictor: optax.GradientTransformation, gradients: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """How far hints are from gradients [T, P], in units of having no hint.

    Returns:
      The median over steps of ||g_t - hint_t||^2 / ||g_t||^2; and the median over parameters of
      the same ratio of sums over steps, whose root is what AdaGrad's regulariser makes of it.
    """

    def step(carry, gradient):
        state, hint = carry
        error = jnp.square(gradient - hint)
        hint, state = predictor.update(gradient, state)
        return (state, hint), error

    zero = jnp.zeros_like(gradients[0])
    _, errors = jax.lax.scan(step, (predictor.init(zero), zero), gradients)
    squares = jnp.square(gradients)
    # Parameters of pixels that are never inked have no gradient at all.
    by_step, by_parameter = (errors.sum(axis) / squares.sum(axis) for axis in (1, 0))
    return jnp.nanmedian(by_step), jnp.nanmedian(by_parameter)


def main() -> None:
    """Measures, writes benchmarks/results/digits.json and draws docs/images/digits.png."""
    result: dict[str, Any] = {"seeds": len(SEEDS), "steps": STEPS, "batch": BATCH}
    result |= {"rows": contest(), "short": SHORT, "noise": noise()}
    result |= {"noise_rates": NOISE_RATES, "noise_meta_rates": NOISE_META_RATES}
    record.write("digits", result)
    digits_picture.draw(result, record.DOCS / "images" / "digits.png")


def _flat(tree):
    return jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])


def _capped(losses):
    return jnp.where(jnp.isfinite(losses), jnp.minimum(losses, HIGHEST), HIGHEST)


def _interval(values: np.ndarray) -> list[float]:
    return [float(x) for x in statistics.estimate([values], statistics.mean)]


def _median_interval(values: np.ndarray) -> list[float]:
    return [float(x) for x in statistics.estimate([values], np.median)]


def _percent(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """Difference in percent, with the interval of pairs: seed by seed on the same samples."""
    return _interval(100 * (ours - theirs) / theirs.mean())


if __name__ == "__main__":
    main()
