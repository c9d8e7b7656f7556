"""Both contestants make the same gradients, and the table has what was measured."""

import jax
import numpy as np

from selftuning.benchmarks import convolutions


def test_contestants_make_the_same_gradients():
    found = (
        convolutions.programs(convolution, (10, 10, 4), 3)
        for convolution in (convolutions.theirs, convolutions.convolve)
    )
    (their_loop, their_single), (our_loop, our_single) = found
    for theirs, ours in ((their_loop, our_loop), (their_single, our_single)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4), theirs(), ours())


def test_times_are_those_of_one_gradient_and_the_table_has_them():
    times = convolutions.milliseconds((7, 7, 2), 2, 2)
    assert len(times) == 4 and min(times) > 0
    name = next(iter(convolutions.PICTURES))
    line = convolutions.table({name: [30.0, 4.0, 2.0, 3.0]}).splitlines()[-1]
    assert line == f"| {name} | 256 | 30.0 ms | 4.0 ms | 7.5 | 2.0 ms | 3.0 ms |"
