"""What a run leaves when an environment or an extension fails in it."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import selftuning as st
from selftuning import cli
from selftuning.configs.settings import AgentSettings, RunSettings
from selftuning.envs import registry
from selftuning.training import sizes
from tests import odd_envs
from tests.test_envs_misbehave import Functional, gym_id

SMALL = {"num_envs": 2, "rollout_length": 8, "hidden": (4,), "meta": "none", "eval_episodes": 2}
SMALL |= {"minibatches": 1, "epochs": 1, "progress": False}


def later(step, error):
    """An environment that raises at a later step, and only in training or only elsewhere."""

    class Later(odd_envs.Odd):
        def usual_step(self):
            if self.steps == step:
                raise error
            return super().usual_step()

    return Later


def flags(env, out, *more):
    small = "--num-envs 2 --rollout-length 8 --hidden 4 --meta none --minibatches 1 --epochs 1"
    return ["--env", gym_id(env), *small.split(), "--eval-episodes", "2", "--out", str(out), *more]


@pytest.mark.fault(
    "an environment fails in training",
    "a line, exit code 1; agent, metrics and summary up to there, the traceback in error.txt",
)
def test_what_was_learned_is_there_when_an_environment_fails(tmp_path, capfd):
    env, out = later(333, ConnectionError("simulator went away")), tmp_path / "run"
    assert cli.main(flags(env, out, "--steps", "2000")) == 1
    said = capfd.readouterr().err
    line = "error: environment 0 of 2, its step 333: ConnectionError: simulator went away (test_"
    assert said.startswith(line) and said.count("\n") == 1
    trace = (out / "error.txt").read_text()
    assert "in usual_step" in trace and "ConnectionError: simulator went away" in trace
    summary = json.loads((out / "summary.json").read_text())
    assert 500 < summary["env_steps"] <= 666 and summary["eval_return_mean"] is None
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["env_steps"] == summary["env_steps"]
    agent = st.load(out)
    assert agent.env_steps == summary["env_steps"]
    agent.act(np.zeros(2, np.float32))


@pytest.mark.fault("the first reset fails", "a line, exit code 1; the traceback in error.txt")
def test_a_first_reset_that_fails_leaves_its_traceback(tmp_path, capfd):
    class Closed(odd_envs.Odd):
        open, opened = False, 0

        def reset(self, *, seed=None, options=None):
            Closed.opened += 1
            if Closed.opened > 1 and not Closed.open:  # the first one is a look at what it returns
                raise ConnectionError("door is shut")
            return super().reset(seed=seed, options=options)

    out = tmp_path / "run"
    arguments = flags(Closed, out, "--steps", "64")
    assert cli.main(arguments) == 1
    said = capfd.readouterr().err
    assert said.startswith("error: environment 0 of 2, its step 0: ConnectionError: door is shut")
    assert [path.name for path in out.iterdir()] == ["error.txt"]
    assert "in reset" in (out / "error.txt").read_text()
    Closed.open = True  # the same command again
    assert cli.main(arguments) == 0
    assert (out / "summary.json").exists() and "door is shut" in (out / "error.txt").read_text()


def test_from_python_the_error_is_raised(tmp_path):
    env = later(333, ValueError("no"))
    with pytest.raises(st.FailedEnvironmentError, match="step 333: ValueError: no"):
        st.train(env, steps=2000, out=tmp_path / "run", **SMALL)
    assert st.load(tmp_path / "run").env_steps > 500


def only_beside(count):
    """An environment that fails at once in all copies but the first ones, which train."""

    class Beside(odd_envs.Odd):
        made = 0

        def __init__(self, render_mode=None):
            super().__init__(render_mode)
            Beside.made += 1
            self.number = Beside.made

        def usual_step(self):
            if self.number > count:
                raise RuntimeError("no licence left")
            return super().usual_step()

    return Beside


@pytest.mark.fault("an environment fails in an evaluation", "a warning; training is not lost")
@pytest.mark.parametrize("every", [0, 100])
def test_training_outlives_its_evaluations(every, tmp_path, capfd):
    out = tmp_path / "run"
    # One more is made to look for masks.
    more = ["--steps", "300", "--eval-every", str(every)]
    assert cli.main(flags(only_beside(3), out, *more)) == 0
    said = capfd.readouterr().err.splitlines()
    assert all(line.startswith("warning: no evaluation") for line in said) and len(said) >= 1
    assert "environment 0 of 2, its step 1: RuntimeError: no licence left (test_" in said[-1]
    assert json.loads((out / "summary.json").read_text())["env_steps"] >= 300
    assert "no licence left" in (out / "error.txt").read_text()
    assert st.load(out).env_steps >= 300


@pytest.mark.fault("an environment cannot be drawn", "the evaluation is written; a warning")
def test_evaluations_outlive_their_animations(tmp_path, capfd, monkeypatch):
    out = tmp_path / "run"
    name = gym_id(odd_envs.Odd)
    arguments = flags(odd_envs.Odd, out, "--steps", "64")
    assert cli.main(arguments) == 0
    capfd.readouterr()
    cases = {
        odd_envs.NoPicture: "render() returned None, and no image of uint8 (odd_envs.py",
        odd_envs.FloatPicture: "shape (8, 8, 3) and type float64, and no image",
        odd_envs.DrawingRaises: "cannot be drawn: RuntimeError: no display (odd_envs.py",
        odd_envs.NoRenderArgument: "render_mode",
    }
    for number, (env, words) in enumerate(cases.items(), 1):
        gym_entry(monkeypatch, name, env)
        assert cli.main(["eval", str(out), "--video", "--episodes", "2"]) == 0
        said = capfd.readouterr().err
        assert said.startswith("warning: no animation: ") and words in said, said
        assert said.count("\n") == 1
        assert (out / f"eval-{number}.json").exists()
    assert not list(out.glob("videos/*.gif"))


def gym_entry(monkeypatch, name, env):
    import gymnasium as gym

    monkeypatch.setattr(gym.registry[name], "entry_point", env)


@pytest.mark.fault(
    "Python code that a compiled program calls raises",
    "a line, exit code 1; the agent of the last checkpoint, the traceback in error.txt",
)
def test_callbacks_inside_jit_are_told_by_their_own_line(tmp_path, capfd):
    calls = []

    def priced(_):
        calls.append(0)
        if len(calls) > 400:
            raise ConnectionError("no price")
        return np.float32(1.0)

    shape = jax.ShapeDtypeStruct((), np.float32)

    def reward(state, action, next_state, rng, params=None):
        return jax.pure_callback(priced, shape, action, vmap_method="sequential")

    env, out = Functional(reward=reward), tmp_path / "run"
    with pytest.raises(st.FailedEnvironmentError) as error:
        st.train(env, steps=2000, out=out, **SMALL)
    said = str(error.value)
    assert said.startswith("inside jit, after step ")
    assert "ConnectionError: no price (test_training_faults.py, line " in said
    assert "in priced" in (out / "error.txt").read_text()
    assert np.isfinite(jax.tree.leaves(st.load(out).params)[0]).all()
    assert "Traceback" not in capfd.readouterr().err


EXTENSIONS = {
    "raises": ("raise ValueError('no such head')", "ValueError: no such head"),
    "asks for what is not there": ("return seen.polcy", "no attribute 'polcy'"),
    "decides by a value": ("return 1.0 if seen.value.mean() > 0 else 0.0", "TracerBool"),
    "has shapes that do not fit": ("return seen.value + jnp.ones(7)", "Incompatible shapes"),
    "returns None": ("return None", "None"),
    "returns text": ("return 'much'", "'much'"),
    "a torso that returns None": ("torso", "None"),
    "an objective that returns None": ("outer_objective", "None"),
    "a rule that returns None": ("update_rule", "cannot unpack"),
}


@pytest.mark.fault("an extension raises or returns no numbers", "a line with its file; exit code 2")
@pytest.mark.parametrize("kind", EXTENSIONS)
def test_extensions_are_told_by_their_own_line(kind, tmp_path, monkeypatch, capfd):
    body, words = EXTENSIONS[kind]
    name = f"own_{abs(hash(body))}"
    head = "import jax.numpy as jnp\nimport selftuning as st\n"
    head += "from selftuning.metagrad.update_rules import UpdateRule\n"
    term = f"@st.loss_term(start=0.1, low=1e-4, high=1.0)\ndef odd(seen):\n    {body}\n"
    part = f"@st.{body}\ndef odd(*_):\n    return None\n"
    rule = f"@st.{body}\ndef odd():\n    return UpdateRule(lambda p: (), lambda *_: None)\n"
    text = rule if body == "update_rule" else term if " " in body else part
    (tmp_path / f"{name}.py").write_text(head + text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.main(["--extension", name, "--out", "run", "--hidden", "4"]) == 2
    said = capfd.readouterr().err
    assert re.match(r"error: --extension: (\w+ )?odd: ", said) and words in said, said
    assert f"({name}.py, line " in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.fault("a run that needs more memory than there is", "refused with the size")
def test_what_cannot_fit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(sizes, "_memory", lambda: 4e9)
    monkeypatch.setattr(sizes, "_of_device", lambda: np.inf)
    settings = RunSettings(num_envs=8, agent=AgentSettings(rollout_length=128))

    def said(space):
        env = gym_id(odd_envs.seeing(space, 0))
        spec = registry.make(env, 1).spec
        with pytest.raises(st.ConfigError) as error:
            sizes.check(spec, settings)
        return str(error.value)

    from gymnasium import spaces

    image = said(spaces.Box(0, 255, (2000, 2000, 3), np.uint8))
    assert "rollout_length: 1024" in image and "24.6 GB, and there are 4.0 GB" in image
    many = said(spaces.Discrete(10**7))
    assert "networks take 20.5 GB; there are 4.0 GB" in many
    sizes.check(registry.make("CartPole-v1", 1).spec, settings)
    assert sizes._memory() == 4e9 and jnp.isfinite(sizes._memory())
