"""Environments that are given as objects: an id that says what they are, in whatever process."""

import subprocess
import sys

import numpy as np
import pytest

import selftuning as st
from selftuning.envs import given
from selftuning.envs.cartpole import CartPole
from selftuning.envs.continual import Continual
from tests.small_runs import UNTUNED


class Table:
    def __init__(self, numbers):
        self.numbers = np.array(numbers)


class Priced(CartPole):
    """With an object inside that has an array."""

    def __init__(self, *prices):
        super().__init__()
        self.inside = {"table": Table(prices)}


def test_equal_objects_have_ids_that_differ_by_a_number_and_others_do_not():
    first, again, other = (given.register(Priced(1.0, x)) for x in (2.0, 2.0, 3.0))
    assert first != again and given.same(first, again) and not given.same(first, other)
    one, two = (given.register(Continual(CartPole(), change=x)) for x in ("actions", "offset"))
    assert not given.same(one, two)
    assert not given.same("Mine.2-v0", "Mine.3-v0")
    made = Priced(1.0, 2.0)
    assert given.register(made) == given.register(made)


def test_the_id_is_the_same_in_another_process():
    code = (
        "from selftuning.envs import given; from tests.test_envs_given import Priced; "
        "print(given.register(Priced(5.0, 7.0)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert given.same(done.stdout.strip(), given.register(Priced(5.0, 7.0)))


def test_a_run_goes_on_with_the_same_object_and_not_with_another(tmp_path):
    def train(change, steps):
        env = Continual(CartPole(), change=change, switch_every=250, levels=9)
        return st.train(env, out=tmp_path / "run", **UNTUNED | {"steps": steps})

    train("reward_sign", 1000)
    assert train("reward_sign", 2000).agent.env_steps >= 2000
    with pytest.raises(st.ConfigError, match=r"has a run with env given/Continual-.* not given"):
        train("actions", 3000)
