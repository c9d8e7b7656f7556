"""The cost of a step of an online learner: `python -m selftuning.benchmarks.online_learners`.

A step is the update and `optax.apply_updates` on a million float32 parameters, compiled, with
the parameters and the state donated, as a training loop has it: as one vector, as the tensors
of a small network, and as one vector in a scan of ten steps. The contestants take turns; what
counts is the median of the ratios to Adam in the same turn.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from selftuning.benchmarks.record import write
from selftuning.benchmarks.speed import turns
from selftuning.metagrad import averaging, constraints, hints, online

SIZE = 1_000_000
REPEATS = 41
STEPS = 10  # in each turn
RATE = 1e-3
BOX = constraints.box(-1.0, 1.0)
LAST = hints.last_gradient()

LEARNERS: dict[str, optax.GradientTransformation] = {
    "adam": optax.adam(RATE),
    "sgd": optax.sgd(RATE),
    "ogd": online.ogd(RATE),
    "ftrl": online.ftrl(RATE),
    "ao_ftrl, last_gradient": hints.with_hint(online.ao_ftrl(RATE), LAST),
    "ao_ftrl, exponential_average": hints.with_hint(
        online.ao_ftrl(RATE), hints.exponential_average()
    ),
    "ao_ftrl in a box": online.ao_ftrl(RATE, constraint=BOX),
    "ao_ftrl in a ball": online.ao_ftrl(RATE, constraint=constraints.ball(1.0)),
    "adaptive_ftrl": online.adaptive_ftrl(RATE),
    "adaptive_ftrl in a box": online.adaptive_ftrl(RATE, constraint=BOX),
    "adaptive_ao_ftrl, last_gradient": hints.with_hint(online.adaptive_ao_ftrl(RATE), LAST),
    "adaptive_ao_ftrl, exponential_average": hints.with_hint(
        online.adaptive_ao_ftrl(RATE), hints.exponential_average()
    ),
    "omega": online.omega(RATE),
    "omega_m": online.omega_m(RATE),
    "averaged(omega)": averaging.averaged(online.omega(RATE)),
}


def vector() -> dict[str, tuple[int, ...]]:
    """All parameters in one array."""
    return {"w": (SIZE,)}


def tensors() -> dict[str, tuple[int, ...]]:
    """Ten layers, a million weights and biases in twenty tensors."""
    layers = {f"w{i}": (316, 315) for i in range(10)}
    return {**layers, **{f"b{i}": (460,) for i in range(10)}}


def draw(shapes: dict[str, tuple[int, ...]], seed: int, lead: tuple[int, ...] = ()) -> Any:
    """Normal numbers of these shapes, after the dimensions `lead`."""
    keys = jax.random.split(jax.random.PRNGKey(seed), len(shapes))
    pairs = zip(shapes.items(), keys, strict=True)
    return {name: jax.random.normal(key, lead + shape) for (name, shape), key in pairs}


def prepared(
    learner: optax.GradientTransformation, params: Any, gradients: Any, scan: bool
) -> tuple[turns.Turn, int]:
    """Compiles a learner's steps -> (turn, steps of a turn)."""
    learner = optax.with_extra_args_support(learner)

    def step(carry, gradient):
        params, state = carry
        updates, state = learner.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    def steps(carry, gradients):
        return jax.lax.scan(lambda c, g: (step(c, g), None), carry, gradients)[0]

    function, arguments = (steps, [gradients]) if scan else (step, gradients)
    # A copy, since a turn gives its buffers away, and each can be given only once.
    carry = jax.tree.map(jnp.copy, (params, learner.init(params)))
    compiled = jax.jit(function, donate_argnums=0).lower(carry, arguments[0]).compile()

    def turn():
        nonlocal carry
        for argument in arguments:
            carry = compiled(carry, argument)
        jax.block_until_ready(carry)

    return turn, STEPS


def measure(
    shapes: dict[str, tuple[int, ...]], scan: bool = False, repeats: int = REPEATS
) -> dict[str, dict[str, float]]:
    """Each learner's milliseconds a step and its ratio to Adam's, medians."""
    params, numbers = draw(shapes, 0), range(1, STEPS + 1)
    gradients = draw(shapes, 1, (STEPS,)) if scan else [draw(shapes, i) for i in numbers]
    contestants = [
        turns.Contestant("", name, partial(prepared, learner, params, gradients, scan))
        for name, learner in LEARNERS.items()
    ]
    results = dict(zip(LEARNERS, turns.measure(contestants, repeats), strict=True))
    return {
        name: {
            "milliseconds": 1e3 / turns.rate(result),
            "of_adam": turns.ratio(results["adam"], result),
        }
        for name, result in results.items()
    }


def main() -> None:
    """Measures and writes the numbers."""
    parts = {
        "vector": measure(vector()),
        "tensors": measure(tensors()),
        "scan": measure(vector(), scan=True),
    }
    rows = {name: {part: table[name] for part, table in parts.items()} for name in LEARNERS}
    for name, row in rows.items():
        print(f"{name:37}", *(f"{part} {x['of_adam']:.2f}" for part, x in row.items()))
    result = {
        "parameters": SIZE,
        "repeats": REPEATS,
        "steps": STEPS,
        "rows": rows,
    }
    write("online-learners", result)


if __name__ == "__main__":
    main()
