"""Run directories, checkpoints, compilation cache: nothing is overwritten or half written."""

import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

import selftuning
from selftuning.configs import versions
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.training import checkpoints, compilation_cache, run_directory


class State(NamedTuple):
    params: dict
    count: np.ndarray


def state(width: int = 4) -> State:
    weights = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
    return State({"layer": {"w": weights, "b": np.zeros(width, np.float32)}}, np.int32(7))


def test_a_checkpoint_restores_every_bit(tmp_path):
    path = checkpoints.path_in(tmp_path)
    checkpoints.save(path, state(), 1234)
    restored, env_steps = checkpoints.load(path, jax.eval_shape(state))
    assert env_steps == 1234
    assert jax.tree.structure(restored) == jax.tree.structure(state())
    jax.tree.map(np.testing.assert_array_equal, restored, state())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_saving_again_replaces(tmp_path):
    path = checkpoints.path_in(tmp_path)
    checkpoints.save(path, state(), 1)
    checkpoints.save(path, state()._replace(count=np.int32(8)), 2)
    restored, env_steps = checkpoints.load(path, state())
    assert (restored.count, env_steps) == (8, 2)


def test_every_flipped_byte_and_every_truncation_is_noticed(tmp_path):
    path = checkpoints.path_in(tmp_path)
    checkpoints.save(path, state(), 1234)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="checkpoint: ") as error:
            checkpoints.load(path, state())
        assert "\n" not in str(error.value)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match="checkpoint: "):
            checkpoints.load(path, state())


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (state(width=5), r"params/layer/b is float32\(4,\) and should be float32\(5,\)"),
        (state()._replace(count=np.float32(7)), "count is int32"),
        ({"params": state().params}, "count is missing or unknown"),
        ({"count": 1, "params": {}}, "params/layer/b is missing or unknown"),
    ],
)
def test_a_checkpoint_of_another_agent_is_refused(template, message, tmp_path):
    path = checkpoints.path_in(tmp_path)
    checkpoints.save(path, state(), 1)
    with pytest.raises(ConfigError, match=message):
        checkpoints.load(path, template)


def test_a_missing_checkpoint_is_called_missing(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        checkpoints.load(tmp_path / "none.safetensors", state())
    with pytest.raises(ConfigError, match="cannot be read"):
        checkpoints.load(tmp_path, state())


def test_a_checkpoint_of_a_newer_version_says_so(tmp_path, monkeypatch):
    path = checkpoints.path_in(tmp_path)
    monkeypatch.setattr(selftuning, "__version__", "9.1.0")
    checkpoints.save(path, state(), 1)
    monkeypatch.setattr(versions, "FORMAT", 99)
    checkpoints.save(tmp_path / "newest", state(), 1)
    monkeypatch.undo()
    remark = f"the file was written by selftuning 9.1.0, this is {selftuning.__version__}$"
    with pytest.raises(ConfigError, match=f"of another agent: .*; {remark}"):
        checkpoints.load(path, state(width=5))
    assert checkpoints.load(path, state())[1] == 1
    with pytest.raises(ConfigError, match=f"format 99 is newer than .*; {remark}"):
        checkpoints.load(tmp_path / "newest", state())


def test_plain_data_about_the_arrays_travel_along(tmp_path):
    path = checkpoints.path_in(tmp_path)
    about = {"spaces": [1.5, None, {"a": "ü"}]}
    checkpoints.save(path, state(), 7, about)
    file = checkpoints.read(path)
    assert (file.about, file.env_steps) == (about, 7)
    np.testing.assert_array_equal(
        file.under("params/layer").arrays["b"], state().params["layer"]["b"]
    )


def test_default_directories_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = RunSettings(env="ALE/Pong-v5", seed=3)
    made = [run_directory.create(None, settings) for _ in range(2)]
    assert made == [Path(f"runs/ALE-Pong-v5-bmg-seed3-{n}") for n in (1, 2)]
    assert all(path.is_dir() for path in made)


def test_a_directory_may_be_new_or_empty(tmp_path):
    for path in (tmp_path / "new" / "deep", tmp_path):
        if path == tmp_path:
            (tmp_path / "new" / "deep").rmdir()
            (tmp_path / "new").rmdir()
        assert run_directory.create(path, RunSettings()) == path
        assert path.is_dir()


def test_a_directory_in_use_or_no_directory_is_refused_and_untouched(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for path, message in (
        (tmp_path, "not empty"),
        (file, "no directory"),
        (file / "below", "cannot write"),
        (Path("/proc/run"), "cannot write"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_directory.create(path, RunSettings())
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and file.read_text() == "mine"


@pytest.fixture
def environment(monkeypatch):
    """A copy of the environment, which `enable` changes."""
    copy = {**os.environ}
    monkeypatch.setattr(os, "environ", copy)
    return copy


def test_the_cache_folder_is_the_users_unless_named(tmp_path, environment, capsys):
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    environment.update(XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path))
    compilation_cache.enable()
    used = Path(environment["JAX_COMPILATION_CACHE_DIR"])
    assert used.is_dir() and used.is_relative_to(tmp_path) and not list(used.iterdir())
    environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "named")
    compilation_cache.enable()
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "named")
    assert capsys.readouterr().err == ""


def test_an_unwritable_cache_folder_costs_one_line(tmp_path, environment, capsys):
    (tmp_path / "file").write_text("")
    environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "file" / "cache")
    compilation_cache.enable()
    assert "JAX_COMPILATION_CACHE_DIR" not in environment
    warning = capsys.readouterr().err
    assert warning.startswith("warning: ") and warning.count("\n") == 1
