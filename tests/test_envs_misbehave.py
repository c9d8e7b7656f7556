"""Environments that misbehave: each kind is a line that says which, when, what and where."""

import re
from contextlib import closing

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, FailedEnvironmentError
from selftuning.configs.settings import EnvSettings
from selftuning.envs import given, registry
from tests import odd_envs
from tests.odd_envs import GOOD, changed, raising, returning, seeing

SAID = "a line says which environment, at which step and what; what was learned is kept"
REFUSED = "refused in a line, before anything is written"
TRAINS = "trains"

IMAGE = spaces.Box(0, 255, (2, 2), np.uint8)
PARTS = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(-1.0, 1.0, (2,))})

# What an environment does: (the environment, what is said of it).
FAILS = {
    "step raises": (
        changed(odd_step=raising(ConnectionError("simulator went away"))),
        "ConnectionError: simulator went away",
    ),
    "step raises an error without text": (
        changed(odd_step=raising(odd_envs.SimulatorError())),
        "SimulatorError: an error that has no text",
    ),
    "step raises an error of many lines": (
        changed(odd_step=raising(RuntimeError("one\n\n\ttwo\x1b[2J" + 9000 * "x"))),
        "RuntimeError: one two",
    ),
    "sys.exit in step": (odd_envs.Leaves, "SystemExit: licence expired"),
    "closes itself": (odd_envs.ClosesItself, "TypeError: 'NoneType' object"),
    "step returns None": (changed(odd_step=lambda self: None), "step() returned None, not ("),
    "step returns 3 values": (changed(odd_step=lambda self: (GOOD, 1.0, False)), "3 values"),
    "step returns 4 values": (changed(odd_step=lambda self: (GOOD, 1.0, False, {})), "4 values"),
    "step returns 6 values": (
        changed(odd_step=lambda self: (*self.usual_step(), 0)),
        "6 values, not (observation, reward, terminated, truncated, info)",
    ),
    "reward None": (returning(reward=None), "a reward of None, and not one number"),
    "reward text": (returning(reward="1.0"), "a reward of '1.0', and not one number"),
    "reward of two numbers": (returning(reward=np.ones(2)), "a reward of an array of shape (2,)"),
    "reward NaN": (returning(reward=float("nan")), "a reward of nan"),
    "reward infinite": (returning(reward=np.float32(np.inf)), "a reward of inf"),
    "reward that no float32 holds": (
        returning(reward=1e300),
        "a reward of 1e+300, which no float32 holds",
    ),
    "reward a huge whole number": (returning(reward=10**400), "a reward of a int"),
    "reward complex": (returning(reward=1j), "a reward of 1j"),
    "terminated None": (returning(terminated=None), "terminated is None, and neither True nor"),
    "terminated text": (returning(terminated="False"), "terminated is 'False'"),
    "truncated an array": (returning(truncated=np.zeros(2, bool)), "truncated is an array of"),
    "info a list": (returning(info=[1]), "info is [1], and no dictionary"),
    "observation None": (returning(observation=None), "None in place of numbers"),
    "observation text": (returning(observation="left"), "'left' in place of numbers"),
    "observation of objects": (returning(observation=[None, 1.0]), "[None, 1.0] in place of"),
    "observation ragged": (returning(observation=[[1.0], [1.0, 2.0]]), "ValueError: "),
    "observation NaN": (returning(observation=[0.0, np.nan]), "with nan at 1, and no finite"),
    "observation infinite": (returning(observation=[np.inf, 0.0]), "with inf at 0, and no finite"),
    "observation that no float32 holds": (returning(observation=[1e300, 0.0]), "with inf at 0"),
    "observation of another shape": (
        returning(observation=np.zeros(3, np.float32)),
        "an observation of shape (3,), not (2,)",
    ),
}
FIRST = {
    "reset raises": (
        changed(seen=raising(OSError(111, "Connection refused"))),
        "ConnectionRefusedError: [Errno 111] Connection refused",
    ),
    "reset returns the observation alone": (
        changed(reset=lambda self, **_: GOOD),
        "reset() returned an array of shape (2,) and type float32, not (observation, info)",
    ),
    "reset returns None": (changed(reset=lambda self, **_: None), "reset() returned None, not ("),
    "observation beyond its type": (
        seeing(IMAGE, np.full((2, 2), 300)),
        "with 300, which no ",
    ),
    "observation of parts of bytes": (
        seeing(IMAGE, np.full((2, 2), 0.5)),
        "0.5, which no uint8",
    ),
    "discrete observation outside": (
        seeing(spaces.Discrete(4), 7),
        "with 7, which is not in",
    ),
    "parts missing": (seeing(PARTS, {"a": 1}), "KeyError: 'b'"),
    "parts outside": (seeing(PARTS, {"a": -1, "b": GOOD}), "with -1, which is not in"),
}
HUGE = spaces.Discrete(10**9)
NOT_MADE = {
    "needs a file": (
        changed(__init__=raising(FileNotFoundError(2, "No such file", "prices.csv"))),
        "cannot be created: FileNotFoundError: [Errno 2] No such file: 'prices.csv'",
    ),
    "sys.exit in the constructor": (changed(__init__=raising(SystemExit(2))), "SystemExit: 2"),
    "no action space": (changed(action_space=None), "has the action space None"),
    "an observation space that is a list": (
        changed(observation_space=[2]),
        "space [2], which",
    ),
    "a space of no numbers": (seeing(spaces.Box(0.0, 1.0, (0,)), []), "space of 0 numbers"),
    "a space of negative size": (
        changed(__init__=lambda self: spaces.Box(0.0, 1.0, (-1,))),
        "cannot be created: ",
    ),
    "huge discrete observations": (seeing(HUGE, 1), "space of 1,000,000,000 numbers"),
    "huge parts": (seeing(spaces.Dict({"a": HUGE}), {"a": 1}), "space of 1,000,000,000 numbers"),
    "huge actions": (changed(action_space=HUGE), "action space of 1,000,000,000 numbers"),
}
WELL = {
    "reward in an array": returning(reward=np.array([1.0])),
    "reward a truth value": returning(reward=np.bool_(True)),
    "ends as numbers": returning(terminated=np.array([1]), truncated=0),
    "info None": returning(info=None),
    "infos of any shape": changed(said=lambda self: {"x": np.arange(self.t + 1)}),
    "prints thousands of lines": odd_envs.Noisy,
    "one array for all observations": odd_envs.OneBuffer,
}


def stepped(env, steps=7, **options):
    """Timesteps of two environments."""
    with closing(registry.make(given.register(env), 2, options=EnvSettings(**options))) as task:
        first = task.reset(0)
        return first, [task.step(np.zeros(2, int)) for _ in range(steps)]


@pytest.mark.fault("an environment raises, or returns what nobody can learn from", SAID)
@pytest.mark.parametrize("kind", [*FAILS, *FIRST])
@pytest.mark.parametrize("limited", [False, True], ids=["", "time limit"])
def test_what_an_environment_does_is_one_line(kind, limited):
    env, said = (FAILS | FIRST)[kind]
    with pytest.raises(FailedEnvironmentError) as error:
        stepped(env, max_episode_steps=50 if limited else 0)
    message, step = str(error.value), odd_envs.AT if kind in FAILS else 0
    assert message.startswith(f"environment 0 of 2, its step {step}: ") and said in message, message
    assert re.search(r" \((test_envs_misbehave|odd_envs)\.py, line \d+\)$", message), message
    assert "\n" not in message and message.isprintable() and len(message) < 700
    assert said.partition(":")[0] in error.value.details


@pytest.mark.fault("an environment cannot be made, or has impossible spaces", REFUSED)
@pytest.mark.parametrize("kind", NOT_MADE)
def test_what_cannot_be_made_is_refused(kind):
    env, said = NOT_MADE[kind]
    with pytest.raises(ConfigError) as error:
        registry.make(gym_id(env), 2)
    assert said in str(error.value) and str(error.value).startswith("env: "), error.value


def gym_id(env):
    name = f"Odd{abs(hash(env))}-v0"
    gym.register(name, env)
    return name


@pytest.mark.fault("an environment is odd, but all that an agent needs is there", TRAINS)
@pytest.mark.parametrize("kind", WELL)
def test_what_is_only_odd_trains(kind):
    _, steps = stepped(WELL[kind])
    assert {step.reward.dtype for step in steps} == {np.dtype(np.float32)}
    assert all((step.reward == 1).all() for step in steps)
    if "array for all" in kind:  # the last observation of an episode is not that of the next
        seen = [(step.next_observation[0, 0], step.observation[0, 0]) for step in steps[3:6]]
        np.testing.assert_allclose(seen, [(0.4, 0.4), (0.5, 0.0), (0.1, 0.1)], rtol=1e-6)
    if "ends" in kind:
        assert steps[odd_envs.AT - 1].episode_end.all()


@pytest.mark.fault("an environment draws from Python's and NumPy's global generators", "repeated")
def test_global_generators_are_seeded():
    one, again = ([s.observation for s in stepped(odd_envs.GlobalRandom)[1]] for _ in "ab")
    np.testing.assert_array_equal(one, again)


class Swallowed(gym.Wrapper):
    """A wrapper of the user's that does what environments must not."""

    def step(self, action):
        return super().step(action)[:4]


def test_a_wrapper_is_told_from_its_environment():
    with pytest.raises(FailedEnvironmentError, match=r"step 1: step\(\) returned 4") as error:
        stepped(odd_envs.Odd, wrappers=(f"{__name__}:Swallowed",))
    assert "(test_envs_misbehave.py, line" in str(error.value)


def test_the_place_is_in_the_code_of_the_user():
    """Not where NumPy raises what the user's call has caused."""

    def wrong(self):
        return np.zeros(4).reshape(3, 2), 0.0, False, False, {}

    line = wrong.__code__.co_firstlineno + 1
    with pytest.raises(FailedEnvironmentError, match=f"test_envs_misbehave.py, line {line}"):
        stepped(changed(odd_step=wrong))
    trace = 'File "/a/mine.py", line 3 in f\n  File "/x/site-packages/numpy/core.py", line 9 in g'
    assert modules.last_in(trace) == ("/a/mine.py", 3)


@pytest.mark.fault("an environment hangs, with --step-timeout", SAID)
@pytest.mark.parametrize(("env", "step"), [(odd_envs.Hangs, 3), (odd_envs.HangsInReset, 0)])
def test_an_environment_that_hangs_is_ended(env, step):
    said = rf"environment 0 of 2, its step {step}: no answer in 0.3 s \(odd_envs.py, line \d+\)"
    with pytest.raises(FailedEnvironmentError, match=said) as error:
        stepped(env, step_timeout=0.3)
    assert "odd_step" in error.value.details or "reset" in error.value.details


@pytest.mark.fault("the process of an environment is killed (SIGKILL)", SAID)
def test_a_killed_process_is_said():
    said = f"environment 0 of 2, its step {odd_envs.AT}: its process was ended by SIGKILL, as"
    with pytest.raises(FailedEnvironmentError, match=said):
        stepped(odd_envs.Killed, step_timeout=60.0)


@pytest.mark.fault("closing an environment fails", "one warning; nothing is lost")
def test_one_warning_where_closing_fails(capfd):
    stepped(odd_envs.ClosingRaises)
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "warning: an environment cannot be closed: RuntimeErr" in said


class Functional(FuncEnv):
    """In-graph; what it does wrong is a method that is put in place of its own."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, **methods):
        super().__init__()
        vars(self).update(methods)

    def initial(self, rng, params=None):
        return jnp.zeros(2)

    def transition(self, state, action, rng, params=None):
        return state

    def observation(self, state, rng, params=None):
        return state

    def reward(self, state, action, next_state, rng, params=None):
        return 1.0

    def terminal(self, state, rng, params=None):
        return False


TRACED = {
    "raises": ({"transition": raising(KeyError("mass"))}, "KeyError: 'mass' (odd_envs.py"),
    "needs a number": ({"reward": lambda s, *_: float(s[0])}, "ConcretizationTypeError: "),
    "observation of another shape": (
        {"observation": lambda *_: jnp.zeros(3)},
        "an observation of shape (3,), not (2,) (test_envs_misbehave.py",
    ),
    "reward of two numbers": ({"reward": lambda *_: jnp.ones(2)}, "the reward has the shape (2,)"),
    "reward None": ({"reward": lambda *_: None}, "ValueError: None"),
    "state of another shape": (
        {"transition": lambda *_: jnp.zeros(5), "observation": lambda *_: jnp.zeros(2)},
        "TypeError: ",
    ),
}


@pytest.mark.fault("an environment inside jit raises, or has another shape than it says", REFUSED)
@pytest.mark.parametrize("kind", TRACED)
def test_errors_inside_jit_are_a_line_of_the_user(kind):
    import jax

    methods, said = TRACED[kind]
    task = registry.make(given.register(Functional(**methods)), 2, "jax")

    def trace():
        state, _ = jax.eval_shape(task.init, jax.random.key(0))
        jax.eval_shape(task.step, state, np.zeros(2, int))

    with pytest.raises(ConfigError) as error:
        trace()
    message = str(error.value)
    assert said in message and message.startswith("env: 'given/"), message
    assert ".py, line " in message and "\n" not in message
