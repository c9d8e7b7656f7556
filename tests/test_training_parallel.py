"""One agent on several devices, of one process and of two: the numbers of one device."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console
from safetensors import numpy as safetensors_numpy

from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.training import parallel, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
DEVICES = 8


def environment(devices):
    return os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_an_agent_on_eight_devices_is_the_agent_on_one(tmp_path, backend):
    results = {}
    for devices in (1, DEVICES):
        path = tmp_path / f"{devices}.npz"
        command = [sys.executable, "-m", "tests.one_agent_on_devices", str(path), backend]
        subprocess.run(command, check=True, env=environment(devices), cwd=ROOT, capture_output=True)
        results[devices] = dict(np.load(path))
    one, many = results[1], results[DEVICES]
    assert (int(one.pop("devices")), int(many.pop("devices"))) == (1, DEVICES)
    each = one.pop("environments_each"), many.pop("environments_each")
    assert each == ((16, 2) if backend == "jax" else (0, 0))
    for name, expected in one.items():
        assert np.isfinite(expected).all(), name
        np.testing.assert_allclose(many[name], expected, rtol=2e-3, atol=1e-4, err_msg=name)


def free_port():
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    subprocess.run([*COMMAND, "--out", out], check=True, capture_output=True, timeout=200)
    return out


COMMAND = [sys.executable, str(ROOT / "run.py"), "--env", "CartPole", "--steps", "1e3"]
COMMAND += ["--eval-episodes", "1"]
# Eight cycles, as a meta-step needs two.
COMMAND += ["--rollout-length", "16", "--epochs", "2", "--minibatches", "2"]


def start(process, *arguments):
    command = [*COMMAND, "--distributed", "--process", str(process), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


def test_two_processes_are_as_one(tmp_path, alone):
    address = ["--coordinator", f"localhost:{free_port()}", "--processes", 2]
    outs = [tmp_path / "first", tmp_path / "second"]
    running = [start(i, *address, "--out", out) for i, out in enumerate(outs)]
    said = [process.communicate(timeout=200) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert "evaluation return" in said[0][0] and "evaluation return" not in said[1][0]
    assert not outs[1].exists()

    expected, found = (
        safetensors_numpy.load_file(out / "checkpoints/agent.safetensors")
        for out in (alone, outs[0])
    )
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3, atol=1e-4, err_msg=name)
    counts = [
        json.loads((out / "summary.json").read_text())["env_steps"] for out in (alone, outs[0])
    ]
    assert counts[0] == counts[1] == 1024


@pytest.mark.fault("a run is stopped", "it goes on to the bits of one that was not")
def test_two_processes_go_on_as_one(tmp_path, alone):
    out = tmp_path / "run"
    subprocess.run([sys.executable, "-c", STOPPED, out], check=True, cwd=ROOT, timeout=200)
    address = ["--coordinator", f"localhost:{free_port()}", "--processes", 2]
    running = [start(i, *address, "--out", out) for i in range(2)]
    said = [process.communicate(timeout=200) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert "going on after 512 of 1,000 steps" in said[0][0]
    summary = json.loads((out / "summary.json").read_text())
    rows = [json.loads(line)["env_steps"] for line in (out / "metrics.jsonl").open()]
    assert summary["env_steps"] == rows[-1] == 1024 and rows == sorted(set(rows))
    expected, found = (
        safetensors_numpy.load_file(x / "checkpoints/agent.safetensors") for x in (alone, out)
    )
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3, atol=1e-4, err_msg=name)


STOPPED = """
import sys, selftuning as st
def enough(snapshot):
    return snapshot.env_steps >= 384  # the chunk after it is under way
st.train("CartPole", steps=1000, eval_episodes=1, rollout_length=16, epochs=2, minibatches=2,
         out=sys.argv[1], progress=False, callback=enough)
"""


def test_two_processes_step_their_own_environments_on_the_host(tmp_path):
    address = ["--coordinator", f"localhost:{free_port()}", "--processes", 2]
    arguments = [*address, "--backend", "host", "--meta", "mg"]
    running = [start(i, *arguments, "--out", tmp_path / str(i)) for i in range(2)]
    said = [process.communicate(timeout=200) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    summary = json.loads((tmp_path / "0" / "summary.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "0" / "metrics.jsonl").open()]
    assert summary["env_steps"] == rows[-1]["env_steps"] == 1024
    # A step of CartPole has reward 1, and returns of episodes are their lengths.
    assert summary["total_reward"] == 1024
    assert 1024 / 60 < rows[-1]["episodes"] < 1024 / 8


@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.fault("--distributed: the others do not come", "one line in time, exit code 2")
def test_processes_that_do_not_meet_say_so_in_time(tmp_path, process):
    """The first one waits for the other, the other one for a coordinator."""
    address = ["--coordinator", f"localhost:{free_port()}", "--processes", 2]
    running = start(process, *address, "--join-timeout", 2, "--out", tmp_path / "run")
    _, said = running.communicate(timeout=60)
    assert running.returncode == 2
    assert said.count("\n") == 1 and "did not all meet at localhost" in said
    assert not (tmp_path / "run").exists()


def test_the_devices_there_are():
    settings = RunSettings(num_envs=2**10)
    assert parallel.placement(settings).num_envs == 2**10
    count = 2 * jax.device_count()
    with pytest.raises(ConfigError, match=rf"devices: {count} is not allowed; .* at most"):
        parallel.placement(replace(settings, devices=count))


def test_a_run_on_devices_that_are_not_there_writes_nothing(tmp_path):
    count = 2 * jax.device_count()
    settings = RunSettings(num_envs=count, devices=count)
    with pytest.raises(ConfigError, match="devices"):
        run.train(settings, Console(quiet=True), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_of_one_process_everything_stays_as_it_is():
    key, rows = jax.random.PRNGKey(0), {"x": np.zeros((2, 3))}
    assert parallel.process_key(key) is key
    assert parallel.gathered(rows, 1) is rows
    assert parallel.any_process(True) and not parallel.any_process(False)
    assert parallel.here(rows) == rows
