"""Files of strangers: each loads or gets one line, runs no code, takes bounded memory and time."""

import json
import random
import resource
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
import yaml

import selftuning as st
from selftuning.agents import self_tuning
from selftuning.configs import files
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import AgentSettings, RunSettings
from selftuning.envs import registry
from selftuning.studies import old_units
from selftuning.training import checkpoints, saved_agent
from tests import hostile_files
from tests.quick_jit import quick_jit

OLD = Path(__file__).parent / "data" / "runs-v1" / "cartpole"
MOST_BYTES = 500e6
HOSTILE = pytest.mark.fault(
    "files of a stranger: settings, checkpoints, Parquet, a thousand of them",
    "each loads, or gets one line; no code is run, memory and time have an end",
)
MANY = pytest.mark.parametrize(
    "count", [pytest.param(30, id="some"), pytest.param(250, id="many", marks=pytest.mark.slow)]
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A run directory with an agent."""
    out = tmp_path_factory.mktemp("good")
    task = registry.make("CartPole-v1", 1, "host")
    settings = RunSettings(agent=AgentSettings(hidden=(4,)))
    both = task.spec.observation_space, task.spec.action_space
    functions = self_tuning.make(*both, settings)
    state = quick_jit(functions.init)(jax.random.PRNGKey(0))
    saved_agent.save(out, functions, state, task.spec, 128)
    (out / files.NAME).write_text(files.dump(settings))
    st.load(out).act(np.zeros(4, np.float32))
    return out


def outcome(call):
    """What is said of a file: "" if it was read; it took no more than it may."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        call()
        said = ""
    except ConfigError as error:
        said = str(error)
        assert "\n" not in said and said
    assert time.perf_counter() - begun < 30
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_BYTES
    return said


@HOSTILE
@MANY
@pytest.mark.parametrize("run", ["new", "old"])
def test_damaged_checkpoints(run, count, good, tmp_path):
    directory = Path(shutil.copytree(good if run == "new" else OLD, tmp_path / "run"))
    path, refused = checkpoints.path_in(directory), 0
    content = path.read_bytes()
    for seed in range(count):
        rng = random.Random(seed)
        make = hostile_files.forged_header if seed % 2 else hostile_files.damaged
        path.write_bytes(make(content, rng))
        refused += outcome(lambda: checkpoints.read(path)) != ""
    assert refused > count * 0.9


@HOSTILE
@MANY
def test_forged_checkpoints(count, good, tmp_path):
    directory = Path(shutil.copytree(good, tmp_path / "run"))
    path, refused = checkpoints.path_in(directory), 0
    for seed in range(count):
        hostile_files.forged_checkpoint(checkpoints.path_in(good), path, random.Random(seed))
        refused += outcome(lambda: st.load(directory).act(np.zeros(4, np.float32))) != ""
    assert refused > count * 0.2  # what training needs alone may be whatever it is


@HOSTILE
@MANY
def test_forged_settings(count, good, tmp_path):
    directory = Path(shutil.copytree(good, tmp_path / "run"))
    path, text, refused = directory / files.NAME, (good / files.NAME).read_text(), 0
    for seed in range(count):
        rng = random.Random(seed)
        new = hostile_files.forged_yaml(text, rng).encode()
        path.write_bytes(hostile_files.damaged(text.encode(), rng) if seed % 4 == 0 else new)
        refused += outcome(lambda: files.load(path, trained=True)) != ""
    assert refused > count * 0.3


@HOSTILE
@pytest.mark.parametrize("text", ["a: 1\n" * 20_000_000, "x" * 10**8], ids=["lines", "one line"])
def test_settings_of_100_megabytes_are_refused_by_their_size(text, tmp_path):
    path = tmp_path / files.NAME
    path.write_text(text)
    begun = time.perf_counter()
    assert "too large" in outcome(lambda: files.read(path))
    assert time.perf_counter() - begun < 1


@HOSTILE
@MANY
def test_damaged_parquet(count, tmp_path):
    good, rng = tmp_path / "good.parquet", np.random.default_rng(0)
    columns = {name: rng.normal(size=200) for name in ("return", "reward", "gamma")}
    rows = pl.DataFrame({"method": ["a"] * 200, "run": list(range(200)), **columns})
    rows.write_parquet(good, metadata={"about": json.dumps({"unit": "a-0"})})
    content, paths = good.read_bytes(), {}
    for seed in range(count):
        paths[str(seed)] = tmp_path / f"{seed}.parquet"
        paths[str(seed)].write_bytes(hostile_files.damaged(content, random.Random(seed)))
    found = old_units.read(paths)
    assert list(found) == list(paths)
    errors = [str(one) for one in found.values() if isinstance(one, ConfigError)]
    assert len(errors) > count * 0.4
    assert all("\n" not in error and "cannot read" in error for error in errors)


@HOSTILE
def test_a_parquet_file_of_many_rows_is_refused(tmp_path):
    bomb = tmp_path / "bomb.parquet"  # a few kilobytes that are gigabytes when they are read
    rows = pl.select(pl.repeat(1.0, 50_000_000).alias("x"))
    rows.write_parquet(bomb, metadata={"about": "{}"}, compression="zstd")
    assert bomb.stat().st_size < 2**20
    (error,) = old_units.read({"bomb": bomb}).values()
    assert "50000000 rows are too many" in str(error)


@HOSTILE
def test_tags_of_python_in_yaml_are_refused(tmp_path):
    path = tmp_path / files.NAME
    path.write_text("env: !!python/object/apply:os.system ['touch ran']\n")
    assert outcome(lambda: files.read(path))
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(path.read_text())
    assert not Path("ran").exists()
