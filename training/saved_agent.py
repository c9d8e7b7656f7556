"""The agent in a run directory: what is saved of it, and how it is made to act again.

    from selftuning.training import saved_agent
    agent = saved_agent.load(Path("runs/CartPole-v1-bmg-seed0-1"))

A checkpoint has four parts. Acting takes `parameters/` by network and layer, `hyperparameters/` on
the scale on which they are used and `scales/`, in which the agent sees observations. `training/` is
what learning needs besides, to go on from there. Its form may change with the code that it belongs
to, and agents that were saved before still act.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import jax
import numpy as np

from selftuning.agents import self_tuning
from selftuning.agents.self_tuning import Actor, AgentState, SelfTuningAgent
from selftuning.configs import extensions as own
from selftuning.configs import files
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.configs.validate import validate
from selftuning.envs import registry, space_files
from selftuning.envs.spaces import agent_spaces
from selftuning.envs.task import HostTask, TaskSpec
from selftuning.training import checkpoints, format_1
from selftuning.training.acting import Agent
from selftuning.training.checkpoints import Checkpoint

Spaces = tuple[gym.Space, gym.Space]  # observations and actions, as the environment has them

_KEY = np.zeros(2, np.uint32)  # for shapes, on which no key has an influence
_PARAMETERS, _HYPERPARAMETERS, _SCALES = "parameters", "hyperparameters", "scales"
_TRAINING = "training"


def save(
    run: Path,
    functions: SelfTuningAgent,
    state: AgentState,
    spec: TaskSpec,
    env_steps: int,
    best: bool = False,
) -> None:
    """Writes the checkpoint of a run; a reader sees the old one or the new one, never half.

    Args:
      run: its directory.
      functions: the agent.
      state: of the agent.
      spec: of the task that it was trained on.
      env_steps: that it was trained for.
      best: whether it is the best so far, which has a file of its own, or the last one.
    """
    spaces = [space_files.to_plain(space) for space in own_spaces(spec)]
    about = {"spaces": dict(zip(("observation", "action"), spaces, strict=True))}
    checkpoints.save(checkpoints.path_in(run, best), _parts(functions, state), env_steps, about)


def load(run: Path, extensions: Sequence[Any] = (), best: bool = False) -> Agent:
    """The trained agent of a run, which acts at once; its training state is left alone.

    Args:
      run: its directory.
      extensions: more of them than its settings name.
      best: the best agent that evaluations in training have found, in place of the last one.

    Raises:
      ConfigError: if settings or checkpoint are missing, damaged, of a newer format or not those of
        one agent; if there is no best agent; for runs of version 0.1 also if the environment
        cannot be made.
    """
    settings = files.load(run / files.NAME, extensions, trained=True)
    settings = own.extended(settings, settings.extensions)
    validate(settings)
    path = checkpoints.path_in(run, best)
    if best and not path.exists():
        raise ConfigError(f"best: {run} has no best agent; runs with --eval-every keep one")
    file = checkpoints.read(path)
    spaces = _spaces(file, settings)
    functions = self_tuning.make(*_seen(settings.env, spaces), settings)
    start = jax.eval_shape(functions.init, _KEY)
    template = jax.eval_shape(lambda state: _parameters(functions, state), start)
    if file.origin.format == 1:
        parameters = format_1.parameters(file, template)
        values = format_1.hyperparameters(run, file.env_steps)
    else:
        parameters = file.under(_PARAMETERS).tree(template)
        values = dict(file.under(_HYPERPARAMETERS).arrays)
    # Before format 3 there were none, and settings of that time ask for none.
    scales = file.under(_SCALES).tree(jax.eval_shape(functions.scales, start))
    starts = jax.device_get(self_tuning.start_of(settings, None))
    used = {name: values.get(name, start) for name, start in starts.items()}
    return Agent(
        settings,
        *spaces,
        {name: x if np.ndim(x) else float(x) for name, x in used.items()},
        file.env_steps,
        functions,
        Actor(functions.algorithm.acting(parameters, used), scales),
    )


def training_state(run: Path, functions: SelfTuningAgent) -> tuple[AgentState, int]:
    """The whole state of an agent, bit for bit, and the environment steps that it was trained for.

    Args:
      run: its directory.
      functions: the agent.

    Raises:
      ConfigError: if the checkpoint is missing, damaged or of another agent.
    """
    template = jax.eval_shape(lambda key: _parts(functions, functions.init(key)), _KEY)
    parts, env_steps = checkpoints.load(checkpoints.path_in(run), template)
    packed = jax.device_get(functions.algorithm.packing.pack(parts[_PARAMETERS]))
    return _with_params(parts[_TRAINING], packed), env_steps


def own_spaces(spec: TaskSpec) -> Spaces:
    """Those of the environment; of a task that does not tell, those that agents see."""
    return spec.own_spaces or (spec.observation_space, spec.action_space)


def _parts(functions: SelfTuningAgent, state: AgentState) -> dict[str, Any]:
    return {
        _PARAMETERS: _parameters(functions, state),
        _HYPERPARAMETERS: functions.hyperparameters(state),
        _SCALES: functions.scales(state),
        _TRAINING: _with_params(state, None),
    }


def _parameters(functions: SelfTuningAgent, state: AgentState) -> Any:
    return functions.algorithm.packing.unpack(state.learner.inner.params)


def _with_params(state: AgentState, params: Any) -> AgentState:
    inner = state.learner.inner._replace(params=params)
    return state._replace(learner=state.learner._replace(inner=inner))


def _spaces(file: Checkpoint, settings: RunSettings) -> Spaces:
    """Those in the file; before format 2 there were none, and the environment is asked."""
    if "spaces" in file.about:
        both = file.about["spaces"]
        return space_files.from_plain(both["observation"]), space_files.from_plain(both["action"])
    task = registry.make(settings.env, 1, settings.backend, settings.environment)
    if isinstance(task, HostTask):
        task.close()
    return own_spaces(task.spec)


def _seen(env: str, spaces: Spaces) -> Spaces:
    """What agents see of the spaces."""
    observation_space, action_space = spaces
    both = SimpleNamespace(observation_space=observation_space, action_space=action_space)
    return agent_spaces(env, both)
