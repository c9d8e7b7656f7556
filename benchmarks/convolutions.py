"""Convolutions in loops and outside: `python -m selftuning.benchmarks.convolutions`.

XLA's own, and the products of `agents.convolution`: milliseconds of a gradient of the sum of
squares of the last layer with respect to all kernels, in a `lax.scan` and as a program of its own.
They take turns; numbers are medians. The table of docs/performance.md is made of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents.convolution import convolve
from selftuning.agents.torsos import CONVOLUTIONS
from selftuning.benchmarks.record import DOCS, with_table, write

PICTURES = {  # height, width, channels; batch
    "7 x 7 x 20 (MiniGrid)": ((7, 7, 20), 256),
    "10 x 10 x 4 (MinAtar)": ((10, 10, 4), 256),
    "24 x 24 x 3": ((24, 24, 3), 256),
    "84 x 84 x 4 (Atari)": ((84, 84, 4), 64),
}
LOOPS = 2  # iterations of the scan
PAGE = DOCS / "performance.md"
_ORDER = ("NHWC", "HWIO", "NHWC")

Convolve = Callable[[jax.Array, jax.Array, int, str], jax.Array]


def theirs(inputs: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
    """XLA's convolution, with the arguments of `convolve`."""
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(inputs, kernel, strides, padding, dimension_numbers=_ORDER)


def programs(
    convolution: Convolve, shape: tuple[int, int, int], batch: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Compiled gradients in a loop, `LOOPS` of them, and a single one outside."""
    layers = next(each for each in CONVOLUTIONS if min(shape[:2]) >= each.side)
    draw, channels, kernels = np.random.default_rng(0), shape[-1], []
    for out, size, _ in layers.layers:
        kernels.append(jnp.asarray(draw.normal(size=(size, size, channels, out)) * 0.05, float))
        channels = out
    pictures = jnp.asarray(draw.normal(size=(LOOPS, batch, *shape)), float)

    def loss(kernels, x):
        for kernel, (_, _, stride) in zip(kernels, layers.layers, strict=True):
            x = jax.nn.relu(convolution(x, kernel, stride, layers.padding))
        return jnp.sum(x**2)

    def step(kernels, x):
        gradient = jax.grad(loss)(kernels, x)
        return jax.tree.map(lambda k, g: k - 1e-9 * g, kernels, gradient), None

    loop = jax.jit(lambda kernels, pictures: jax.lax.scan(step, kernels, pictures)[0])
    single = jax.jit(jax.grad(loss))
    return lambda: loop(kernels, pictures), lambda: single(kernels, pictures[0])


def milliseconds(shape: tuple[int, int, int], batch: int, rounds: int) -> list[float]:
    """Of one gradient: theirs and ours in a loop, theirs and ours outside."""
    (their_loop, their_single), (our_loop, our_single) = (
        programs(convolution, shape, batch) for convolution in (theirs, convolve)
    )
    turns = [(their_loop, LOOPS), (our_loop, LOOPS), (their_single, 1), (our_single, 1)]
    times: list[list[float]] = [[] for _ in turns]
    for number in range(rounds + 1):  # the first compiles
        for (turn, gradients), found in zip(turns, times, strict=True):
            begun = time.perf_counter()
            jax.block_until_ready(turn())
            if number:
                found.append(1e3 * (time.perf_counter() - begun) / gradients)
    return [statistics.median(found) for found in times]


def table(results: dict[str, list[float]]) -> str:
    """Pictures down; milliseconds, and how many times as long theirs take in a loop."""
    lines = [
        "| pictures | batch | XLA's in a loop | products in a loop | ratio | XLA's outside "
        "| products outside |",
        "| --- " * 7 + "|",
    ]
    for name, (their_loop, our_loop, *outside) in results.items():
        times = [f"{x:,.1f} ms" for x in (their_loop, our_loop)]
        cells = (name, str(PICTURES[name][1]), *times, f"{their_loop / our_loop:.1f}")
        lines.append(f"| {' | '.join(cells)} | {' | '.join(f'{x:,.1f} ms' for x in outside)} |")
    return "\n".join(lines)


def main(rounds: int = 7) -> None:
    """Measures, keeps the numbers and writes the table."""
    results = {name: milliseconds(*what, rounds) for name, what in PICTURES.items()}
    write("convolutions", {"milliseconds": results})
    text = PAGE.read_text(encoding="utf-8")
    made = with_table(text, "convolutions", table(results) + "\n")
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
