"""Environments of the host as bytes, so that a run goes on in the episodes in which it was stopped.

They are pickled with all their wrappers. One that offers `get_state()` and `set_state(state)` is
asked for its state in place of that. Who reads such bytes runs the code that they name: they are
read only where somebody asks for it.
"""

from __future__ import annotations

import io
import pickle
import random
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.envs.task import HostTask

_BEFORE, _AFTER = 10, 40  # steps with which copies are tried


class _Pickler(cloudpickle.Pickler):
    """Leaves out environments that keep their own state, and puts down where they are."""

    def __init__(self, file: io.BytesIO, own: Sequence[gym.Env]):
        super().__init__(file)
        self._number = {id(env): i for i, env in enumerate(own)}

    def persistent_id(self, value: Any) -> Any:
        number = self._number.get(id(value))
        return None if number is None else (number, value.get_state())


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, own: Sequence[gym.Env]):
        super().__init__(file)
        self._own = own

    def persistent_load(self, which: Any) -> Any:
        number, state = which
        self._own[number].set_state(state)
        return self._own[number]


def to_bytes(envs: Sequence[gym.Env], beside: Any) -> bytes:
    """Environments in their wrappers and what belongs to them, with the generators of the process.

    Args:
      envs: as they are now.
      beside: what else is to be kept, which may hold on to parts of `envs`.
    """
    file = io.BytesIO()
    content = envs, beside, random.getstate(), np.random.get_state()  # noqa: NPY002
    _Pickler(file, _with_own_state(envs)).dump(content)
    return file.getvalue()


def from_bytes(content: bytes, envs: Sequence[gym.Env]) -> tuple[Sequence[gym.Env], Any]:
    """What `to_bytes` was given; `envs` are new ones, which take up the states that were kept."""
    unpickler = _Unpickler(io.BytesIO(content), _with_own_state(envs))
    restored, beside, of_python, of_numpy = unpickler.load()
    random.setstate(of_python)
    np.random.set_state(of_numpy)  # noqa: NPY002
    return restored, beside


def check(make: Callable[[], HostTask]) -> None:
    """Tries whether a task that is restored goes on as the one that was kept.

    Some environments are pickled by the arguments that they were made with, and begin anew.

    Args:
      make: makes a task, to be closed again.

    Raises:
      ConfigError: if it does not, or cannot be kept.
    """
    one, two = make(), make()
    allowed = f"false for {one.spec.env_id}"
    try:
        if one.keep is None or two.keep is None:
            raise not_allowed("save_environments", "true", f"{allowed}, which has no form for it")
        one.reset(0)
        two.reset(1)
        one.spec.action_space.seed(0)
        draws = [one.spec.action_space.sample() for _ in range(_BEFORE + _AFTER)]
        actions = np.stack([np.stack([draw] * one.num_envs) for draw in draws])
        for action in actions[:_BEFORE]:
            one.step(action)
        content = one.keep.state()
        expected = [one.step(action) for action in actions[_BEFORE:]]
        two.keep.restore(content)
        found = [two.step(action) for action in actions[_BEFORE:]]
    except ConfigError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {modules.said(error)}"
        allowed += f", whose copies do not go on: {said}"
        raise not_allowed("save_environments", "true", allowed) from error
    finally:
        one.close()
        two.close()
    pairs = zip(expected, found, strict=True)
    if not all(np.array_equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True)):
        raise not_allowed(
            "save_environments", "true", f"{allowed}, whose copies go on in another way"
        )


def _with_own_state(envs: Sequence[gym.Env]) -> list[gym.Env]:
    found = (env.unwrapped for env in envs)
    return [x for x in found if hasattr(x, "get_state") and hasattr(x, "set_state")]
