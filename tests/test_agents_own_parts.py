"""Parts of a user's own, one of each kind, added from outside of the package."""

import re
from dataclasses import replace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import selftuning as st
from selftuning.agents import actor_critic, head, networks, self_tuning
from selftuning.agents.trajectory import Experience
from selftuning.configs import extensions, files
from selftuning.configs.extensions import extended
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from tests import own_parts
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, trajectory

MODULE = "tests.own_parts"
PARTS = (
    own_parts.pull,
    own_parts.calm,
    own_parts.residual,
    own_parts.decayed,
    own_parts.returns_alone,
)
SPACES = OBSERVATIONS, ACTIONS["discrete"]
SMALL = {"num_envs": 2, "rollout_length": 4, "period": 2, "eval_episodes": 1, "progress": False}
PPO = SMALL | {"hidden": [4], "epochs": 1, "minibatches": 2}


def settings_of(*parts, **tuning):
    settings = RunSettings(
        num_envs=3,
        agent=AgentSettings(
            algorithm="actor_critic", hidden=(4,), rollout_length=4, max_grad_norm=float("inf")
        ),
        tuning=TuningSettings(**({"method": "mg", "period": 2, "optimizer": "adam"} | tuning)),
    )
    return extended(settings, parts)


@pytest.mark.slow
def test_functions_and_their_module_give_the_same_numbers():
    by_name = st.train("CartPole-v1", steps=32, extensions=[MODULE], **PPO)
    by_object = st.train("CartPole-v1", steps=32, extensions=PARTS, **PPO)
    for name in ("pull", "calm", "gamma"):
        one, two = by_name.hyperparameters[name], by_object.hyperparameters[name]
        np.testing.assert_array_equal(one, two)
        assert one[-1] != by_name.settings.hyperparameters[name].start, f"{name} was tuned"
    one, two = (jax.tree.leaves(x.agent.params) for x in (by_name, by_object))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_own_rule_and_objective_are_what_moves_and_what_judges():
    settings = settings_of(own_parts.pull, own_parts.decayed, own_parts.returns_alone)
    agent = self_tuning.make(*SPACES, settings)
    state = agent.init(jax.random.PRNGKey(0))
    params, batch = state.learner.inner.params, Experience(trajectory(0, SPACES[1]), jnp.zeros(0))
    moved, step = quick_jit(agent.inner_step)(state, batch.trajectory)
    values = agent.hyperparameters(state)
    by_hand = params - values["learning_rate"] * (step.gradient + values["pull"] * params)
    np.testing.assert_allclose(moved.learner.inner.params, by_hand, rtol=1e-5, atol=1e-8)

    nets = networks.make(*SPACES, settings.agent)
    made, unpacked = batch.trajectory, agent.algorithm.packing.unpack(params)
    one = head.make(nets, settings.agent, {}, True)
    judged = one.judged(lambda *x: nets.outputs(*x)[0], nets.value, unpacked, unpacked, batch)
    seen = one.seen(judged, settings.outer, batch)
    expected = -np.mean(seen.policy.log_prob(made.action) * seen.advantage)
    found = agent.algorithm.problem.outer_loss(params, params, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    built_in = actor_critic.make(*SPACES, settings_of()).problem.outer_loss(params, params, batch)
    assert abs(found - built_in) > 1e-3


def test_an_own_torso_is_in_policy_and_value_networks():
    agent = actor_critic.make(*SPACES, settings_of(own_parts.residual))
    params = agent.packing.unpack(agent.init(jax.random.PRNGKey(0)))
    for network in ("policy", "value"):
        shapes = [x["w"].shape for x in params[network].values()]
        assert len(shapes) == 3 and {(3, 6), (6, 6)} < set(shapes)


class Corridor(gym.Env):
    """Right is better."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.ones(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.ones(2, np.float32), float(action), self.steps == 5, False, {}


def test_an_environment_and_an_algorithm_of_ones_own_train():
    @extensions.algorithm
    def always_right(observation_space, action_space, settings):
        made = actor_critic.make(observation_space, action_space, settings)
        return made._replace(mode=lambda actor, observation: jnp.ones(len(observation), int))

    parts = [always_right, own_parts.calm]
    run = st.train(Corridor, algorithm="actor_critic", steps=32, extensions=parts, **SMALL)
    assert run.evaluate(episodes=1).returns == [5.0]


def test_files_name_parts_that_can_be_imported_and_ask_for_the_others(tmp_path):
    @st.torso
    def local(observation):
        return observation

    settings = settings_of(own_parts.calm, local, MODULE.replace("parts", "terms"))
    path = tmp_path / files.NAME
    path.write_text(files.dump(settings))
    names = [f"{MODULE}:calm", "<function local>", "tests.own_terms"]
    assert files.plain(settings)["extensions"] == names
    with pytest.raises(st.ConfigError, match=r"give it again: .*extensions=\[local\]"):
        extensions.parts(files.load(path).extensions)
    loaded = files.load(path, [local])
    assert extensions.parts(loaded.extensions) == {"torso": local}
    assert extensions.load(loaded.extensions) == extensions.load(settings.extensions)
    assert replace(loaded, extensions=settings.extensions) == settings


def test_a_saved_agent_acts_when_its_parts_are_given_again(tmp_path):
    @st.torso
    def local(observation):
        return 2.0 * observation

    out = tmp_path / "run"
    run = st.train("CartPole-v1", steps=32, extensions=[local], out=out, **PPO)
    with pytest.raises(st.ConfigError, match="give it again"):
        st.load(out)
    observation = np.ones(4, np.float32)
    again = st.load(out, extensions=[local])
    assert again.act(observation)[0] == run.agent.act(observation)[0]


@st.torso
def flat(observation):
    return observation.sum()


@st.torso
def fails(observation):
    raise ValueError("no such layer")


@st.update_rule
def nothing():
    return None


@st.outer_objective
def many(seen):
    return seen.value


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([flat], r"torso flat: shape \(\) is not allowed; it must be \(1, F\)"),
        ([fails], r"torso fails: ValueError: no such layer \(test_agents_own_parts.py, line \d+\)"),
        ([nothing], "update_rule nothing: None is not allowed; it must be an UpdateRule"),
        ([many], r"outer_objective many: shape \(3, 2\) is not allowed; it must be a scalar"),
        ([flat, own_parts.residual], "there is another torso, flat"),
        ([trajectory], "it must be the name of a module, or a loss_term, .*torso"),
        (["tests.own_parts:none"], "tests.own_parts:none .* adds nothing"),
    ],
)
def test_mistakes_cost_one_line(parts, said):
    with pytest.raises(st.ConfigError) as error:
        self_tuning.make(*SPACES, settings_of(*parts))
    assert re.search(said, str(error.value)) and "\n" not in str(error.value), error.value
