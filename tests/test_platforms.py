"""Machines on which something is missing: devices, a home, a cache folder, a locale, a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import selftuning as st
from selftuning.training import compilation_cache

ROOT = Path(__file__).parents[1]
TINY = ["--env", "CartPole", "--steps", "64", "--num-envs", "2", "--hidden", "8"]
TINY += ["--rollout-length", "16", "--epochs", "1", "--minibatches", "1", "--eval-episodes", "1"]


def command(*arguments, cwd=ROOT, python=(), **environment):
    """What `run.py` did, with these variables and without those that are None."""
    merged = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        [sys.executable, *python, ROOT / "run.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={name: value for name, value in merged.items() if value is not None},
        timeout=300,
    )


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("JAX_PLATFORMS", "cuda", "JAX_PLATFORMS: cuda cannot be used here"),
        ("JAX_PLATFORMS", "bogus", "JAX_PLATFORMS: bogus cannot be used here"),
        ("JAX_ENABLE_X64", "maybe", "JAX cannot start: invalid truth value 'maybe'"),
    ],
)
@pytest.mark.fault("JAX is asked for devices that are not there", "one line, exit code 2")
def test_what_jax_cannot_do_here_is_one_line(tmp_path, variable, value, line):
    if value == "cuda" and jax.default_backend() == "gpu":
        value, line = "rocm", "JAX_PLATFORMS: rocm cannot be used here"
    ended = command(*TINY, "--out", tmp_path / "run", **{variable: value})
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {line}") and ended.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


NOBODY = "import pwd, sys\n\ndef nobody(*_):\n    raise KeyError\n\npwd.getpwuid = nobody\n"


@pytest.mark.fault("no home, no such user, an ASCII locale, 64 bits", "trains, and says so")
def test_a_bare_machine_trains(tmp_path):
    """In float32, without a cache, and with files in UTF-8."""
    (tmp_path / "sitecustomize.py").write_text(NOBODY, encoding="utf-8")
    ended = command(
        *TINY,
        *("--out", tmp_path / "run"),
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        PYTHONHASHSEED="random",
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
        JAX_ENABLE_X64="1",
        **dict.fromkeys(["HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"]),
    )
    assert ended.returncode == 0, ended.stderr
    warnings = [line for line in ended.stderr.splitlines() if "arning" in line]
    assert len(warnings) == 2, warnings
    assert "compiled programs are not kept: " in warnings[0]
    assert "JAX_ENABLE_X64 has no effect" in warnings[1]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert summary["env_steps"] >= 64


@pytest.mark.skipif(sys.platform == "win32", reason="it keeps the working directory of a process")
@pytest.mark.fault("the working directory is removed", "one line, exit code 2")
def test_a_working_directory_that_is_gone(tmp_path):
    """A shell may stand in a folder that somebody has removed."""
    (tmp_path / "gone").mkdir()
    program = f"import os, sys; os.rmdir({str(tmp_path / 'gone')!r}); "
    program += "from selftuning.cli import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", program, *TINY],
        capture_output=True,
        text=True,
        cwd=tmp_path / "gone",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 2
    assert ended.stderr == "error: out: cannot write runs/new: No such file or directory\n"


@pytest.fixture
def environment(monkeypatch):
    variables = {"PATH": os.environ.get("PATH", "")}
    monkeypatch.setattr(os, "environ", variables)
    return variables


def nowhere(*_):
    raise RuntimeError("could not determine the home directory")


def full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("broken", "folder", "line"),
    [
        ("user_cache_path", None, "could not determine the home directory"),
        ("tempfile.TemporaryFile", "here", "No space left on device"),
        (None, "gs://bucket/jax", "gs://bucket/jax: "),
        (None, "huh://bucket", "huh://bucket: "),
    ],
)
@pytest.mark.fault("the compilation cache cannot be written", "one warning, nothing is cached")
def test_a_cache_that_cannot_be_written(
    broken, folder, line, environment, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "etils", None)
    if broken:
        fault = nowhere if broken == "user_cache_path" else full
        monkeypatch.setattr(f"selftuning.training.compilation_cache.{broken}", fault)
    if folder:
        environment["JAX_COMPILATION_CACHE_DIR"] = folder
    compilation_cache.enable()
    assert "JAX_COMPILATION_CACHE_DIR" not in environment
    said = capsys.readouterr().err
    assert said.startswith("warning: compiled programs are not kept: ") and line in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("*:*"))  # no folder of the address's name


@pytest.mark.fault("a remote compilation cache does not answer", "one warning, nothing is cached")
def test_a_remote_cache_that_hangs(environment, monkeypatch, capsys):
    class Epath:
        @staticmethod
        def Path(folder):  # noqa: N802
            __import__("time").sleep(3)

    monkeypatch.setitem(sys.modules, "etils", type(sys)("etils"))
    sys.modules["etils"].epath = Epath
    monkeypatch.setattr(compilation_cache, "_REMOTE_SECONDS", 0.1)
    environment["JAX_COMPILATION_CACHE_DIR"] = "gs://bucket/jax"
    compilation_cache.enable()
    assert "gs://bucket/jax does not answer within 0.1 seconds" in capsys.readouterr().err


def test_the_front_door_computes_the_same_in_a_program_with_64_bits(tmp_path):
    def numbers(out):
        settings = {"num_envs": 2, "hidden": [8], "rollout_length": 16, "eval_episodes": 1}
        run = st.train("CartPole-v1", steps=64, progress=False, out=out, **settings)
        action, _ = st.load(out).act(np.zeros(4, np.float32))
        leaves = jax.tree.leaves(run.agent.params)
        return [*map(np.asarray, leaves), np.asarray(run.evaluate(1).returns), action]

    expected = numbers(tmp_path / "one")
    with jax.enable_x64(True):
        found = numbers(tmp_path / "other")
    for one, other in zip(expected, found, strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(one, other)


# Python's own sockets are refused in each process; where the system allows it, it has no network.
REFUSING = """
import socket

def refuse(self, address):
    if self.family != socket.AF_UNIX:
        raise SystemExit(f"a connection to {address}")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda *a, **k: refuse(socket.socket(), a)
"""


@pytest.mark.slow
@pytest.mark.fault("no network", "trains, evaluates, makes the report of a study")
def test_no_network_is_needed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(REFUSING, encoding="utf-8")
    paths = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    apart = ["unshare", "--map-root-user", "--net"]
    try:
        alone = apart if subprocess.run([*apart, "true"], check=False).returncode == 0 else []
    except FileNotFoundError:
        alone = []
    run, study = tmp_path / "run", tmp_path / "study"
    of_study = ["--methods", "none,bmg,-outer", "--seeds", "2", "--out", study]
    for arguments in (
        [*TINY, "--out", run],
        ["eval", run, "--episodes", "1"],
        ["study", *TINY, *of_study],
        ["study", "report", study],
    ):
        line = [*alone, sys.executable, ROOT / "run.py", *map(str, arguments)]
        ended = subprocess.run(line, capture_output=True, text=True, env=os.environ | paths)
        assert ended.returncode == 0, ended.stderr
        assert "a connection to" not in ended.stdout + ended.stderr
    assert (run / "summary.json").is_file() and (study / "report.html").is_file()
