"""Many runs as one program: where rows are cut, and on how many devices, changes nothing."""

import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.configs import presets
from selftuning.studies import vmapped
from selftuning.training import host_devices

TWO_DEVICES = "--xla_force_host_platform_device_count=2"
EIGHT_DEVICES = "--xla_force_host_platform_device_count=8"
CARTPOLE = presets.for_env("CartPole-v1")


@pytest.mark.parametrize("room", [1, 3 * 24, 2**20])
def test_where_rows_are_cut_changes_nothing(room, monkeypatch):
    """Rows of three runs are 24 bytes; there is room for one, three or all of them at once."""

    def step(state, number):
        state = state + number
        return state, {"sum": state, "number": jnp.broadcast_to(number, state.shape)}

    monkeypatch.setattr(vmapped, "_LARGEST_CHUNK", room)
    state = vmapped.sharded(jnp.array([0, 10, 20]))
    advance = vmapped.compile_steps(step, state, 10)
    state, rows = advance(state, 5, 7)
    np.testing.assert_array_equal(rows["number"], np.repeat(np.arange(5, 12), 3).reshape(7, 3))
    np.testing.assert_array_equal(rows["sum"], np.cumsum(np.arange(5, 12))[:, None] + [0, 10, 20])
    np.testing.assert_array_equal(state, rows["sum"][-1])


def test_starts_are_those_of_each_run_and_else_of_the_settings():
    values = vmapped.start_values(CARTPOLE, [{"gamma": 0.5}, {}])
    assert set(values) == set(CARTPOLE.in_use)
    np.testing.assert_allclose(values["gamma"], [0.5, CARTPOLE.in_use["gamma"].start])
    np.testing.assert_allclose(values["entropy"], [CARTPOLE.in_use["entropy"].start] * 2)


@pytest.mark.slow
def test_runs_on_several_devices_are_the_same_runs(tmp_path):
    """In other processes: the number of devices is settled when JAX uses the first one."""
    results = {}
    for name, flags in {"one": "", "four": EIGHT_DEVICES}.items():
        path = tmp_path / f"{name}.npz"
        command = [sys.executable, "-m", "tests.sharded_runs", str(path)]
        environment = os.environ | {"XLA_FLAGS": flags}
        subprocess.run(command, check=True, env=environment, capture_output=True)
        results[name] = dict(np.load(path))
    assert [int(r.pop("devices")) for r in results.values()] == [1, 4]
    for name, one in results["one"].items():
        # Other batch sizes round differently; the first cycles show no more than that.
        np.testing.assert_allclose(one[:3], results["four"][name][:3], rtol=1e-4, atol=1e-5)


def test_flags_that_are_set_already_stay(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", TWO_DEVICES)
    host_devices.enable()
    assert os.environ["XLA_FLAGS"] == TWO_DEVICES
    monkeypatch.setenv("XLA_FLAGS", "--xla_something=1")
    host_devices.enable()
    cores = len(os.sched_getaffinity(0))
    assert os.environ["XLA_FLAGS"].startswith("--xla_something=1 ")
    assert f"device_count={cores}" in os.environ["XLA_FLAGS"]
