"""run.py as its user runs it: a process with files, two output streams and an exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from selftuning.configs.settings import RunSettings

RUN_PY = Path(__file__).parents[1] / "run.py"
SUMMARY_KEYS = [
    "env_id",
    "meta",
    "seed",
    "env_steps",
    "agent_env_steps",
    "wall_seconds",
    "compile_seconds",
    "steps_per_second",
    "last_100_return",
    "last_100_episodes",
    "last_100_length",
    "reward_per_step",
    "total_reward",
    "eval_return_mean",
    "eval_return_std",
    "eval_reward_per_step",
    "best",
    "reward_threshold",
    "solved_at_env_steps",
    "solved_window_env_steps",
    "reached_at_env_steps",
    "greedy_reached_at_env_steps",
    "hyperparameters",
    "diverged",
    "not_finite",
    "backend",
    "finished",
]
IN_USE = RunSettings().in_use
NAMES = list(IN_USE)
SMALL = "--rollout-length 32 --epochs 2 --minibatches 2 --hidden 16"
TIMES = ("wall_seconds", "compile_seconds", "steps_per_second")


@pytest.fixture(scope="module")
def environment():
    return {**os.environ, "COLUMNS": "80"}


@pytest.fixture(scope="module")
def python_run(environment, tmp_path_factory):
    """Calls run.py in an empty working directory."""
    working_directory = tmp_path_factory.mktemp("working")

    def call(*arguments):
        return subprocess.run(
            [sys.executable, RUN_PY, *map(str, arguments)],
            cwd=working_directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    call.directory = working_directory
    return call


@pytest.fixture(scope="module")
def finished(python_run):
    """A short run with the default directory, and what it printed."""
    flags = "--env CartPole --steps 6000 --start gamma=0.7 --fix lambda --eval-episodes 5"
    flags += " --meta-optimizer adam"  # the default waits for evidence
    flags += f" {SMALL}"
    process = python_run(*flags.split())
    assert process.returncode == 0, process.stderr
    return python_run.directory / "runs" / "CartPole-v1-bmg-seed0-1", process


def summary_of(run):
    return json.loads((run / "summary.json").read_text())


def contents(directory):
    return {path: path.is_file() and path.read_bytes() for path in directory.rglob("*")}


def test_a_run_leaves_its_whole_directory(finished):
    run, _ = finished
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    (events,) = (name for name in files if name.startswith("events.out.tfevents."))
    assert files == {
        ".lock",
        "config.yaml",
        "episodes.csv",
        "metrics.jsonl",
        "summary.json",
        "checkpoints/agent.safetensors",
        f"checkpoints/agent-{summary_of(run)['env_steps']}.safetensors",
        "checkpoints/history",
        "plots/learning.png",
        "plots/learning_curve.png",
        "plots/hyperparameters.png",
        events,
    }
    for plot in (run / "plots").iterdir():
        assert min(Image.open(plot).size) > 300


def test_summary_has_the_promised_keys(finished):
    summary = summary_of(finished[0])
    assert list(summary) == SUMMARY_KEYS
    assert summary["env_id"] == "CartPole-v1"
    assert (summary["meta"], summary["seed"], summary["backend"]) == ("bmg", 0, "jax")
    assert 6000 <= summary["env_steps"] < 6400
    assert summary["solved_at_env_steps"] is None
    assert all(summary[key] > 0 for key in (*TIMES, "last_100_return", "eval_return_mean"))
    assert summary["reward_per_step"] == summary["eval_reward_per_step"] == 1.0
    assert summary["total_reward"] == summary["env_steps"]
    hyperparameters = summary["hyperparameters"]
    assert list(hyperparameters) == NAMES
    for name, spec in IN_USE.items():
        assert hyperparameters[name]["tuned"] == (spec.tuned and name != "lambda")
    assert hyperparameters["gamma"]["start"] == 0.7 != hyperparameters["gamma"]["end"]
    assert hyperparameters["lambda"]["start"] == hyperparameters["lambda"]["end"]
    assert [name for name in NAMES if hyperparameters[name]["falls"]] == ["learning_rate"]


def test_metrics_cover_the_run(finished):
    run, _ = finished
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["env_steps"] for line in lines]
    summary = summary_of(run)
    assert len(lines) >= 20 and steps == sorted(set(steps)) and steps[-1] == summary["env_steps"]
    last = lines[-1]
    assert last["return_mean_100"] == summary["last_100_return"]
    for name in NAMES:
        assert last[f"hyperparameters/{name}"] == summary["hyperparameters"][name]["end"]
    assert any(name.startswith("diagnostics/") for name in last)
    assert {"wall_seconds", "steps_per_second", "episodes"} <= last.keys()


def test_a_run_without_terminal_prints_plain_lines_and_a_table(finished):
    run, process = finished
    assert process.stderr == ""
    assert "\x1b" not in process.stdout
    lines = process.stdout.splitlines()
    assert 10 <= sum("steps/s" in line for line in lines) <= 13
    for word in ("evaluation return", "training return", "seconds", *NAMES):
        assert any(line.startswith(word) for line in lines)
    assert lines[-1].split() == ["run", "directory", str(run.relative_to(run.parents[1]))]


def test_a_rerun_from_its_config_is_equal_to_the_last_digit(finished, python_run):
    run, _ = finished
    again = python_run.directory / "again"
    process = python_run("--config", run / "config.yaml", "--out", again)
    assert process.returncode == 0, process.stderr
    assert (again / "config.yaml").read_text() == (run / "config.yaml").read_text()
    first, second = summary_of(run), summary_of(again)
    assert {k: v for k, v in first.items() if k not in TIMES} == {
        k: v for k, v in second.items() if k not in TIMES
    }
    one, two = (load_file(x / "checkpoints" / "agent.safetensors") for x in (run, again))
    assert one.keys() == two.keys() and any(name.startswith("run/env/") for name in one)
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], name)
    for name in ("checkpoints/history", "plots/learning_curve.png", "plots/hyperparameters.png"):
        assert (run / name).read_bytes() == (again / name).read_bytes()


def test_eval_repeats_the_evaluation_of_the_run_and_adds_files(finished, python_run):
    run, _ = finished
    before = summary_of(run)
    for number in (1, 2):
        process = python_run("eval", run, "--video")
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
        result = json.loads((run / f"eval-{number}.json").read_text())
        assert result["return_mean"] == before["eval_return_mean"]
        assert result["return_std"] == before["eval_return_std"]
        assert result["env_steps"] == before["env_steps"]
        assert len(result["returns"]) == result["episodes"] == 5
        with Image.open(run / f"videos/episode-{number}.gif") as image:
            assert image.n_frames > 3
    assert "evaluation return" in process.stdout and "lowest, highest" in process.stdout
    assert summary_of(run) == before


@pytest.mark.slow
def test_a_host_run_without_tuning_trains_too(python_run):
    out = python_run.directory / "host"
    flags = f"--env MountainCarContinuous --backend host --meta none --steps 400 --out {out}"
    process = python_run(*flags.split(), "--num-envs", "2", "--eval-episodes", "1")
    assert process.returncode == 0, process.stderr
    summary = summary_of(out)
    assert (summary["backend"], summary["meta"]) == ("host", "none")
    assert not any(value["tuned"] for value in summary["hyperparameters"].values())
    # No episode of 999 steps has ended.
    assert summary["last_100_return"] is None and summary["eval_return_mean"] is not None


@pytest.mark.slow
def test_a_task_without_end_shows_rewards_in_place_of_returns(python_run):
    out = python_run.directory / "continuing"
    flags = f"--env TwoColors --num-envs 1 --period 1 --steps 2000 --seed 1 --out {out}"
    process = python_run(*flags.split(), "--eval-episodes", "3")
    assert process.returncode == 0 and process.stderr == "", process.stderr
    shown = process.stdout
    assert "return" not in shown and "nan" not in shown.lower()
    assert "evaluation reward" in shown and "3 streams of 5,000 steps" in shown
    assert sum("steps/s  reward -" in line for line in shown.splitlines()) >= 10
    text = (out / "summary.json").read_text()
    summary = json.loads(text)
    assert list(summary) == SUMMARY_KEYS and "NaN" not in text
    assert summary["env_id"] == "TwoColors-v0" and 2000 <= summary["env_steps"] < 2100
    returns = ("last_100_return", "eval_return_mean", "eval_return_std", "solved_at_env_steps")
    assert all(summary[key] is None for key in returns)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rewards = np.asarray([line["reward_per_step"] for line in lines])
    steps = np.diff([0, *(line["env_steps"] for line in lines)])
    assert summary["total_reward"] == pytest.approx((rewards * steps).sum())
    assert -1 < summary["reward_per_step"] < 1
    assert min(Image.open(out / "plots" / "learning_curve.png").size) > 300

    process = python_run("eval", out, "--video")
    assert process.returncode == 0 and process.stderr == "", process.stderr
    assert "evaluation reward" in process.stdout and "in 150 steps" in process.stdout
    result = json.loads((out / "eval-1.json").read_text())
    assert result["reward_per_step_mean"] == pytest.approx(summary["eval_reward_per_step"])
    assert result["steps"] == [5000] * 3 and result["ended"] == [False] * 3
    assert not any(key.startswith("return") for key in result)
    with Image.open(out / "videos" / "episode-1.gif") as image:
        assert image.n_frames > 1


@pytest.mark.slow
def test_a_run_that_diverges_says_so_and_fails(python_run, tmp_path):
    arguments = "--meta none --inner-optimizer sgd --max-grad-norm inf --steps 500"
    out = tmp_path / "run"
    result = python_run(*arguments.split(), "--start", "learning_rate=1e30", "--out", out)
    assert result.returncode == 1
    assert "not finite" in result.stdout and "Traceback" not in result.stderr
    assert json.loads((out / "summary.json").read_text())["diverged"] is True


@pytest.mark.fault("SIGTERM or SIGHUP", "as Ctrl-C: saved, summarised, exit code 143 or 129")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_was_done(number, environment, python_run):
    out = python_run.directory / f"interrupted-{number}"
    flags = f"--meta none --steps 3000000 --out {out} {SMALL}"
    process = subprocess.Popen(
        [sys.executable, RUN_PY, *flags.split()],
        cwd=python_run.directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics, deadline = out / "metrics.jsonl", time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors and "run directory" in output
    summary = summary_of(out)
    assert list(summary) == SUMMARY_KEYS
    assert 0 < summary["env_steps"] < 3_000_000 and summary["eval_return_mean"] is None
    assert (out / "checkpoints" / "agent.safetensors").exists()
    assert (out / "plots" / "learning_curve.png").exists()


def test_mistakes_give_one_line_exit_code_2_and_destroy_nothing(finished, python_run):
    run, _ = finished
    damaged = python_run.directory / "damaged"
    (damaged / "checkpoints").mkdir(parents=True)
    (damaged / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    checkpoint = bytearray((run / "checkpoints" / "agent.safetensors").read_bytes())
    checkpoint[len(checkpoint) // 2] ^= 1
    (damaged / "checkpoints" / "agent.safetensors").write_bytes(checkpoint)
    before = contents(python_run.directory)
    for arguments, word in (
        (["--gama", "0.9"], "--gama"),
        (["--start", "gamma=1.5"], "1.5"),
        (["--out", run], "finished, after 6,144 steps; raise"),
        (["--env", "CartPole", "--out", run], "start of gamma 0.7, not 0.99"),
        (["--out", "/proc/run"], "/proc/run"),
        (["eval", damaged], "damaged"),
    ):
        process = python_run(*arguments)
        assert process.returncode == 2
        assert process.stdout in ("", "compiling\n")  # a directory may refuse only then
        assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1
        assert word in process.stderr
    assert contents(python_run.directory) == before


def test_help_and_mistakes_are_answered_before_jax_is_loaded(environment):
    code = (
        "import run, sys; codes = run.main(['--help']), run.main(['--seed', 'x']);"
        "assert codes == (0, 2); assert not {'jax', 'gymnasium', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=RUN_PY.parent,
        env=environment,
        check=True,
        capture_output=True,
    )
