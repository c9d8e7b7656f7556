"""Convex problems with known minimisers and smoothness constants.

A problem is a pytree: its loss is a static function of a point and of the problem's data,
so problems of one kind can be stacked and solved in one `vmap`. Constructors make their
numbers with NumPy in float64; they become float32 arrays unless 64-bit types are enabled
(`with jax.enable_x64(True)`).

Losses are written so that the gap is computed without cancellation where that is possible:
as functions of the distance from the minimiser, with optimal value 0.

Every problem has a stochastic version, `sample_loss`, with the same expected loss and gradient.
Finite sums are sampled by rows; the others get Gaussian noise in the gradient, by default
a tenth of the gradient's norm at the start. What remains of the noise at the minimiser differs:
all of it where it is added, some for logistic regression, none for `pseudo_huber`, all of whose
rows are minimised at x*.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

PyTree = Any
Part = Callable[[jax.Array, PyTree, jax.Array], jax.Array]
Array = npt.NDArray[np.float64]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConvexProblem:
    """min_x f(x), convex and smooth, x in R^n.

    Attributes:
      function: (x, data) -> scalar; static.
      data: what `function` needs besides x.
      minimiser: x*, [n].
      optimal_value: f(x*), a scalar.
      smoothness: L, a Lipschitz constant of the gradient, a scalar.
      start: x_0, [n].
      part: (x, data, rows [b]) -> scalar, the loss on these rows, scaled so that its mean over
        single rows is f; static. None for problems that are no finite sums. The first array
        of `data` has one row for each term of the sum.
      batch_size: b, rows in a sample; static. Without meaning if `part` is None.
      noise: standard deviation of each coordinate of the gradient of a sample, a scalar; only
        if `part` is None.
    """

    function: Callable[[jax.Array, PyTree], jax.Array] = dataclasses.field(
        metadata={"static": True}
    )
    data: PyTree
    minimiser: jax.Array
    optimal_value: jax.Array
    smoothness: jax.Array
    start: jax.Array
    part: Part | None = dataclasses.field(default=None, metadata={"static": True})
    batch_size: int = dataclasses.field(default=1, metadata={"static": True})
    noise: jax.Array | float = 0.0

    def loss(self, x: jax.Array) -> jax.Array:
        """f(x)."""
        return self.function(x, self.data)

    def gap(self, x: jax.Array) -> jax.Array:
        """f(x) - f(x*)."""
        return self.loss(x) - self.optimal_value

    def sample_loss(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """A random loss with mean f(x), whose gradient has mean grad f(x).

        Finite sums: `part` on `batch_size` rows drawn with replacement. Others:
        f(x) + noise <xi, x - x*> with xi standard Gaussian. A key stands for one function: with the
        same key, samples at two points have the same rows, or the same xi.
        """
        if self.part is None:
            direction = jax.random.normal(key, x.shape, x.dtype)
            return self.loss(x) + self.noise * jnp.vdot(direction, x - self.minimiser)
        count = jax.tree.leaves(self.data)[0].shape[0]
        return self.part(x, self.data, jax.random.randint(key, (self.batch_size,), 0, count))

    def square_distance(self) -> jax.Array:
        """Squared distance of the start from the minimiser."""
        return jnp.sum(jnp.square(self.start - self.minimiser))


def _problem(
    function,
    data,
    minimiser,
    optimal_value,
    smoothness,
    start,
    *,
    noise=0.0,
    part=None,
    batch_size=1,
) -> ConvexProblem:
    arrays = (data, minimiser, optimal_value, smoothness, start, noise)
    as_float = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), arrays)
    *values, noise = as_float
    problem = ConvexProblem(function, *values)
    return dataclasses.replace(problem, part=part, batch_size=batch_size, noise=noise)


def _tenth(gradient):
    """Noise a coordinate whose root mean square norm is a tenth of this gradient's norm."""
    return 0.1 * jnp.linalg.norm(gradient) / np.sqrt(len(gradient))


# Quadratics.


def _quadratic(x, data):
    matrix, minimiser = data
    error = x - minimiser
    return 0.5 * jnp.vdot(error, matrix @ error)


def quadratic(spectrum: npt.ArrayLike, minimiser: npt.ArrayLike, seed: int) -> ConvexProblem:
    """f(x) = (x - x*)^T H (x - x*) / 2 with these eigenvalues of H >= 0, in a Haar basis.

    Starts at 0.
    """
    spectrum, minimiser = np.asarray(spectrum, np.float64), np.asarray(minimiser, np.float64)
    basis = _haar(len(spectrum), np.random.default_rng(seed))
    matrix = basis.T @ (spectrum[:, None] * basis)
    return _problem(
        _quadratic,
        (matrix, minimiser),
        minimiser,
        0.0,
        spectrum.max(),
        np.zeros_like(minimiser),
        noise=_tenth(matrix @ minimiser),
    )


def plane_quadratic(seed: int) -> ConvexProblem:
    """f(x) = x^T A x on the plane, A = U^T diag(1, 4) U with a Haar U, from (4, 4).

    The quadratic of Optimistic Meta-Gradients (arXiv 2301.03236). Its Hessian is 2 A.
    """
    problem = quadratic([2.0, 8.0], [0.0, 0.0], seed)
    start = jnp.full_like(problem.start, 4.0)
    noise = _tenth(problem.data[0] @ start)
    return dataclasses.replace(problem, start=start, noise=noise)


def _chain(x, minimiser):
    error = x - minimiser
    ends = jnp.square(error[0]) + jnp.square(error[-1])
    return 0.5 * (ends + jnp.sum(jnp.square(jnp.diff(error))))


def nesterov_worst_case(horizon: int) -> ConvexProblem:
    """The quadratic on which no first-order method beats order 1/T^2 within T steps.

        f(x) = (1/2) x^T A x - x_1,  A = tridiag(-1, 2, -1) of size n = 2 T + 1,  L = 4

    from 0 (Nesterov, Introductory Lectures on Convex Optimization, 2.1.2), up to a
    constant. The worst case holds for this horizon T alone: rebuild it for each.
    """
    size = 2 * horizon + 1
    minimiser = 1.0 - np.arange(1, size + 1) / (size + 1)
    first = np.eye(1, size)[0]  # minus the gradient at 0
    return _problem(_chain, minimiser, minimiser, 0.0, 4.0, np.zeros(size), noise=_tenth(first))


# Pseudo-Huber regression.


def _pseudo_huber(x, data):
    rows, labels, width = data
    square = jnp.square(rows @ x - labels)
    # sqrt(d^2 + r^2) - d, without the cancellation at small r.
    return jnp.sum(square / (jnp.sqrt(width**2 + square) + width))


def _pseudo_huber_part(x, data, rows):
    matrix, labels, width = data
    return len(matrix) / len(rows) * _pseudo_huber(x, (matrix[rows], labels[rows], width))


def pseudo_huber(
    seed: int,
    rows: int = 60,
    columns: int = 30,
    width: float = 0.01,
    scaled: str = "rows",
    batch_size: int = 6,
) -> ConvexProblem:
    """f(x) = sum_i sqrt(d^2 + (b_i^T x - y_i)^2) - d, y = B x*, so that f(x*) = 0.

    B is Gaussian with its rows (or columns) scaled by logspace(0, -2), x* is Gaussian, and
    the start is 0. Almost linear far from x* and quadratic near it: unlike a quadratic,
    it separates optimistic from other methods. L = ||B||^2 / d.

    Raises:
      ValueError: if `scaled` is neither "rows" nor "columns".
    """
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, columns))
    if scaled == "rows":
        matrix *= np.logspace(0, -2, rows)[:, None]
    elif scaled == "columns":
        matrix *= np.logspace(0, -2, columns)
    else:
        raise ValueError(f"scaled = {scaled!r}: 'rows' or 'columns'")
    minimiser = rng.normal(size=columns)
    smoothness = np.linalg.norm(matrix, 2) ** 2 / width
    data = (matrix, matrix @ minimiser, width)
    return _problem(
        _pseudo_huber,
        data,
        minimiser,
        0.0,
        smoothness,
        np.zeros(columns),
        part=_pseudo_huber_part,
        batch_size=batch_size,
    )


# Log-sum-exp.


def _log_sum_exp(x, data):
    matrix, log_weights, minimiser, temperature = data
    return temperature * jax.nn.logsumexp(matrix @ (x - minimiser) / temperature + log_weights)


def log_sum_exp(
    seed: int, rows: int = 50, columns: int = 20, temperature: float = 0.1
) -> ConvexProblem:
    """f(x) = s log sum_i p_i exp(a_i^T (x - x*) / s), a smooth maximum of affine functions.

    The probabilities p are drawn at random and the rows a_i centred so that
    sum_i p_i a_i = 0: the gradient at x* vanishes, and f(x*) = 0. The Hessian is
    A^T (diag(q) - q q^T) A / s with some probabilities q, so L = ||A||^2 / (2 s).
    """
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(rows))
    matrix = rng.normal(size=(rows, columns))
    matrix -= probabilities @ matrix
    minimiser = rng.normal(size=columns)
    smoothness = np.linalg.norm(matrix, 2) ** 2 / (2 * temperature)
    data = (matrix, np.log(probabilities), minimiser, temperature)
    scores = np.log(probabilities) - matrix @ minimiser / temperature
    at_start = np.exp(scores - scores.max())
    gradient = at_start @ matrix / at_start.sum()
    return _problem(
        _log_sum_exp,
        data,
        minimiser,
        0.0,
        smoothness,
        np.zeros(columns),
        noise=_tenth(gradient),
    )


# Logistic regression.


def _logistic(x, data):
    features, signs, ridge = data
    margins = signs * (features @ x)
    return jnp.mean(jax.nn.softplus(-margins)) + 0.5 * ridge * jnp.vdot(x, x)


def _logistic_part(x, data, rows):
    features, signs, ridge = data
    return _logistic(x, (features[rows], signs[rows], ridge))


def logistic(
    features: npt.ArrayLike, labels: npt.ArrayLike, ridge: float = 1e-3, batch_size: int = 8
) -> ConvexProblem:
    """f(x) = mean_i log(1 + exp(-y_i a_i^T x)) + ridge ||x||^2 / 2, from 0.

    The minimiser is found by damped Newton steps in float64. L = ||A||^2 / (4 m) + ridge.

    Args:
      features: A, [m, n].
      labels: 0 or 1, [m]; y = 2 label - 1.
      ridge: > 0, or separable classes would have no minimiser.
      batch_size: rows in a sample.

    Raises:
      ValueError: if `ridge` is not positive.
    """
    if not ridge > 0:
        raise ValueError(f"ridge = {ridge}: must be positive")
    features = np.asarray(features, np.float64)
    signs = 2.0 * np.asarray(labels, np.float64) - 1.0
    count, size = features.shape

    def value(x: Array) -> float:
        fit = np.mean(np.logaddexp(0.0, -signs * (features @ x)))
        return float(fit + 0.5 * ridge * (x @ x))

    minimiser = np.zeros(size)
    for _ in range(200):
        wrong = 0.5 * (1.0 - np.tanh(0.5 * signs * (features @ minimiser)))
        gradient = ridge * minimiser - features.T @ (signs * wrong) / count
        curvature = features.T @ ((wrong * (1 - wrong))[:, None] * features) / count
        direction = np.linalg.solve(curvature + ridge * np.eye(size), gradient)
        step = 1.0
        while step > 1e-6 and value(minimiser - step * direction) > value(minimiser):
            step /= 2
        minimiser = minimiser - step * direction
        if np.linalg.norm(gradient) < 1e-14:
            break
    smoothness = np.linalg.norm(features, 2) ** 2 / (4 * count) + ridge
    data = (features, signs, ridge)
    return _problem(
        _logistic,
        data,
        minimiser,
        value(minimiser),
        smoothness,
        np.zeros(size),
        part=_logistic_part,
        batch_size=batch_size,
    )


def breast_cancer(ridge: float = 1e-3, batch_size: int = 32) -> ConvexProblem:
    """Logistic regression on the breast cancer data that ships with scikit-learn.

    569 tumours, 30 standardised features and an intercept.

    Raises:
      ModuleNotFoundError: if scikit-learn is not installed.
    """
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ModuleNotFoundError as error:
        message = "the breast cancer data come with scikit-learn: pip install scikit-learn"
        raise ModuleNotFoundError(message) from error
    features, labels = datasets.load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    return logistic(features, labels, ridge, batch_size)


def random_logistic(seed: int, count: int = 200, size: int = 20) -> ConvexProblem:
    """Logistic regression on noisy labels of a random linear classifier."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, size))
    labels = features @ rng.normal(size=size) + rng.logistic(size=count) > 0
    return logistic(features, labels)


def stack(problems: list[ConvexProblem]) -> ConvexProblem:
    """Problems of one kind and shape as one, with a leading axis for `jax.vmap`."""
    return jax.tree.map(lambda *x: jnp.stack(x), *problems)


def _haar(size: int, rng: np.random.Generator) -> Array:
    """An orthogonal matrix, uniformly distributed."""
    q, r = np.linalg.qr(rng.normal(size=(size, size)))
    return q * np.sign(np.diag(r))
