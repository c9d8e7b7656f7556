"""The agent in a run directory: what is saved of it, and how it is made to act again.

    from selftuning.training import saved_agent
    agent = saved_agent.load(Path("runs/CartPole-v1-bmg-seed0-1"))

A checkpoint has five parts. Acting takes `parameters/` by network and layer, `hyperparameters/` on
the scale on which they are used and `scales/`, in which the agent sees observations. `training/` is
what learning needs besides, to go on from there, and `run/` what is around the agent: environments
and keys. The form of these two may change with the code that they belong to, and agents that were
saved before still act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import numpy as np

from selftuning.agents import self_tuning
from selftuning.agents.self_tuning import Actor, AgentState, SelfTuningAgent
from selftuning.configs import extensions as own
from selftuning.configs import files, trust
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
_TRAINING, _RUN = "training", "run"


class Content(NamedTuple):
    """What a checkpoint will hold.

    Attributes:
      parts: pytree of arrays of the host.
      env_steps: that the agent was trained for.
      about: what else is known, as plain data.
    """

    parts: dict[str, Any]
    env_steps: int
    about: dict[str, Any]

    def write(self, path: Path) -> None:
        """Writes it; a reader sees the old file or the new one, never half."""
        checkpoints.save(path, *self)


def content(
    functions: SelfTuningAgent,
    state: AgentState,
    spec: TaskSpec,
    env_steps: int,
    rest: Any = None,
    about: Mapping[str, Any] | None = None,
) -> Content:
    """What is saved of an agent, and of the run around it. Waits until all of it is computed.

    Args:
      functions: the agent.
      state: of the agent.
      spec: of the task that it was trained on.
      env_steps: that it was trained for.
      rest: of the state of the run, a pytree of arrays.
      about: what else is to be known of the run, as plain data.
    """
    spaces = [space_files.to_plain(space) for space in own_spaces(spec)]
    said = {"spaces": dict(zip(("observation", "action"), spaces, strict=True))}
    parts = _parts(functions, state) | ({} if rest is None else {_RUN: rest})
    return Content(jax.device_get(parts), env_steps, said | dict(about or {}))


def save(
    run: Path,
    functions: SelfTuningAgent,
    state: AgentState,
    spec: TaskSpec,
    env_steps: int,
    best: bool = False,
) -> None:
    """Writes the agent of a run: the last one, or the best, which has a file of its own."""
    content(functions, state, spec, env_steps).write(checkpoints.path_in(run, best))


def load(
    run: Path, extensions: Sequence[Any] = (), best: bool = False, trusted: bool = False
) -> Agent:
    """The trained agent of a run, which acts at once; its training state is left alone.

    Args:
      run: its directory.
      extensions: more of them than its settings name.
      best: the best agent that evaluations in training have found, in place of the last one.
      trusted: whether modules that its settings name may be imported without a question.

    Raises:
      ConfigError: if settings or checkpoint are missing, damaged, of a newer format or not those of
        one agent; if there is no best agent; for runs of version 0.1 also if the environment
        cannot be made.
    """
    path = run / files.NAME
    trust.check(files.read(path), path, trusted, trust.ARGUMENT)
    settings = files.load(path, extensions, trained=True)
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


def training_state(
    file: Checkpoint, functions: SelfTuningAgent, rest: Any = None
) -> tuple[AgentState, Any]:
    """The whole state of an agent and of the run around it, bit for bit.

    Args:
      file: the checkpoint.
      functions: the agent.
      rest: template of the state of the run; None for the agent alone.

    Raises:
      ConfigError: if the checkpoint is of another agent, or has no state of a run.
    """
    template = jax.eval_shape(lambda key: _parts(functions, functions.init(key)), _KEY)
    template |= {} if rest is None else {_RUN: rest}
    return state_of({n: file.under(n).tree(part) for n, part in template.items()}, functions)


def state_of(parts: Mapping[str, Any], functions: SelfTuningAgent) -> tuple[AgentState, Any]:
    """The state of an agent and of the run around it, of `Content.parts`."""
    packed = jax.device_get(functions.algorithm.packing.pack(parts[_PARAMETERS]))
    return _with_params(parts[_TRAINING], packed), parts.get(_RUN)


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
        try:
            return space_files.read(both["observation"]), space_files.read(both["action"])
        except (LookupError, TypeError, ValueError) as error:
            raise ConfigError(f"checkpoint: {file.path} has no spaces: {error}") from error
    task = registry.make(settings.env, 1, settings.backend, settings.environment)
    if isinstance(task, HostTask):
        task.close()
    return own_spaces(task.spec)


def _seen(env: str, spaces: Spaces) -> Spaces:
    """What agents see of the spaces."""
    observation_space, action_space = spaces
    both = SimpleNamespace(observation_space=observation_space, action_space=action_space)
    return agent_spaces(env, both)
