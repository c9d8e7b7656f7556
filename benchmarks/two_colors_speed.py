"""How quick tuning is on Two Colors, and of what: `python -m benchmarks.two_colors_speed`.

Ten seeds in one program, after compilation: environment steps a second of all of them, and how
much of the speed of matrix products in the same process that is. The contestants take turns;
numbers are medians over the turns.

Of arithmetic only the products of weights are counted, a multiplication and an addition for each
weight and observation, and only what no compiler could leave out: acting, gradients of inner
and outer loss, values to bootstrap from, matching, and the way back through the K updates.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from operator import truediv
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.record import write
from configs import presets
from configs.settings import RunSettings
from studies import population
from training import host_devices
from training.runner import graph_cycle

SEEDS = 10
STEPS = 4608  # of each seed in a turn: whole cycles of either period
REPEATS = 9
SIZE = 1024  # of the matrices whose product is the peak

# Tuned with these, a loss has to be known with its values; the entropy weight needs none.
_NEED_VALUES = {"gamma", "lambda", "policy", "critic"}


def contestants() -> dict[str, RunSettings]:
    """By name: without tuning, mg, bmg with a long target in two matchings, and the preset."""
    preset = presets.for_env("TwoColors-v0")

    def tuned(**changes: Any) -> RunSettings:
        return replace(preset, tuning=replace(preset.tuning, **changes))

    tuning = preset.tuning
    long = tuned(method="bmg", inner_steps=1, target_steps=8, period=9)
    divergence = replace(long, tuning=replace(long.tuning, matching="kl", parameter_weight=0.0))
    own = f"bmg, K={tuning.inner_steps}, L={tuning.target_steps}, period {tuning.period}"
    return {
        "none": tuned(method="none", period=9),
        "mg, K=1, period 9": tuned(method="mg", inner_steps=1, period=9),
        "bmg, K=1, L=8, period 9": long,
        "bmg, K=1, L=8, period 9, matching kl": divergence,
        f"{own} (preset)": preset,
    }


class Products(NamedTuple):
    """Floating point operations of the products of one network with one observation.

    Attributes:
      forward: the outputs.
      backward: gradients in weights and hidden units, and as many for the tangent of the outputs
        along a direction of the weights: the first layer has no gradient in its inputs.
      twice: gradients in weights of a tangent, outputs and tangent being there.
    """

    forward: int
    backward: int
    twice: int


def products(widths: tuple[int, ...]) -> Products:
    """Of a network of dense layers with these numbers of units, inputs and outputs included."""
    layers = [2 * a * b for a, b in itertools.pairwise(widths)]
    later = sum(layers[1:])
    # y = x W has the tangent dy = x V + dx W. With cotangents of both: x' y~ and dx' dy~ for the
    # weights, y~ W' + dy~ V' for x, dy~ W' for dx; in the first layer x is data and dx is 0.
    return Products(sum(layers), sum(layers) + later, sum(layers) + 4 * later)


def flops(settings: RunSettings, inputs: int, actions: int) -> dict[str, float]:
    """Floating point operations of an environment step, by part.

    For actor-critics of one head without outer critic, whose K updates are unrolled.
    """
    agent, tuning = settings.agent, settings.tuning
    assert agent.algorithm == "actor_critic"
    assert agent.heads == 1
    assert not agent.outer_critic
    assert tuning.differentiation == "unrolled"
    policy = products((inputs, *agent.hidden, actions))
    value = products((inputs, *agent.hidden, 1))
    acting = policy.forward
    policy_gradient = policy.forward + policy.backward
    value_gradient = value.forward + value.backward
    gradient = policy_gradient + value_gradient + value.forward
    parts = {"acting": acting, "learning": gradient}
    tuned = {name for name, spec in settings.in_use.items() if spec.tuned}
    if tuning.method == "none" or not tuned:
        return {name: float(count) for name, count in parts.items()}
    if tuning.method == "mg":
        values = value_gradient if tuning.value_weight else value.forward
        meta = {"judging": policy_gradient + values + value.forward}
    else:
        saved = value.backward if tuning.target_last == "policy" else 0
        match = (policy.forward + policy_gradient) * (tuning.matching != "none")
        match += (value.forward + value_gradient) * (tuning.value_weight > 0)
        meta = {
            "target": tuning.target_steps * gradient - saved,
            "matching": tuning.target_steps * match,
        }
    # A tangent costs what a gradient does. The first of the K updates is not gone through.
    first = gradient if tuned & _NEED_VALUES else policy_gradient
    through = gradient + policy.twice + value.twice + 2 * value.backward
    meta["differentiation"] = first + (tuning.inner_steps - 1) * through
    return {name: float(n) for name, n in parts.items()} | {
        name: count / tuning.period for name, count in meta.items()
    }


class Contestant(NamedTuple):
    """A compiled turn, state -> state, its steps of all seeds, and its rates in them a second."""

    turn: Callable[[Any], Any]
    steps: int
    compile_seconds: float
    rates: list[float]


def contestant(settings: RunSettings, seeds: int, steps: int) -> tuple[Contestant, Any]:
    """With the state that its first turn is given."""
    init, cycle = graph_cycle(*population.task_and_agent(settings), settings)
    cycles = population.cycles_for(settings, steps)
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in range(seeds)])
    state = population.sharded(jax.jit(jax.vmap(init))(keys, None))

    def step(state, _):
        state, metrics = jax.vmap(cycle, (0, None))(state, None)
        return state, metrics.reward.mean((1, 2))

    begun = time.perf_counter()
    advance = population.compile_steps(step, state, cycles)
    seconds = time.perf_counter() - begun

    def turn(state):
        return advance(population.sharded(state), 0, cycles)[0]

    made = len(keys) * cycles * population.steps_per_cycle(settings)
    return Contestant(turn, made, seconds, []), state


def matrix_product() -> Callable[[], float]:
    """A function that measures operations a second: a product on each device, side by side."""
    devices = jax.devices()
    mesh, split = Mesh(np.array(devices), ("devices",)), PartitionSpec("devices")
    matrices = jax.random.normal(jax.random.PRNGKey(0), (len(devices), SIZE, SIZE))
    matrices = jax.device_put(matrices, NamedSharding(mesh, split))
    product = jax.jit(
        jax.shard_map(lambda x: (x[0] @ x[0])[None], mesh=mesh, in_specs=split, out_specs=split)
    )
    jax.block_until_ready(product(matrices))

    def measure() -> float:
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            jax.block_until_ready(product(matrices))
            seconds.append(time.perf_counter() - begun)
        return len(devices) * 2 * SIZE**3 / min(seconds)

    return measure


def measure(seeds: int = SEEDS, steps: int = STEPS, repeats: int = REPEATS) -> dict[str, Any]:
    """Rates, operations and the part of the peak of each contestant."""
    runs, states, counts = {}, {}, {}
    for name, settings in contestants().items():
        runs[name], states[name] = contestant(settings, seeds, steps)
        spec = population.task_and_agent(settings)[0].spec
        assert spec.observation_space.shape is not None
        inputs, actions = spec.observation_space.shape[0], int(spec.action_space.n)  # type: ignore[attr-defined]
        counts[name] = flops(settings, inputs, actions)
        print(name, {part: round(n) for part, n in counts[name].items()}, flush=True)
    peak, peaks = matrix_product(), []
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            begun = time.perf_counter()
            states[name] = jax.block_until_ready(run.turn(states[name]))
            if repeat:  # the first turn warms up
                run.rates.append(run.steps / (time.perf_counter() - begun))
        if repeat:
            peaks.append(peak())
    rows = {}
    for name, run in runs.items():
        total = sum(counts[name].values())
        rows[name] = {
            "steps_per_second": statistics.median(run.rates),
            "of_plain": statistics.median(map(truediv, run.rates, runs["none"].rates)),
            "flops": counts[name],
            "flops_per_step": total,
            "of_peak": total * statistics.median(map(truediv, run.rates, peaks)),
            "compile_seconds": run.compile_seconds,
        }
    return {
        "seeds": seeds,
        "steps": steps,
        "repeats": repeats,
        "peak": statistics.median(peaks),
        "rows": rows,
    }


def main() -> None:
    """Measures and writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    host_devices.enable()
    result = measure(arguments.seeds, arguments.steps, arguments.repeats)
    print(json.dumps(result, indent=1))
    write("two-colors-speed", result)


if __name__ == "__main__":
    main()
