"""Runs that were stopped go on: to the same bits, after whatever has stopped them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import selftuning as st
from selftuning.configs import files
from selftuning.training import checkpoints, plots, saving, signals
from tests import killed_run
from tests.small_runs import SMALL

ACTOR_CRITIC = {"preset": "actor_critic", "num_envs": 4, "rollout_length": 8, "hidden": (8,)}
TUNED = "plots/hyperparameters.png"
TIMES = ("wall_seconds", "compile_seconds", "steps_per_second")


def slow(*cases):
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


def contents(run):
    """All that a run has written and that has nothing to do with time."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    found = {
        "metrics": [{k: x for k, x in line.items() if k not in TIMES} for line in lines],
        "summary": {k: x for k, x in summary.items() if k not in TIMES},
    }
    for name in ("checkpoints/history", "episodes.csv", "plots/learning_curve.png", TUNED):
        found[name] = (run / name).read_bytes()
    for best in (False, True):
        path = checkpoints.path_in(run, best)
        if path.exists():
            arrays = load_file(path).items()
            found |= {f"{path.name} {k}": (x.dtype, x.shape, x.tobytes()) for k, x in arrays}
    return found


def stop_after(chunks):
    """A callback that ends a run after so many chunks."""
    seen = []
    return lambda snapshot: seen.append(snapshot) or len(seen) >= chunks


@pytest.mark.fault("a run is stopped", "it goes on to the bits of one that was not")
@pytest.mark.parametrize(
    ("env", "changes"),
    [
        ("CartPole", {"eval_every": 1000}),
        *slow(
            ("CartPole", {"core": "gru", "tune": ["learning_rate"]}),
            ("Acrobot", {"context": "rich", "context_hidden": (4,), "normalization_memory": 500}),
            ("TwoColors", ACTOR_CRITIC | {"target_steps": 3, "inner_steps": 2}),
            ("CartPole", ACTOR_CRITIC | {"heads": 2, "correction": "vtrace", "outer_critic": True}),
            ("CartPole", ACTOR_CRITIC | {"preset": "q_lambda", "steps": 12_000}),
            ("ContinualCartPole", {"inner_optimizer": "trac", "regularize": "l2_init"}),
            ("gymnax:Pong-misc", {"steps": 1000}),
        ),
    ],
    ids=["evaluated", "gru", "network", "two-colors", "heads", "q-lambda", "life", "gymnax"],
)
def test_a_run_in_graph_goes_on_to_the_same_bits(env, changes, tmp_path):
    settings = {k: x for k, x in SMALL.items() if k in ("steps", "eval_episodes", "progress")}
    settings |= {"checkpoint_every": 0.0} if "preset" in changes else SMALL
    settings |= changes
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    st.train(env, out=whole, **settings)
    assert st.train(env, out=parts, **settings, callback=stop_after(5)).interrupted
    assert not json.loads((parts / "summary.json").read_text())["finished"]
    assert st.train(env, out=parts, **settings, callback=stop_after(4)).interrupted
    again = st.train(out=parts, progress=False)
    assert not again.interrupted and again.summary["finished"]
    one, two = contents(whole), contents(parts)
    assert one.keys() == two.keys()
    for name, content in one.items():
        assert content == two[name], name
    assert len(one["metrics"]) >= 16
    if env == "CartPole":  # which pays 1 a step
        np.testing.assert_array_equal(again.episodes.lengths, again.episodes.returns)


@pytest.mark.fault("a run on the host is stopped", "its agent goes on; environments begin anew")
@pytest.mark.parametrize("changes", [{}, {"env_workers": 2}])
def test_a_run_on_the_host_goes_on_with_its_agent(changes, tmp_path, capfd):
    settings = SMALL | {"backend": "host", "steps": 2000} | changes
    first = st.train("CartPole", out=tmp_path / "run", **settings, callback=stop_after(12))
    before = load_file(checkpoints.path_in(tmp_path / "run"))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    seen = []
    again = st.train("CartPole", out=tmp_path / "run", **settings, callback=seen.append)
    assert again.summary["finished"] and again.summary["env_steps"] == 2048
    assert seen[0].env_steps > first.summary["env_steps"] == before["training/updates"] / 4 * 64
    assert (tmp_path / "run" / "metrics.jsonl").read_text().startswith(lines)
    np.testing.assert_array_equal(again.rewards[: len(first.rewards)], first.rewards)
    assert len(again.rewards) == len(again.env_steps) == 32
    # No episode goes on from before, and each takes as long as it pays.
    assert len(again.episodes.lengths) > len(first.episodes.lengths) > 4
    np.testing.assert_array_equal(again.episodes.lengths, again.episodes.returns)
    table = (tmp_path / "run" / "episodes.csv").read_text().splitlines()[1:]
    assert len(table) == len(again.episodes.lengths)


@pytest.mark.fault("a run is stopped", "it goes on to the bits of one that was not")
@pytest.mark.parametrize(
    "env", ["tests.odd_states:Tape", pytest.param("CartPole", marks=pytest.mark.slow)]
)
def test_environments_that_are_saved_go_on_where_they_were(env, tmp_path):
    settings = SMALL | {"backend": "host", "steps": 2000, "save_environments": True}
    st.train(env, out=tmp_path / "whole", **settings)
    for chunks in (7, 9):
        st.train(env, out=tmp_path / "run", **settings, callback=stop_after(chunks))
    st.train(env, out=tmp_path / "run", **settings)
    one, two = contents(tmp_path / "whole"), contents(tmp_path / "run")
    assert one.keys() == two.keys()
    for name, content in one.items():
        assert content == two[name], name


def test_environments_that_begin_anew_when_they_are_copied_are_refused(tmp_path):
    settings = SMALL | {"save_environments": True, "out": tmp_path / "run"}
    for env, said in (
        ("tests.odd_states:Forgets", "whose copies go on in another way"),
        ("tests.odd_states:Locked", "TypeError: cannot pickle"),
        ("CartPole", "inside jit"),
    ):
        with pytest.raises(st.ConfigError, match=f"save_environments: true .*{said}"):
            st.train(env, **settings)
    assert not (tmp_path / "run").exists()


def test_more_steps_train_a_finished_run_further(tmp_path):
    run = tmp_path / "run"
    st.train("CartPole", out=run, **SMALL)
    with pytest.raises(st.ConfigError, match=r"finished, after 4,032 steps; raise steps"):
        st.train(out=run)
    with pytest.raises(st.ConfigError, match=r"steps: 3000 is not allowed; .* at least 4000"):
        st.train(out=run, steps=3000)
    assert st.train(out=run, steps=6000, progress=False, callback=stop_after(9)).interrupted
    further = st.train(out=run, progress=False)
    assert further.summary["env_steps"] >= 6000 and further.settings.steps == 6000
    assert files.load(run / "config.yaml").steps == 6000
    steps = [json.loads(line)["env_steps"] for line in (run / "metrics.jsonl").open()]
    assert steps == sorted(set(steps)) and steps[-1] == further.summary["env_steps"]
    assert len(further.rewards) == len(further.env_steps)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "has a run with seed 0, not 1"),
        ({"meta": "mg"}, "has a run with meta bmg, not mg"),
        ({"hidden": (16,)}, r"has a run with hidden \[8\], not \[16\]"),
        ({"start": {"gamma": 0.5}}, r"has a run with start of gamma 0.99, not 0.5"),
        ({"env": "Acrobot"}, "has a run with env CartPole-v1, not Acrobot-v1"),
    ],
)
def test_a_run_of_other_settings_is_left_alone(changes, said, tmp_path):
    run = tmp_path / "run"
    st.train("CartPole", out=run, **SMALL, callback=stop_after(2))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(st.ConfigError, match=said):
        st.train(**{"env": "CartPole"} | SMALL | changes, out=run)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.fault("two processes with one directory", "one line for the second")
def test_a_directory_is_for_one_run_at_a_time(tmp_path):
    run, said = tmp_path / "run", []

    def second(_):
        if not said:
            with pytest.raises(st.ConfigError) as error:
                st.train("CartPole", out=run, **SMALL)
            said.append(str(error.value))

    assert not st.train("CartPole", out=run, **SMALL, callback=second).interrupted
    assert said == [f"out: {run} is in use: another process writes there"]


@pytest.mark.fault("files of a run are missing", "a line says which; nothing is made up")
def test_files_that_are_missing_are_said(tmp_path, capfd):
    run, settings = tmp_path / "run", SMALL | {"eval_every": 1000}
    st.train("CartPole", out=run, **settings, callback=stop_after(20))
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:5]))
    (run / "checkpoints" / "best.safetensors").unlink()
    st.train("CartPole", out=run, **settings)
    said = capfd.readouterr().err
    assert "best.safetensors does not exist; the best agent so far is lost" in said
    assert "metrics.jsonl is shorter than it was: lines of it are lost" in said
    kept = [json.loads(line)["env_steps"] for line in (run / "metrics.jsonl").open()]
    assert kept[:5] == [json.loads(line)["env_steps"] for line in lines[:5]]
    assert len(kept) > 20 and kept == sorted(set(kept))
    for path in saving.newest_first(run):
        path.unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(st.ConfigError, match="has a run whose checkpoints are gone"):
        st.train("CartPole", out=run, **settings | {"steps": 6000})
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.fault("config.yaml of a run is missing", "a line names it; nothing is written")
def test_a_run_without_its_settings_says_so(tmp_path):
    run = tmp_path / "run"
    st.train("CartPole", out=run, **SMALL, callback=stop_after(2))
    (run / "config.yaml").unlink()
    before = sorted(run.rglob("*"))
    with pytest.raises(st.ConfigError, match=r"out: .* has a run without its config.yaml; bring"):
        st.train("CartPole", out=run, **SMALL)
    assert before == sorted(run.rglob("*"))


class Killed(BaseException):
    """What a process that is killed does not get to see."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """By backend, what a run has written that nobody has killed."""
    folder = tmp_path_factory.mktemp("whole")
    return cache(lambda backend: contents_of(folder / backend, backend))


def contents_of(run, backend):
    killed_run.train(run, backend, checkpoint_every=0.0)
    return contents(run)


@pytest.mark.fault("killed inside a save", "it goes on from the save before, to the same bits")
@pytest.mark.parametrize(
    ("call", "number"),  # calls of the system on the way to a checkpoint, and to the best one
    [
        *[("replace", 0), ("link", 5)],
        *slow(*(("replace", n) for n in (1, 2, 5, 8, 13))),
        *slow(*(("link", n) for n in (0, 1, 2, 8, 13))),
        *slow(*(("fsync", n) for n in (0, 1, 2, 5, 8, 13))),
    ],
)
def test_a_run_that_was_killed_inside_a_save_goes_on(call, number, whole, tmp_path, monkeypatch):
    real, left = getattr(os, call), [number]

    def killing(*arguments, **more):
        if left[0] <= 0:  # all later ones too: nothing is tidied up
            raise Killed
        left[0] -= 1
        return real(*arguments, **more)

    monkeypatch.setattr(os, call, killing)
    with pytest.raises(Killed):
        killed_run.train(tmp_path / "run", "jax", checkpoint_every=0.0)
    monkeypatch.undo()
    killed_run.train(tmp_path / "run", "jax", checkpoint_every=0.0)
    found = contents(tmp_path / "run")
    assert found == whole("jax")


def is_finished(run):
    summary = run / "summary.json"
    return summary.exists() and json.loads(summary.read_text())["finished"]


@pytest.mark.slow
@pytest.mark.fault("SIGKILL at a random moment", "it goes on; in-graph to the same bits")
@pytest.mark.parametrize("backend", ["jax", "host"])
def test_a_run_that_is_killed_at_random_moments_goes_on(backend, whole, tmp_path):
    draw, kills, run = random.Random(0), 0, 0
    while kills < 50:
        out, done = tmp_path / f"{run}", False
        steps = -1
        while not done:
            seconds = draw.uniform(0.0, 0.5)
            command = [sys.executable, "-m", "tests.killed_run", out, backend, str(seconds)]
            code = subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode
            assert code in (0, -signal.SIGKILL)
            kills, done = kills + (code != 0), code == 0 or is_finished(out)
            if saving.newest_first(out):
                saved = checkpoints.read(saving.newest_first(out)[0]).env_steps
                assert saved >= steps, "nothing that was saved is lost"
                steps = saved
        if backend == "jax":
            assert contents(out) == whole(backend)
        else:
            summary = json.loads((out / "summary.json").read_text())
            assert summary["finished"] and summary["env_steps"] == 6016
        run += 1


@pytest.mark.fault("a checkpoint is damaged", "it goes on from the one before, and says so")
def test_a_damaged_checkpoint_costs_no_more_than_itself(whole, tmp_path, capfd):
    run = tmp_path / "run"
    killed_run.train(run, "jax", checkpoint_every=0.0, callback=stop_after(9))
    kept = saving.newest_first(run)
    assert len(kept) == 1 + saving.KEPT
    for path in kept[:2]:  # two names of one file
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.unlink()
        path.write_bytes(content)
    killed_run.train(run, "jax", checkpoint_every=0.0, progress=True)
    assert contents(run) == whole("jax")
    assert len(list((run / "checkpoints").glob("*.damaged"))) == 1
    assert saving.newest_first(run)[0].samefile(saving.newest_first(run)[1])
    for path in saving.newest_first(run):
        path.write_bytes(b"no checkpoint")
    with pytest.raises(st.ConfigError, match=r"checkpoint: .*agent.safetensors cannot be read"):
        st.train(out=run, steps=10**5)
    with pytest.raises(st.ConfigError, match="checkpoint: "):
        st.load(run)


@pytest.mark.fault("the history of a run is damaged", "one line, and no other numbers")
def test_a_damaged_history_is_found(tmp_path):
    run = tmp_path / "run"
    st.train("CartPole", out=run, **SMALL, callback=stop_after(9))
    path = run / "checkpoints" / "history"
    content = path.read_bytes()
    for damaged in (content[:100], content[:50] + b"?" + content[51:], b""):
        path.write_bytes(damaged)
        with pytest.raises(st.ConfigError, match=r"history: .* is damaged"):
            st.train(out=run)
    path.unlink()
    with pytest.raises(st.ConfigError, match=r"history: cannot read .*: No such file"):
        st.train(out=run)


@pytest.mark.fault("plots cannot be drawn", "a warning; all else is written")
def test_a_plot_that_fails_is_a_warning(tmp_path, monkeypatch, capfd):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots, "learning_curve", full)
    run = st.train("CartPole", out=tmp_path / "run", **SMALL)
    assert run.summary["finished"] and st.load(tmp_path / "run").env_steps == 4032


@pytest.mark.fault("SIGTERM or SIGHUP", "as Ctrl-C: saved, summarised, exit code 143 or 129")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_and_a_second_one_interrupts(number):
    said = []
    first = signal.signal(number, signal.SIG_DFL)  # who runs the tests may ignore it
    before = signal.getsignal(number)
    with signals.stop_signal(said.append) as stopped:
        assert not stopped()
        os.kill(os.getpid(), number)
        assert stopped() and stopped.by == number and len(said) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) == before
    signal.signal(number, first)
    assert signals.exit_code(stopped.by) == 128 + number


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.stop_signal(print) as stopped:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stopped()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.fault("Ctrl-C while compiling", "ends at once, nothing is written, exit code 130")
def test_ctrl_c_ends_a_single_long_call_at_once():
    """Python would hear of it when the call is over."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "busy\n"
    time.sleep(0.5)  # the call comes after the line
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (output, errors, process.returncode) == ("", "interrupted\n", 130)


BUSY = """
import hashlib, signal
from selftuning.training import signals
signal.signal(signal.SIGINT, signal.default_int_handler)
with signals.ending_at_once():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes, without a look at signals
"""
